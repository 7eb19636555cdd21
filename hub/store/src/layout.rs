//! The keys that the store itself writes, byte by byte. `FORMAT.md` is the document; this is the only code that knows it.
//!
//! Tables own the prefix bytes from [`FIRST_TABLE`] to [`LAST_TABLE`]; this file does not know what they keep there.

use crate::port::{Idempotency, Key, KeyRange, Receipt, Sequence, StoreError, Versioned};

/// Version of this layout.
pub(crate) const FORMAT: u32 = 1;
/// First prefix byte that belongs to tables.
pub(crate) const FIRST_TABLE: u8 = 0x0f;
/// Last prefix byte that belongs to tables.
pub(crate) const LAST_TABLE: u8 = 0x7f;

const META: u8 = 0x00;
const LOG: u8 = 0x01;
const IDEMPOTENCY: u8 = 0x02;
const EXPIRY: u8 = 0x03;

/// Names the store; 16 random bytes made when it is created.
pub(crate) const STORE_ID: &[u8] = &[META, b'i'];
/// Version of the layout, 4 bytes.
pub(crate) const STORE_FORMAT: &[u8] = &[META, b'f'];
/// Sequence last handed out, 8 bytes.
pub(crate) const HEAD: &[u8] = &[META, b'h'];
/// First sequence that the log still holds, 8 bytes; absent until the log is trimmed.
pub(crate) const LOG_START: &[u8] = &[META, b't'];

/// The head at an orderly end, 8 bytes; absent while the store is open.
pub(crate) const CLEAN: &[u8] = &[META, b'c'];

/// Sequences skipped when the end before was not orderly: more than one batch can hold. Readers may have seen versions of a batch that
/// did not survive; none of them may ever mean anything else.
pub(crate) const CRASH_GAP: Sequence = 1 << 20;
/// Sequences skipped by a restore: what was handed out after the backup was taken must not be handed out again.
pub(crate) const RESTORE_GAP: Sequence = 1 << 32;

/// Bytes of the version before every value.
pub(crate) const VERSION_BYTES: usize = 8;

/// Whether tables may use this key.
pub(crate) fn belongs_to_tables(key: &[u8]) -> bool {
    key.first().is_some_and(|first| (FIRST_TABLE..=LAST_TABLE).contains(first))
}

/// Whether tables may scan this range.
pub(crate) fn range_belongs_to_tables(range: &KeyRange) -> bool {
    range.start.as_slice() >= [FIRST_TABLE].as_slice() && range.end.as_slice() <= [LAST_TABLE + 1].as_slice()
}

/// Every key there can be.
pub(crate) fn everything_after(key: &[u8]) -> KeyRange {
    let mut start = key.to_vec();
    if !key.is_empty() {
        start.push(0);
    }
    KeyRange { start, end: vec![u8::MAX] }
}

/// A value as it is stored: the commit that wrote it, then the value.
pub(crate) fn stored(version: Sequence, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VERSION_BYTES + value.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// A stored value, taken apart.
pub(crate) fn versioned(mut bytes: Vec<u8>) -> Result<Versioned, StoreError> {
    let version = version_of(&bytes)?;
    bytes.drain(..VERSION_BYTES);
    Ok(Versioned { version, value: bytes })
}

/// The commit that wrote a stored value.
pub(crate) fn version_of(bytes: &[u8]) -> Result<Sequence, StoreError> {
    match bytes.first_chunk() {
        Some(version) => Ok(u64::from_be_bytes(*version)),
        None => Err(StoreError::Corrupt(format!("a value has {} bytes, fewer than its version", bytes.len()))),
    }
}

/// Where a log entry is.
pub(crate) fn log_key(sequence: Sequence) -> Key {
    with_number(LOG, sequence)
}

/// Log entries from `first` (included) to `end` (excluded).
pub(crate) fn log_range(first: Sequence, end: Sequence) -> KeyRange {
    KeyRange { start: log_key(first), end: log_key(end) }
}

/// The sequence of a log entry's key.
pub(crate) fn log_sequence(key: &[u8]) -> Result<Sequence, StoreError> {
    match key {
        [LOG, number @ ..] => number_in(number, "a key of the log"),
        _ => Err(StoreError::Corrupt("a key is not of the log".to_owned())),
    }
}

/// What is remembered of a named commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Its receipt.
    pub(crate) receipt: Receipt,
    /// Until when.
    pub(crate) expires_at_ms: u64,
}

impl Remembered {
    /// Its stored form.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.receipt.sequence, self.receipt.first_log, self.expires_at_ms].map(u64::to_be_bytes).concat()
    }

    /// Reads its stored form.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        if bytes.len() != 24 {
            return Err(StoreError::Corrupt(format!("an idempotency entry has {} bytes and not 24", bytes.len())));
        }
        let number = |at: usize| number_in(&bytes[at..at + 8], "an idempotency entry");
        let receipt = Receipt { sequence: number(0)?, first_log: number(8)? };
        Ok(Self { receipt, expires_at_ms: number(16)? })
    }
}

