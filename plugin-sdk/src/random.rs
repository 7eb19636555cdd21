//! Random bytes from the hub, good enough for keys and tokens.

use crate::sys;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `n` random bytes.
#[must_use]
pub fn bytes(n: usize) -> Vec<u8> {
    sys::random_bytes(n)
}

/// A random token of this many characters, five bits each, in lower-case base32: safe in addresses, URLs and dial plans.
#[must_use]
pub fn token(chars: usize) -> String {
    bytes(chars).into_iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_length_asked_for_and_differ() {
        let (first, second) = (token(16), token(16));
        assert_eq!(first.len(), 16);
        assert!(first.bytes().all(|byte| BASE32.contains(&byte)), "{first}");
        assert_ne!(first, second);
    }
}
