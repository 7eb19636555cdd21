//! Continuity tokens as text: a pointer to an enquiry with an expiry, bound by a MAC, short enough for a plus-address.
//!
//! Carries no personal data and proves nothing about who holds it. Knows no key: the MAC comes in as a function. 30 bytes (16 of the
//! id, 4 of the expiry in seconds, 1 of form and uses, 9 of the MAC) give 48 characters of base32, so that `support+tl.…@` keeps within
//! the 64 of RFC 5321. The MAC also covers the scope, a brand, which is not in the text: elsewhere the token is a forgery. One guess is
//! right once in 2^72. The short codes of IVRs are another thing, see [`code`].

pub mod code;
mod form;

pub use form::{Presented, TokenForm, read_presented};

use throughline_schemas::{EnquiryId, Timestamp};

/// Crockford's: no letter is mistaken for a digit, case does not matter.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID: usize = 16;
const EXPIRY: usize = 4;
const BOUND: usize = 1;
const SIGNED: usize = ID + EXPIRY + BOUND;
const MAC: usize = 9;
const BYTES: usize = SIGNED + MAC;
const CHARS: usize = BYTES * 8 / 5;
/// Keeps the MAC from meaning anything elsewhere under the same key.
const CONTEXT: &[u8] = b"throughline continuity token 2";
/// The most uses that a token can be limited to.
pub const MOST_USES: u8 = 15;

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenClaims {
    /// The enquiry it points to.
    pub enquiry: EnquiryId,
    /// The form it was issued in, which says where it is taken.
    pub form: TokenForm,
    /// How often it may be used, 1 to [`MOST_USES`]; none for as often as one likes.
    pub max_uses: Option<u8>,
    /// When it stops to hold.
    pub expires_at: Timestamp,
}

/// Why a text is no token that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not have a token's form.
    #[error("this is no continuity token")]
    Malformed,
    /// The hub did not make it, somebody changed it, or it is of another brand.
    #[error("the hub did not issue this token for here")]
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

/// Writes a token: 48 characters of lower-case base32. The expiry is rounded up to the second. The scope is a brand's name.
pub fn token_text(claims: &TokenClaims, scope: &str, mac: &dyn Fn(&[u8]) -> [u8; 32]) -> String {
    let seconds = u32::try_from(claims.expires_at.as_millis().saturating_add(999).max(0) / 1000).unwrap_or(u32::MAX);
    let mut bytes = [0; BYTES];
    bytes[..ID].copy_from_slice(claims.enquiry.as_bytes());
    bytes[ID..ID + EXPIRY].copy_from_slice(&seconds.to_be_bytes());
    bytes[ID + EXPIRY] = claims.form.number() << 4 | claims.max_uses.unwrap_or(0).min(MOST_USES);
    let code = code(&bytes[..SIGNED], scope, mac);
    bytes[SIGNED..].copy_from_slice(&code);
    encode(&bytes)
}

/// Reads a token and checks that it was issued for this scope and holds at `now`. Whether it was used up is not in it.
pub fn parse_token(text: &str, scope: &str, now: Timestamp, mac: &dyn Fn(&[u8]) -> [u8; 32]) -> Result<TokenClaims, TokenError> {
    let bytes = decode(text.trim()).ok_or(TokenError::Malformed)?;
    let (signed, given) = bytes.split_at(SIGNED);
    // Every byte is compared, so that the time it takes says nothing about how many are right.
    let differences = code(signed, scope, mac).iter().zip(given).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
    if differences != 0 {
        return Err(TokenError::Forged);
    }
    let enquiry = enquiry_of(&bytes);
    let seconds: [u8; EXPIRY] = signed[ID..ID + EXPIRY].try_into().expect("cut to the expiry's length");
    let expires_at = Timestamp::from_millis(i64::from(u32::from_be_bytes(seconds)) * 1000);
    let bound = signed[ID + EXPIRY];
    let form = TokenForm::from_number(bound >> 4).ok_or(TokenError::Forged)?;
    if now >= expires_at {
        return Err(TokenError::Expired { at: expires_at, enquiry });
    }
    let max_uses = Some(bound & 15).filter(|uses| *uses > 0);
    Ok(TokenClaims { enquiry, form, max_uses, expires_at })
}

/// The enquiry that a text of a token's form names, whoever made it: for finding out in which scope to check it.
#[must_use]
pub fn claimed_enquiry(text: &str) -> Option<EnquiryId> {
    decode(text.trim()).map(|bytes| enquiry_of(&bytes))
}

/// Whether a text has the form of a token, whoever made it: for finding tokens among other plus-tags.
#[must_use]
pub fn looks_like_token(text: &str) -> bool {
    decode(text.trim()).is_some()
}

fn enquiry_of(bytes: &[u8; BYTES]) -> EnquiryId {
    EnquiryId::from_bytes(bytes[..ID].try_into().expect("cut to the id's length"))
}

