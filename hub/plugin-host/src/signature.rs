//! A plugin's signature: the last section of its component, over every byte before it, so that manifest and code are covered together.
//!
//! ```text
//! 00 77                      a custom section of 119 bytes
//! 15 "throughline:signature" its name
//! 01                         version
//! 32 bytes                   Ed25519 public key
//! 64 bytes                   Ed25519 signature over "throughline plugin signature 1\n" and the SHA-512 of all bytes before the section
//! ```
//!
//! There is exactly one way to write it; anything else under this name is refused. Pure: who is trusted is none of its business.

use std::ops::Range;

use sha2::{Digest, Sha512};
use throughline_domain::connector::PluginError;
use wasmparser::{Parser, Payload};

use crate::keys::{KEY_LENGTH, PublicKey, SIGNATURE_LENGTH, SigningKey};

const SECTION: &str = "throughline:signature";
const DOMAIN: &[u8] = b"throughline plugin signature 1\n";
const VERSION: u8 = 1;
const PAYLOAD_LENGTH: usize = 1 + KEY_LENGTH + SIGNATURE_LENGTH;
/// The section's content: the name's length, the name, the payload. Below 128, so that its length is one byte.
const CONTENT_LENGTH: usize = 1 + SECTION.len() + PAYLOAD_LENGTH;
const CUSTOM: u8 = 0;

/// Whose signature the component bears, if any. A signature that does not fit, or has another form or place, is an error.
pub fn signer(component: &[u8]) -> Result<Option<PublicKey>, PluginError> {
    let Split { signed, payload: Some(payload) } = split(component)? else { return Ok(None) };
    let form = || refused(format!("it is not of version {VERSION}, the only one this hub knows"));
    let (version, payload) = payload.split_first().ok_or_else(form)?;
    let (key, payload) = payload.split_first_chunk::<KEY_LENGTH>().ok_or_else(form)?;
    let signature: &[u8; SIGNATURE_LENGTH] = payload.try_into().map_err(|_| form())?;
    if *version != VERSION {
        return Err(form());
    }
    let key = PublicKey::from_bytes(key).map_err(|error| refused(error.to_string()))?;
    if !key.verifies(&message(signed), signature) {
        return Err(refused("manifest or code are not what was signed; get the component again from where it was published"));
    }
    Ok(Some(key))
}

/// The component with a signature of this key; one that it bears already is replaced, good or not.
pub fn sign(component: &[u8], key: &SigningKey) -> Result<Vec<u8>, PluginError> {
    let signed = split(component)?.signed;
    let mut whole = signed.to_vec();
    whole.extend(header());
    whole.push(VERSION);
    whole.extend(key.public().as_bytes());
    whole.extend(key.sign(&message(signed)));
    Ok(whole)
}

struct Split<'a> {
    /// All that a signature covers.
    signed: &'a [u8],
    /// The section's content after its name.
    payload: Option<&'a [u8]>,
}

fn split(component: &[u8]) -> Result<Split<'_>, PluginError> {
    let Some(section) = find(component)? else { return Ok(Split { signed: component, payload: None }) };
    if section.end != component.len() {
        return Err(refused("it is not the last section: something was added after signing; build the component again and sign it"));
    }
    let header = header();
    let place = component.len().checked_sub(header.len() + PAYLOAD_LENGTH);
    match place.map(|place| component.split_at(place)) {
        // The header's first two bytes are the section's id and length, which the parser does not count to its content.
        Some((signed, last)) if section.start == signed.len() + 2 && last.starts_with(&header) => {
            Ok(Split { signed, payload: Some(&last[header.len()..]) })
        }
        _ => Err(refused("its section has not the form of one; build the component again and sign it")),
    }
}

/// Where the content of the component's own signature section is. Those of components within it are part of what is signed.
fn find(component: &[u8]) -> Result<Option<Range<usize>>, PluginError> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| PluginError::NotAComponent(error.to_string()))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => found.push(section.range()),
            _ => {}
        }
    }
    if found.len() > 1 {
        return Err(refused("there are two; build the component again and sign it once"));
    }
    Ok(found.pop())
}

fn header() -> Vec<u8> {
    let one_byte = |length: usize| u8::try_from(length).expect("both lengths are below 128, see CONTENT_LENGTH");
    let mut header = vec![CUSTOM, one_byte(CONTENT_LENGTH), one_byte(SECTION.len())];
    header.extend(SECTION.as_bytes());
    header
}

fn message(signed: &[u8]) -> Vec<u8> {
    [DOMAIN, Sha512::digest(signed).as_slice()].concat()
}

