//! One hash for keys, ties and sampling: the same on every machine and in every release, since decisions hang on it.
//!
//! FNV-1a (Fowler, Noll, Vo) over the bytes, finished by the mixer of MurmurHash3 so that all bits can be used. Not for secrets.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are hashes of this module already.
pub(super) type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// The hash of a text.
pub(super) fn of_text(text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    mixed(text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The hash of several hashes, in this order.
pub(super) fn of_parts(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| mixed(hash.rotate_left(23) ^ part))
}

/// The hash of two things whose order means nothing.
pub(super) fn of_pair(one: u64, other: u64) -> u64 {
    of_parts(&[one.min(other), one.max(other)])
}

const fn mixed(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Hands on a key that is a hash already.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u64` is used; anything else still has to be right.
        for byte in bytes {
            self.0 = mixed(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