fn code(signed: &[u8], scope: &str, mac: &dyn Fn(&[u8]) -> [u8; 32]) -> [u8; MAC] {
    let full = mac(&[CONTEXT, signed, scope.as_bytes()].concat());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No MAC in earnest, but it depends on the key and on every byte.
    fn mac(key: u8) -> impl Fn(&[u8]) -> [u8; 32] {
        move |bytes| {
            let mut state = [key; 32];
            for (place, byte) in bytes.iter().enumerate() {
                let turned = state[(place + 31) % 32].rotate_left(3);
                state[place % 32] = state[place % 32].wrapping_mul(31).wrapping_add(*byte) ^ turned;
            }
            for place in 0..128 {
                let turned = state[(place + 31) % 32].rotate_left(3);
                state[place % 32] = state[place % 32].wrapping_mul(31).wrapping_add(turned);
            }
            state
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn enquiry() -> EnquiryId {
        EnquiryId::from_bytes(*b"0123456789abcdef")
    }

    fn claims(until: i64) -> TokenClaims {
        TokenClaims { enquiry: enquiry(), form: TokenForm::PlusAddress, max_uses: Some(3), expires_at: at(until) }
    }

    #[test]
    fn a_token_says_what_was_put_in_until_it_expires() {
        let text = token_text(&claims(1_700_000_000_001), "shop", &mac(1));
        let until = at(1_700_000_001_000);
        assert_eq!(text.len(), 48);
        assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)), "{text}");
        let wanted = TokenClaims { expires_at: until, ..claims(0) };
        assert_eq!(parse_token(&text, "shop", at(1_700_000_000_999), &mac(1)), Ok(wanted));
        assert_eq!(parse_token(&text, "shop", until, &mac(1)), Err(TokenError::Expired { at: until, enquiry: enquiry() }));
        assert_eq!(parse_token(&text, "shop", at(0), &mac(2)), Err(TokenError::Forged));
        assert_eq!(parse_token(&text, "other brand", at(0), &mac(1)), Err(TokenError::Forged), "bound to its scope");
        assert_eq!(claimed_enquiry(&text), Some(enquiry()));
    }

    #[test]
    fn form_and_uses_are_bound() {
        let many = TokenClaims { form: TokenForm::Callback, max_uses: None, ..claims(2_000_000_000_000) };
        let text = token_text(&many, "shop", &mac(1));
        assert_eq!(parse_token(&text, "shop", at(0), &mac(1)), Ok(many));
        let limited = token_text(&TokenClaims { max_uses: Some(200), ..many }, "shop", &mac(1));
        assert_eq!(parse_token(&limited, "shop", at(0), &mac(1)).unwrap().max_uses, Some(MOST_USES));
        assert_ne!(text, limited);
    }

    #[test]
    fn a_token_survives_how_people_and_mail_servers_write_it() {
        let text = token_text(&claims(2_000_000_000_000), "shop", &mac(1));
        let retyped = text.replace('1', "l").replace('0', "O");
        for written in [text.to_uppercase(), format!(" {text}\r\n"), retyped] {
            assert_eq!(parse_token(&written, "shop", at(0), &mac(1)).map(|claims| claims.enquiry), Ok(enquiry()), "{written}");
            assert!(looks_like_token(&written));
        }
    }

    #[test]
    fn one_changed_letter_is_a_forgery() {
        let text = token_text(&claims(2_000_000_000_000), "shop", &mac(1));
        for place in 0..text.len() {
            let other = if &text[place..=place] == "x" { "y" } else { "x" };
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            assert_eq!(parse_token(&changed, "shop", at(0), &mac(1)), Err(TokenError::Forged), "at {place}");
        }
        for bad in ["", "shop", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "u"), &"é".repeat(24)] {
            assert_eq!(parse_token(bad, "shop", at(0), &mac(1)), Err(TokenError::Malformed), "{bad}");
            assert!(!looks_like_token(bad));
        }
    }

    proptest! {
        #[test]
        fn any_claims_come_back(id in any::<[u8; 16]>(), seconds in 1u32.., key in any::<u8>(), uses in 0u8..16, scope in ".*") {
            let form = TokenForm::ALL[usize::from(uses) % TokenForm::ALL.len()];
            let max_uses = Some(uses).filter(|uses| *uses > 0);
            let claims = TokenClaims { enquiry: EnquiryId::from_bytes(id), form, max_uses, expires_at: at(i64::from(seconds) * 1000) };
            let text = token_text(&claims, &scope, &mac(key));
            prop_assert_eq!(parse_token(&text, &scope, at(0), &mac(key)), Ok(claims));
        }

        #[test]
        fn any_text_and_time_are_judged(text in any::<String>(), letters in "[0-9a-zA-Z]{48}", millis in any::<i64>()) {
            prop_assert!(parse_token(&text, "shop", at(millis), &mac(1)).is_err());
            prop_assert!(parse_token(&letters, "shop", at(millis), &mac(1)).is_err());
            let clamped = token_text(&claims(millis), "shop", &mac(1));
            prop_assert!(looks_like_token(&clamped));
        }
    }
}
