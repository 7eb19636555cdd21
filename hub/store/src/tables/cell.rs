//! How an encoded row becomes stored values: whole if it is small, in pieces if not.
//!
//! The engine wants values of at most a few KiB. A longer row is a head under its own key and continuation pieces under
//! `0x0f ++ key ++ index`. Every piece begins with a fingerprint of the whole, so that a reader who meets pieces of two different
//! commits notices and reads again.

use sha2::{Digest, Sha256};

/// First byte of continuation keys.
pub(super) const CONTINUATION: u8 = 0x0f;
const PIECE: usize = 3_500;
/// The longest row, encoded, in bytes: what does not fit here belongs into a content-addressed file.
pub(super) const MAX_ROW: usize = 64 * 1024;
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;
const FINGERPRINT: usize = 8;

/// What is stored for one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cells {
    /// Under the row's own key.
    pub(super) head: Vec<u8>,
    /// Under the continuation keys, from index 0 on.
    pub(super) pieces: Vec<Vec<u8>>,
}

pub(super) fn split(row: &[u8]) -> Cells {
    if row.len() <= PIECE {
        let mut head = Vec::with_capacity(row.len() + 1);
        head.push(WHOLE);
        head.extend_from_slice(row);
        return Cells { head, pieces: Vec::new() };
    }
    let fingerprint = fingerprint(row);
    let (first, rest) = row.split_at(PIECE);
    let pieces: Vec<Vec<u8>> = rest.chunks(PIECE).map(|piece| [fingerprint.as_slice(), piece].concat()).collect();
    let head = [&[SPLIT, pieces.len() as u8][..], &fingerprint, first].concat();
    Cells { head, pieces }
}

/// How many continuation pieces a head has.
pub(super) fn pieces_of(head: &[u8]) -> usize {
    match head {
        [SPLIT, count, ..] => usize::from(*count),
        _ => 0,
    }
}

/// The row again; none if the pieces are not of one commit or the head is no head.
pub(super) fn join(head: &[u8], pieces: &[Option<Vec<u8>>]) -> Option<Vec<u8>> {
    match head {
        [WHOLE, row @ ..] => Some(row.to_vec()),
        [SPLIT, _, rest @ ..] if rest.len() >= FINGERPRINT => {
            let (wanted, first) = rest.split_at(FINGERPRINT);
            let mut row = first.to_vec();
            for piece in pieces {
                row.extend_from_slice(piece.as_deref()?.strip_prefix(wanted)?);
            }
            (fingerprint(&row).as_slice() == wanted).then_some(row)
        }
        _ => None,
    }
}

pub(super) fn continuation_key(key: &[u8], index: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 2);
    bytes.push(CONTINUATION);
    bytes.extend_from_slice(key);
    bytes.push(index as u8);
    bytes
}

fn fingerprint(row: &[u8]) -> [u8; FINGERPRINT] {
    let digest = Sha256::digest(row);
    let mut bytes = [0; FINGERPRINT];
    bytes.copy_from_slice(&digest[..FINGERPRINT]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_size_come_back_and_mixed_pieces_do_not() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, MAX_ROW] {
            let row: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let cells = split(&row);
            assert_eq!(pieces_of(&cells.head), cells.pieces.len());
            let pieces: Vec<_> = cells.pieces.iter().cloned().map(Some).collect();
            assert_eq!(join(&cells.head, &pieces), Some(row));
        }
        let old = split(&vec![1; 2 * PIECE]);
        let new = split(&vec![2; 2 * PIECE]);
        assert_eq!(join(&new.head, &[Some(old.pieces[0].clone())]), None);
        assert_eq!(join(&new.head, &[None]), None);
        assert_eq!(join(&[], &[]), None);
    }
}