/// Where a named commit is remembered.
pub(crate) fn idempotency_key(id: &[u8]) -> Key {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(IDEMPOTENCY);
    key.extend_from_slice(id);
    key
}

/// Orders named commits by when they may be forgotten.
pub(crate) fn expiry_key(idempotency: &Idempotency) -> Key {
    let mut key = with_number(EXPIRY, idempotency.expires_at_ms);
    key.extend_from_slice(&idempotency.id);
    key
}

/// Expiry keys up to `now_ms`, included.
pub(crate) fn expired_range(now_ms: u64) -> KeyRange {
    let end = now_ms.checked_add(1).map_or_else(|| vec![EXPIRY + 1], |next| with_number(EXPIRY, next));
    KeyRange { start: vec![EXPIRY], end }
}

/// Whose expiry this key is.
pub(crate) fn expiry_of(key: &[u8]) -> Result<Idempotency, StoreError> {
    match key {
        [EXPIRY, rest @ ..] if rest.len() >= 8 => {
            Ok(Idempotency { id: rest[8..].to_vec(), expires_at_ms: number_in(&rest[..8], "an expiry key")? })
        }
        _ => Err(StoreError::Corrupt("a key is not of the expiry order".to_owned())),
    }
}

/// A number as stored in the meta keys.
pub(crate) fn number_in(bytes: &[u8], what: &str) -> Result<u64, StoreError> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| StoreError::Corrupt(format!("{what} has {} bytes for a number", bytes.len())))?;
    Ok(u64::from_be_bytes(bytes))
}

fn with_number(prefix: u8, number: u64) -> Key {
    let mut key = Vec::with_capacity(9);
    key.push(prefix);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_bytes_that_the_format_promises() {
        assert_eq!(log_key(0x0102), [1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(idempotency_key(b"ab"), [2, b'a', b'b']);
        let named = Idempotency { id: b"ab".to_vec(), expires_at_ms: 0x0304 };
        assert_eq!(expiry_key(&named), [3, 0, 0, 0, 0, 0, 0, 3, 4, b'a', b'b']);
        assert_eq!((STORE_ID, STORE_FORMAT, HEAD), (&b"\0i"[..], &b"\0f"[..], &b"\0h"[..]));
        assert_eq!((LOG_START, CLEAN), (&b"\0t"[..], &b"\0c"[..]));
        assert_eq!(stored(0x0506, b"xy"), [0, 0, 0, 0, 0, 0, 5, 6, b'x', b'y']);
        let remembered = Remembered { receipt: Receipt { sequence: 1, first_log: 2 }, expires_at_ms: 3 };
        assert_eq!(remembered.to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(log_sequence(&log_key(u64::MAX)).unwrap(), u64::MAX);
        let named = Idempotency { id: vec![0, 255], expires_at_ms: 77 };
        assert_eq!(expiry_of(&expiry_key(&named)).unwrap(), named);
        let remembered = Remembered { receipt: Receipt { sequence: 9, first_log: 8 }, expires_at_ms: u64::MAX };
        assert_eq!(Remembered::from_bytes(&remembered.to_bytes()).unwrap(), remembered);
        assert_eq!(versioned(stored(4, b"v")).unwrap(), Versioned { version: 4, value: b"v".to_vec() });
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic() {
        for bytes in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", b"\x03\0", b"\x02\0\0\0\0\0\0\0\0"] {
            assert!(matches!(log_sequence(bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(expiry_of(bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(Remembered::from_bytes(bytes), Err(StoreError::Corrupt(_))));
        }
        assert!(matches!(versioned(vec![1; 7]), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn expired_means_up_to_now() {
        let at = |expires_at_ms| expiry_key(&Idempotency { id: vec![255; 3], expires_at_ms });
        let range = expired_range(100);
        assert!(at(100) < range.end && at(0) >= range.start && at(101) >= range.end);
        assert!(at(u64::MAX) < expired_range(u64::MAX).end);
    }

    #[test]
    fn tables_own_their_prefixes_and_no_others() {
        let check = |key: &[u8], expected| assert_eq!(belongs_to_tables(key), expected, "{key:?}");
        check(b"", false);
        check(&[0x03], false);
        check(&[0x0e, 1], false);
        check(&[0x0f], true);
        check(&[0x7f, 255], true);
        check(&[0x80], false);
        assert!(range_belongs_to_tables(&KeyRange::prefix(&[0x7f])));
        assert!(range_belongs_to_tables(&KeyRange::prefix(&[0x0f])));
        assert!(!range_belongs_to_tables(&KeyRange::prefix(&[0x80])));
        assert!(!range_belongs_to_tables(&KeyRange { start: vec![], end: vec![0x20] }));
    }
}
