//! Continuity tokens as text: a pointer to an enquiry with an expiry, bound by a MAC, short enough for a plus-address.
//!
//! Carries no personal data and proves nothing about who holds it. Knows no key: the MAC comes in as a function. 30 bytes (16 of the
//! id, 4 of the expiry in seconds, 10 of the MAC) give 48 characters of base32, so that `support+…@` keeps within the 64 of RFC 5321.

use throughline_schemas::{EnquiryId, Timestamp};

/// Crockford's: no letter is mistaken for a digit, case does not matter.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID: usize = 16;
const EXPIRY: usize = 4;
const MAC: usize = 10;
const BYTES: usize = ID + EXPIRY + MAC;
const CHARS: usize = BYTES * 8 / 5;
/// Keeps the MAC from meaning anything elsewhere under the same key.
const CONTEXT: &[u8] = b"throughline continuity token 1";

/// Why a text is no token that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have a token's form.
    #[error("this is no continuity token")]
    Malformed,
    /// The hub did not make it, or somebody changed it.
    #[error("the hub did not issue this token")]
    Forged,
    /// Its time is over.
    #[error("the token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
        /// What it pointed to.
        enquiry: EnquiryId,
    },
}

/// Writes a token: 48 characters of lower-case base32. The expiry is rounded up to the second.
pub fn token_text(enquiry: EnquiryId, expires_at: Timestamp, mac: &dyn Fn(&[u8]) -> [u8; 32]) -> String {
    let seconds = u32::try_from(expires_at.as_millis().saturating_add(999).max(0) / 1000).unwrap_or(u32::MAX);
    let mut bytes = [0; BYTES];
    bytes[..ID].copy_from_slice(enquiry.as_bytes());
    bytes[ID..ID + EXPIRY].copy_from_slice(&seconds.to_be_bytes());
    let code = code(&bytes[..ID + EXPIRY], mac);
    bytes[ID + EXPIRY..].copy_from_slice(&code);
    encode(&bytes)
}

/// Reads a token and checks that it holds at `now`; gives the enquiry and the expiry.
pub fn parse_token(text: &str, now: Timestamp, mac: &dyn Fn(&[u8]) -> [u8; 32]) -> Result<(EnquiryId, Timestamp), TokenError> {
    let bytes = decode(text.trim()).ok_or(TokenError::Malformed)?;
    let (signed, given) = bytes.split_at(ID + EXPIRY);
    // Every byte is compared, so that the time it takes says nothing about how many are right.
    let differences = code(signed, mac).iter().zip(given).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
    if differences != 0 {
        return Err(TokenError::Forged);
    }
    let (id, seconds) = signed.split_at(ID);
    let enquiry = EnquiryId::from_bytes(id.try_into().expect("split at the id's length"));
    let seconds = u32::from_be_bytes(seconds.try_into().expect("split at the expiry's length"));
    let at = Timestamp::from_millis(i64::from(seconds) * 1000);
    if now >= at {
        return Err(TokenError::Expired { at, enquiry });
    }
    Ok((enquiry, at))
}

/// Whether a text has the form of a token, whoever made it: for finding tokens among other plus-tags.
#[must_use]
pub fn looks_like_token(text: &str) -> bool {
    decode(text.trim()).is_some()
}

fn code(signed: &[u8], mac: &dyn Fn(&[u8]) -> [u8; 32]) -> [u8; MAC] {
    let full = mac(&[CONTEXT, signed].concat());
    let mut cut = [0; MAC];
    cut.copy_from_slice(&full[..MAC]);
    cut
}

fn encode(bytes: &[u8; BYTES]) -> String {
    let letter = |value: u64| ALPHABET[(value & 31) as usize] as char;
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let number = chunk.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            (0..8).rev().map(move |place| letter(number >> (place * 5)))
        })
        .collect()
}

fn decode(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != CHARS || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (letters, out) in text.as_bytes().chunks(8).zip(bytes.chunks_mut(5)) {
        let mut number = 0u64;
        for letter in letters {
            number = number << 5 | value_of(*letter)?;
        }
        out.copy_from_slice(&number.to_be_bytes()[3..]);
    }
    Some(bytes)
}

/// As Crockford has it, `i` and `l` read as 1 and `o` as 0.
fn value_of(letter: u8) -> Option<u64> {
    let letter = match letter.to_ascii_lowercase() {
        b'i' | b'l' => b'1',
        b'o' => b'0',
        other => other,
    };
    ALPHABET.iter().position(|&known| known == letter).map(|value| value as u64)
}
