//! A mail's key, and Message-IDs.
//!
//! The key must be the same when the same mail is met again (redelivered, moved, read anew after the server numbered its mails
//! anew), and must differ for any other mail, even if somebody gave it the Message-ID of an earlier one to make us drop it. So it
//! is the Message-ID together with a digest of what a sender writes: From, Date, Subject, body. UIDs are no part of it, nor is what
//! servers add on the way.

use mail_parser::HeaderValue;
use sha2::{Digest, Sha256};

/// What of a mail's body goes into its key.
#[derive(Clone, Copy)]
pub(super) enum Body<'x> {
    Bytes(&'x [u8]),
    /// Of a mail too large to read, its size.
    Size(u32),
}

/// What of a mail's header goes into its key.
#[derive(Clone, Copy)]
pub(super) struct Named<'x> {
    pub(super) message_id: Option<&'x str>,
    pub(super) from: &'x str,
    pub(super) date: &'x str,
    pub(super) subject: &'x str,
}

/// `<message id>#<16 hex digits>`, or `#<64 hex digits>` for a mail without a usable Message-ID.
pub(super) fn key(named: Named<'_>, body: Body<'_>) -> String {
    let mut digest = Sha256::new();
    for field in [named.from, named.date, named.subject] {
        // Servers fold and unfold long fields as they like.
        for word in field.split_ascii_whitespace() {
            digest.update(word.as_bytes());
            digest.update([0]);
        }
        digest.update([1]);
    }
    match body {
        Body::Bytes(bytes) => digest.update(bytes.trim_ascii_end()),
        Body::Size(size) => digest.update(size.to_be_bytes()),
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    match named.message_id {
        Some(id) => format!("{id}#{}", &hex[..16]),
        None => format!("#{hex}"),
    }
}

/// The Message-ID that a key begins with.
pub(crate) fn message_id_of_key(key: &str) -> Option<&str> {
    key.rsplit_once('#').map(|(id, _)| id).filter(|id| is_message_id(id))
}

/// Whether this can be a Message-ID (without brackets): visible ASCII without brackets, of a sane length.
pub fn is_message_id(id: &str) -> bool {
    (3..=500).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
}

/// The usable ids of a field such as References.
pub(super) fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    let ids: Vec<&str> = match value {
        HeaderValue::Text(id) => vec![id.as_ref()],
        HeaderValue::TextList(ids) => ids.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    };
    ids.into_iter().filter(|id| is_message_id(id)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Named<'_> = Named { message_id: Some("1@b.test"), from: "a@b.test", date: "now", subject: "Hi" };

    #[test]
    fn the_same_mail_has_the_same_key_and_another_has_not() {
        let first = key(NAMED, Body::Bytes(b"Hello\r\n"));
        assert!(first.starts_with("1@b.test#"), "{first}");
        assert_eq!(key(Named { subject: "Hi\r\n ", ..NAMED }, Body::Bytes(b"Hello\r\n\r\n")), first);
        for other in [
            key(Named { from: "evil@b.test", ..NAMED }, Body::Bytes(b"Hello\r\n")),
            key(Named { date: "then", ..NAMED }, Body::Bytes(b"Hello\r\n")),
            key(Named { from: "a@b.testn", date: "ow", ..NAMED }, Body::Bytes(b"Hello\r\n")),
            key(NAMED, Body::Bytes(b"Hello!\r\n")),
            key(NAMED, Body::Size(5)),
            key(Named { message_id: None, ..NAMED }, Body::Bytes(b"Hello\r\n")),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn message_ids() {
        for (id, sane) in [
            ("1@b.test", true),
            ("no-at-sign", true),
            ("a", false),
            ("a b@c", false),
            ("a\r\nb@c", false),
            ("<x@y>", false),
            ("é@b.test", false),
        ] {
            assert_eq!(is_message_id(id), sane, "{id:?}");
        }
        assert!(!is_message_id(&"x".repeat(501)));
        assert_eq!(message_id_of_key("a#b@c.test#0123"), Some("a#b@c.test"));
        assert_eq!(message_id_of_key("#0123"), None);
    }
}