fn refused(why: impl Into<String>) -> PluginError {
    PluginError::Signature(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_LENGTH: usize = 2 + 1 + SECTION.len();

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; KEY_LENGTH])
    }

    fn component() -> Vec<u8> {
        let text = r#"(component (core module (@custom "throughline:manifest" "{}") (func (export "f") nop)) (component))"#;
        wat::parse_str(text).unwrap()
    }

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u8::try_from(bytes).ok().filter(|length| *length < 128).unwrap();
        [&[CUSTOM, length(1 + name.len() + data.len()), length(name.len())], name.as_bytes(), data].concat()
    }

    fn why(component: &[u8]) -> String {
        match signer(component) {
            Err(PluginError::Signature(why)) => why,
            other => panic!("expected a refused signature, got {other:?}"),
        }
    }

    #[test]
    fn what_is_signed_is_known_by_its_key() {
        let plain = component();
        assert_eq!(signer(&plain), Ok(None));
        let signed = sign(&plain, &key(1)).unwrap();
        assert!(signed.starts_with(&plain) && signed.len() == plain.len() + HEADER_LENGTH + PAYLOAD_LENGTH);
        assert_eq!(signer(&signed), Ok(Some(key(1).public())));
        assert_eq!(sign(&signed, &key(1)).unwrap(), signed, "signing again is no change");
        assert_eq!(signer(&sign(&signed, &key(2)).unwrap()), Ok(Some(key(2).public())), "another key's takes its place");
    }

    #[test]
    fn the_format_stays_what_it_is() {
        let signed = sign(b"\0asm\x0d\0\x01\0", &key(7)).unwrap();
        assert_eq!(&signed[8..11], [0x00, 0x77, 0x15]);
        assert_eq!(&signed[11..33], b"throughline:signature\x01");
        assert_eq!(crate::compiled::digest_of(&signed), "sha256:b046fd9813e0be70bebf81ea1d797879164fe837031e95e095ad12459c6f7250");
    }

    #[test]
    fn no_byte_can_be_changed() {
        let plain = component();
        let signed = sign(&plain, &key(1)).unwrap();
        let header = plain.len()..plain.len() + HEADER_LENGTH;
        for index in 0..signed.len() {
            for mask in [1, 1 << (index % 8), 0xff] {
                let mut changed = signed.clone();
                changed[index] ^= mask;
                match signer(&changed) {
                    Err(_) => {}
                    // A section of another kind or name is no signature: what is left is an unsigned component, or one that does not compile.
                    Ok(None) => assert!(header.contains(&index), "byte {index} ^ {mask:#x}"),
                    Ok(Some(_)) => panic!("byte {index} ^ {mask:#x} was not noticed"),
                }
            }
        }
    }

    #[test]
    fn no_end_can_be_cut_off() {
        let plain = component();
        let signed = sign(&plain, &key(1)).unwrap();
        for length in 0..signed.len() {
            let found = signer(&signed[..length]);
            assert!(!matches!(found, Ok(Some(_))), "{length}");
            assert!(length <= plain.len() || found.is_err(), "{length}: {found:?}");
        }
    }

    #[test]
    fn the_signature_is_one_and_the_last_section() {
        let signed = sign(&component(), &key(1)).unwrap();
        let section = &signed[component().len()..];
        let payload = &section[HEADER_LENGTH..];
        let with = |more: &[u8]| [&signed[..], more].concat();
        let bare = |more: &[u8]| [&component()[..], more].concat();
        assert!(why(&with(&custom("throughline:manifest", b"{}"))).contains("not the last"));
        assert!(why(&with(section)).contains("two"));
        assert!(why(&bare(&[section, &custom("a", b""), section].concat())).contains("two"));
        assert!(why(&bare(&custom(SECTION, b""))).contains("form"));
        assert!(why(&bare(&custom(SECTION, &[payload, b"x"].concat()))).contains("form"));
        let mut other = payload.to_vec();
        other[0] = 2;
        assert!(why(&bare(&custom(SECTION, &other))).contains("version 1"));
        other[0] = VERSION;
        other[1..=KEY_LENGTH].fill(0);
        assert!(why(&bare(&custom(SECTION, &other))).contains("no Ed25519 public key"));
        // The same section with its length written in two bytes instead of one.
        assert!(why(&bare(&[&[0, 0xf7, 0], &section[2..]].concat())).contains("form"));
        assert!(matches!(signer(&with(b"x")), Err(PluginError::NotAComponent(_))));
    }

    #[test]
    fn a_signature_is_of_one_component_only() {
        let signed = sign(&component(), &key(1)).unwrap();
        let other = [&component()[..], &custom("throughline:manifest", b"{}"), &signed[component().len()..]].concat();
        assert!(why(&other).contains("not what was signed"));
        assert_eq!(signer(&sign(&other, &key(1)).unwrap()), Ok(Some(key(1).public())), "a bad signature can be replaced");
    }

    #[test]
    fn a_signature_deeper_inside_says_nothing_of_the_whole() {
        let inner = sign(b"\0asm\x0d\0\x01\0", &key(1)).unwrap();
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        // A component section of 129 bytes, which is two bytes as a LEB128 number.
        outer.extend([0x81, 0x01]);
        assert_eq!(inner.len(), 129);
        outer.extend(&inner);
        assert_eq!(signer(&outer), Ok(None));
        assert_eq!(signer(&sign(&outer, &key(2)).unwrap()), Ok(Some(key(2).public())));
    }

    #[test]
    fn what_is_no_wasm_cannot_be_signed() {
        for bytes in [b"".as_slice(), b"garbage", b"\0asm"] {
            assert!(matches!(sign(bytes, &key(1)), Err(PluginError::NotAComponent(_))), "{bytes:?}");
        }
    }
}
