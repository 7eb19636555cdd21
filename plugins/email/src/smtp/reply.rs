//! Replies of an SMTP server, and which error each is. Pure.

use throughline_plugin_sdk::{Error, ErrorClass};

use crate::errors::quoted;

/// Longest reply read.
const MAX_REPLY: usize = 64 * 1024;

/// A reply: its code and its lines without code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// Whether the server did or will do what was asked.
    pub(crate) fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.code, quoted(&self.lines.join(" ")))
    }
}

/// What came is no SMTP; its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotSmtp(pub(crate) String);

/// Collects bytes into replies.
#[derive(Default)]
pub(crate) struct ReplyReader {
    buffer: Vec<u8>,
    lines: Vec<String>,
    size: usize,
}

impl ReplyReader {
    /// Takes bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete reply; none when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, NotSmtp> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            self.size += line.len();
            let (code, last, text) = parse_line(&line).ok_or_else(|| NotSmtp(String::from_utf8_lossy(&line).into_owned()))?;
            if self.size > MAX_REPLY {
                return Err(NotSmtp("a reply without end".to_owned()));
            }
            self.lines.push(text);
            if last {
                self.size = 0;
                return Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
        if self.buffer.len() > MAX_REPLY { Err(NotSmtp("a line without end".to_owned())) } else { Ok(None) }
    }
}

fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
        return None;
    }
    let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
    let last = match line.get(3)? {
        b'-' => false,
        b' ' | b'\r' | b'\n' => true,
        _ => return None,
    };
    let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).trim_end().to_owned();
    Some((code, last, text))
}

/// At which point of the conversation a reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Greeting,
    Login,
    Sender,
    Recipient,
    Data,
}

/// The error that a negative reply is.
pub(crate) fn refusal(stage: Stage, reply: &Reply) -> Error {
    let (class, field) = class_of(stage, reply.code);
    let error = Error::new(class, format!("{}: {}", what_was_refused(stage), reply.text()));
    match field {
        Some(field) => error.with_field(field),
        None => error,
    }
}

fn class_of(stage: Stage, code: u16) -> (ErrorClass, Option<&'static str>) {
    match (stage, code) {
        // A greylisted, busy or full server: all of 4xx says "later".
        (_, 400..=499) => (ErrorClass::Transient, None),
        (_, 530 | 534 | 535 | 538) => (ErrorClass::Auth, Some("password")),
        (Stage::Login, _) => (ErrorClass::Auth, Some("password")),
        (Stage::Greeting, _) => (ErrorClass::Permission, None),
        (Stage::Sender, _) => (ErrorClass::InvalidRecord, Some("/from")),
        (Stage::Recipient, _) => (ErrorClass::InvalidRecord, Some("/to")),
        (Stage::Data, 550 | 553) => (ErrorClass::InvalidRecord, Some("/to")),
        (Stage::Data, _) => (ErrorClass::InvalidRecord, Some("/text")),
    }
}

fn what_was_refused(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "SMTP: the server does not talk to us",
        Stage::Login => "SMTP: the server refused the user name or password",
        Stage::Sender => "SMTP: the server refused the sender's address",
        Stage::Recipient => "SMTP: the server refused a recipient's address",
        Stage::Data => "SMTP: the server refused the message",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replies(bytes: &[u8], chunk: usize) -> Result<Vec<Reply>, NotSmtp> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in bytes.chunks(chunk.max(1)) {
            reader.push(piece);
            while let Some(reply) = reader.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_one_and_several_lines() {
        let expected = vec![
            Reply { code: 220, lines: vec!["mail.test ESMTP".into()] },
            Reply { code: 250, lines: vec!["mail.test".into(), "SIZE 26214400".into(), "HELP".into()] },
            Reply { code: 354, lines: vec![String::new()] },
        ];
        assert_eq!(replies(b"220 mail.test ESMTP\r\n250-mail.test\r\n250-SIZE 26214400\r\n250 HELP\r\n354\r\n", 1000), Ok(expected));
    }

    #[test]
    fn other_protocols() {
        for said in [
            "* OK IMAP ready\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "\r\n",
            "2200 x\r\n",
            "99\r\n",
            "199 x\r\n",
            "650 x\r\n",
        ] {
            assert!(replies(said.as_bytes(), 7).is_err(), "{said}");
        }
        assert!(replies(&[b'2'; MAX_REPLY + 1], 4096).is_err());
        assert!(replies("250-x\r\n".repeat(MAX_REPLY / 7 + 2).as_bytes(), 4096).is_err());
    }

    #[test]
    fn which_error_a_refusal_is() {
        use ErrorClass::{Auth, InvalidRecord, Permission, Transient};
        for (stage, code, class, field) in [
            (Stage::Greeting, 421, Transient, None),
            (Stage::Greeting, 554, Permission, None),
            (Stage::Login, 454, Transient, None),
            (Stage::Login, 535, Auth, Some("password")),
            (Stage::Login, 504, Auth, Some("password")),
            (Stage::Sender, 530, Auth, Some("password")),
            (Stage::Sender, 553, InvalidRecord, Some("/from")),
            (Stage::Recipient, 450, Transient, None),
            (Stage::Recipient, 452, Transient, None),
            (Stage::Recipient, 550, InvalidRecord, Some("/to")),
            (Stage::Recipient, 553, InvalidRecord, Some("/to")),
            (Stage::Data, 451, Transient, None),
            (Stage::Data, 550, InvalidRecord, Some("/to")),
            (Stage::Data, 552, InvalidRecord, Some("/text")),
            (Stage::Data, 554, InvalidRecord, Some("/text")),
        ] {
            let error = refusal(stage, &Reply { code, lines: vec!["why".into()] });
            assert_eq!((error.class, error.field.as_deref()), (class, field), "{stage:?} {code}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), chunk in 1usize..20) {
            let _ = replies(&bytes, chunk);
        }

        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(texts in prop::collection::vec("[ -~]{0,20}", 1..5), chunk in 1usize..20) {
            let bytes: String = texts.iter().map(|text| format!("250-{text}\r\n250 end\r\n")).collect();
            prop_assert_eq!(replies(bytes.as_bytes(), chunk), replies(bytes.as_bytes(), bytes.len()));
        }
    }
}
