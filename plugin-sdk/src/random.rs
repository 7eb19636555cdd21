//! Random bytes from the hub, good enough for keys and tokens.

use std::cell::Cell;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

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

/// A hash map whose order and collisions nobody outside can foresee. The standard one has the same seed in every guest.
pub type HashMap<K, V> = std::collections::HashMap<K, V, HashState>;
/// The set to [`HashMap`].
pub type HashSet<T> = std::collections::HashSet<T, HashState>;

/// The standard hasher with a seed of this instance's own.
#[derive(Debug, Clone, Copy)]
pub struct HashState([u64; 2]);

thread_local! {
    static SEED: Cell<Option<[u64; 2]>> = const { Cell::new(None) };
}

impl Default for HashState {
    fn default() -> Self {
        if let Some(seed) = SEED.get() {
            return Self(seed);
        }
        let mut seed = [0; 2];
        for (word, piece) in seed.iter_mut().zip(bytes(16).chunks_exact(8)) {
            *word = piece.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        SEED.set(Some(seed));
        Self(seed)
    }
}

impl BuildHasher for HashState {
    type Hasher = DefaultHasher;
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_has_one_seed() {
        let (first, second) = (HashState::default(), HashState::default());
        assert_eq!(first.hash_one("a"), second.hash_one("a"));
        assert_ne!(first.0, [0, 0]);
        let map: HashMap<&str, u32> = [("a", 1)].into_iter().collect();
        assert_eq!(map.get("a"), Some(&1));
    }

    #[test]
    fn tokens_have_the_length_asked_for_and_differ() {
        let (first, second) = (token(16), token(16));
        assert_eq!(first.len(), 16);
        assert!(first.bytes().all(|byte| BASE32.contains(&byte)), "{first}");
        assert_ne!(first, second);
    }
}
