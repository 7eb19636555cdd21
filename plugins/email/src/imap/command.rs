//! Command lines. Pure: wishes to text, with everything quoted that may hold anything.

/// A string between quotes. The caller has checked that it holds no control characters.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A mailbox's name as it goes over the wire: modified UTF-7 (RFC 3501 section 5.1.3), quoted.
pub(crate) fn mailbox(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut pending: Vec<u16> = Vec::new();
    for character in name.chars() {
        if (' '..='~').contains(&character) {
            flush(&mut pending, &mut encoded);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            pending.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut pending, &mut encoded);
    quote(&encoded)
}

/// Writes UTF-16 as `&…-` in the base64 alphabet of mailbox names.
fn flush(pending: &mut Vec<u16>, encoded: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    if pending.is_empty() {
        return;
    }
    let bytes: Vec<u8> = pending.drain(..).flat_map(u16::to_be_bytes).collect();
    encoded.push('&');
    for group in bytes.chunks(3) {
        let mut bits = [0u8; 3];
        bits[..group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for position in 0..=group.len() {
            encoded.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
        }
    }
    encoded.push('-');
}

/// A set of UIDs in ascending order, with runs shortened: `1:3,7`.
pub(crate) fn uid_set(uids: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &uid in uids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            _ => runs.push((uid, uid)),
        }
    }
    let texts: Vec<String> =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}:{last}") }).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_names() {
        for (name, wire) in [
            ("INBOX", "\"INBOX\""),
            ("Gesendete Objekte", "\"Gesendete Objekte\""),
            ("Entwürfe", "\"Entw&APw-rfe\""),
            ("R&D", "\"R&-D\""),
            ("台北", "\"&U,BTFw-\""),
            ("mail/日本語", "\"mail/&ZeVnLIqe-\""),
            ("😀", "\"&2D3eAA-\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ] {
            assert_eq!(mailbox(name), wire, "{name}");
        }
    }

    #[test]
    fn sets_of_uids() {
        for (uids, set) in
            [(vec![], ""), (vec![5], "5"), (vec![1, 2, 3, 7], "1:3,7"), (vec![u32::MAX - 1, u32::MAX], "4294967294:4294967295")]
        {
            assert_eq!(uid_set(&uids), set);
        }
    }
}
