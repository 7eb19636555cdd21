//! Helpers for key bytes: text that ends unambiguously, numbers that sort, numbers that sort backwards.

/// Text followed by a zero byte; zero bytes inside are written as two bytes, so that no text is another's prefix.
pub(super) fn text(into: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            // 0x00 -> 0x01 0x01 and 0x01 -> 0x01 0x02 keep the order and leave 0x00 free to end the text.
            0 => into.extend([1, 1]),
            1 => into.extend([1, 2]),
            other => into.push(other),
        }
    }
    into.push(0);
}

/// A moment such that later ones sort first.
pub(super) fn newest_first(millis: i64) -> [u8; 8] {
    // Flip the sign bit so that negative numbers sort below positive ones, then invert.
    (!((millis as u64) ^ (1 << 63))).to_be_bytes()
}

/// An id such that later ones sort first.
pub(super) fn inverted(id: &[u8; 16]) -> [u8; 16] {
    let mut bytes = *id;
    for byte in &mut bytes {
        *byte = !*byte;
    }
    bytes
}

/// The id that a row's key begins with, behind the table's byte.
#[must_use]
pub fn leading_id(key: &[u8]) -> Option<[u8; 16]> {
    key.get(1..17)?.try_into().ok()
}

/// The text behind the leading id of a key that ends with one (a cursor's, a secret's, a delivery's name).
#[must_use]
pub fn trailing_name(key: &[u8]) -> Option<String> {
    read_text(key.get(17..)?)
}

/// The reverse of [`text`], for a key that ends with it.
pub(super) fn read_text(encoded: &[u8]) -> Option<String> {
    let encoded = encoded.strip_suffix(&[0])?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(if *byte == 1 { rest.next()? - 1 } else { *byte });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_prefix_of_another_and_order_is_kept() {
        let encoded = |value: &str| {
            let mut bytes = Vec::new();
            text(&mut bytes, value);
            bytes
        };
        let values = ["", "\0", "\0\0", "\u{1}", "\u{1}a", "a", "a\0", "a\0b", "a\u{1}", "ab", "b"];
        for pair in values.windows(2) {
            assert!(encoded(pair[0]) < encoded(pair[1]), "{pair:?}");
            assert!(!encoded(pair[1]).starts_with(&encoded(pair[0])), "{pair:?}");
        }
    }

    #[test]
    fn names_are_read_back_from_keys() {
        for name in ["", "listen", "w/contacts/pro_1", "odd\0\u{1}name", "é"] {
            let mut key = vec![0x20];
            key.extend([7; 16]);
            text(&mut key, name);
            assert_eq!(trailing_name(&key).as_deref(), Some(name));
            assert_eq!(leading_id(&key), Some([7; 16]));
        }
        assert_eq!(trailing_name(&[1, 2]), None);
    }

    #[test]
    fn later_moments_sort_first() {
        for (later, earlier) in [(1, 0), (0, -1), (i64::MAX, 5), (-5, i64::MIN)] {
            assert!(newest_first(later) < newest_first(earlier));
        }
    }
}
