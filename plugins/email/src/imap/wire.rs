//! From the server's bytes to events. Pure: it is fed bytes in pieces of any size and hands out what is complete.
//!
//! The framing (lines and literals, with a size limit) and the grammar of data responses are `imap-codec`'s; status lines are
//! read by [`Status`]. A data response that cannot be read becomes [`Event::Unreadable`] instead of an error, because one odd
//! line must not stop a mailbox; who asked for a mail and did not get it looks for that.

use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::fragmentizer::Fragmentizer;
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::response::{Data, Response};

use super::status::Status;

/// The largest single response: mails are fetched in pieces far smaller than this.
pub(crate) const MAX_RESPONSE: u32 = 8 * 1024 * 1024;

/// One thing the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It waits for more of the command.
    Continue,
    /// How something came out.
    Status(Status),
    /// What it can do, upper case.
    Capabilities(Vec<String>),
    /// How many mails the mailbox holds now.
    Exists(u32),
    /// A mail went away.
    Expunge,
    /// Something about one mail.
    Fetch(Fetched),
    /// What a search found.
    Found(Vec<u32>),
    /// Understood, and of no interest.
    Other,
    /// Not understood; for the log, its beginning.
    Unreadable(String),
}

/// What a FETCH response says of one mail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) uid: Option<u32>,
    pub(crate) size: Option<u32>,
    /// When the server received it, in milliseconds since the Unix epoch.
    pub(crate) internal_date_ms: Option<i64>,
    /// The body, or the piece of it that was asked for.
    pub(crate) body: Option<Vec<u8>>,
}

/// Why the bytes cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Turns bytes into events.
pub(crate) struct Reader {
    fragments: Fragmentizer,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { fragments: Fragmentizer::new(MAX_RESPONSE) }
    }

    /// Takes bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.fragments.enqueue_bytes(bytes);
    }

    /// The next complete event; none when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, TooLong> {
        loop {
            let progressed = self.fragments.progress().is_some();
            if self.fragments.is_max_message_size_exceeded() {
                return Err(TooLong);
            }
            if !progressed {
                return Ok(None);
            }
            if self.fragments.is_message_complete() {
                return Ok(Some(event(self.fragments.message_bytes())));
            }
        }
    }
}

fn event(message: &[u8]) -> Event {
    if message.starts_with(b"+") {
        return Event::Continue;
    }
    if let Some(status) = Status::parse(message) {
        return Event::Status(status);
    }
    if let Some(event) = data_event(message) {
        return event;
    }
    // NUL is not allowed in a literal, and yet some servers hand out mails that hold one.
    if message.contains(&0) {
        let without: Vec<u8> = message.iter().map(|byte| if *byte == 0 { 0x80 } else { *byte }).collect();
        if let Some(event) = data_event(&without) {
            return event;
        }
    }
    Event::Unreadable(String::from_utf8_lossy(&message[..message.len().min(80)]).into_owned())
}

fn data_event(message: &[u8]) -> Option<Event> {
    let (_, response) = ResponseCodec::default().decode(message).ok()?;
    let Response::Data(data) = response else { return Some(Event::Other) };
    Some(match data {
        Data::Capability(capabilities) => Event::Capabilities(capabilities.as_ref().iter().map(|c| c.to_string().to_uppercase()).collect()),
        Data::Exists(count) => Event::Exists(count),
        Data::Expunge(_) | Data::Vanished { .. } => Event::Expunge,
        Data::Search(found, _) => Event::Found(found.into_iter().map(u32::from).collect()),
        Data::Fetch { items, .. } => Event::Fetch(fetched(items.into_inner())),
        _ => Event::Other,
    })
}

fn fetched(items: Vec<MessageDataItem<'_>>) -> Fetched {
    let mut fetched = Fetched::default();
    for item in items {
        match item {
            MessageDataItem::Uid(uid) => fetched.uid = Some(uid.into()),
            MessageDataItem::Rfc822Size(size) => fetched.size = Some(size),
            MessageDataItem::InternalDate(date) => fetched.internal_date_ms = Some(date.as_ref().timestamp_millis()),
            MessageDataItem::BodyExt { data, .. } => fetched.body = Some(data.into_option().unwrap_or_default().into_owned()),
            _ => {}
        }
    }
    fetched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::status::Verdict;
    use super::*;

    fn events(bytes: &[u8], chunk: usize) -> Vec<Event> {
        let mut reader = Reader::new();
        let mut events = Vec::new();
        for piece in bytes.chunks(chunk.max(1)) {
            reader.push(piece);
            while let Ok(Some(event)) = reader.next() {
                events.push(event);
            }
        }
        events
    }

    fn check(line: &[u8], expected: Event) {
        assert_eq!(events(line, line.len()), [expected], "{}", String::from_utf8_lossy(line));
    }

    #[test]
    fn responses() {
        check(b"+ idling\r\n", Event::Continue);
        check(b"+\r\n", Event::Continue);
        check(b"* 3 EXISTS\r\n", Event::Exists(3));
        check(b"* 3 EXPUNGE\r\n", Event::Expunge);
        check(b"* VANISHED 300:310,405\r\n", Event::Expunge);
        check(b"* SEARCH 2 84 882\r\n", Event::Found(vec![2, 84, 882]));
        check(b"* SEARCH\r\n", Event::Found(vec![]));
        check(b"* SEARCH \r\n", Event::Found(vec![]));
        check(b"* FLAGS (\\Answered \\Seen)\r\n", Event::Other);
        check(b"* CAPABILITY IMAP4rev1 Idle X-Odd\r\n", Event::Capabilities(vec!["IMAP4REV1".into(), "IDLE".into(), "X-ODD".into()]));
        check(b"* 1 NONSENSE (\r\n", Event::Unreadable("* 1 NONSENSE (\r\n".into()));
    }

    #[test]
    fn fetches() {
        let date = "INTERNALDATE \"21-Nov-2026 10:00:00 +0100\"";
        check(
            format!("* 1 FETCH (UID 7 FLAGS (\\Seen \\Recent) {date} RFC822.SIZE 12 MODSEQ (3))\r\n").as_bytes(),
            Event::Fetch(Fetched { uid: Some(7), size: Some(12), internal_date_ms: Some(1_795_251_600_000), body: None }),
        );
        check(
            b"* 1 FETCH (UID 7 BODY[]<0> {5}\r\na\r\nb))\r\n",
            Event::Fetch(Fetched { uid: Some(7), body: Some(b"a\r\nb)".to_vec()), ..Fetched::default() }),
        );
        check(
            b"* 1 FETCH (BODY[] \"quoted\" UID 7)\r\n",
            Event::Fetch(Fetched { uid: Some(7), body: Some(b"quoted".to_vec()), ..Fetched::default() }),
        );
        check(b"* 1 FETCH (UID 7 BODY[] NIL)\r\n", Event::Fetch(Fetched { uid: Some(7), body: Some(vec![]), ..Fetched::default() }));
        check(
            b"* 1 FETCH (UID 7 BODY[HEADER] {0}\r\n)\r\n",
            Event::Fetch(Fetched { uid: Some(7), body: Some(vec![]), ..Fetched::default() }),
        );
    }

    #[test]
    fn nul_in_a_mail_does_not_lose_it() {
        check(
            b"* 1 FETCH (UID 7 BODY[] {3}\r\na\0b)\r\n",
            Event::Fetch(Fetched { uid: Some(7), body: Some(b"a\x80b".to_vec()), ..Fetched::default() }),
        );
    }

    #[test]
    fn a_literal_that_looks_like_a_response_is_not_one() {
        let bytes = b"* 1 FETCH (UID 7 BODY[] {20}\r\n* BYE x\r\na1 OK y\r\n..)\r\na1 OK done\r\n";
        let events = events(bytes, 3);
        assert!(
            matches!(&events[0], Event::Fetch(fetched) if fetched.body.as_deref() == Some(b"* BYE x\r\na1 OK y\r\n..".as_slice())),
            "{events:?}"
        );
        assert!(matches!(&events[1], Event::Status(status) if status.verdict == Verdict::Ok), "{events:?}");
    }

    #[test]
    fn a_response_without_end_is_given_up() {
        let mut reader = Reader::new();
        for _ in 0..=MAX_RESPONSE / 65_536 {
            reader.push(&[b'x'; 65_536]);
            if reader.next() == Err(TooLong) {
                return;
            }
        }
        panic!("accepted a line of {MAX_RESPONSE} bytes");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), chunk in 1usize..64) {
            events(&bytes, chunk);
        }

        #[test]
        fn nearly_imap_does_not_make_it_panic(words in prop::collection::vec(prop::sample::select(vec![
            "* ", "a1 ", "OK ", "FETCH ", "(", ")", "UID ", "BODY[]", "<0>", " {3}\r\n", "{99999999999}\r\n", "\r\n", "\"", "\\", "NIL", "[", "]", "1 ", "EXISTS", "+ ", "{0}\r\n", "\u{e9}", "\0",
        ]), 0..40), chunk in 1usize..8) {
            events(words.concat().as_bytes(), chunk);
        }

        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(body in prop::collection::vec(any::<u8>(), 0..200), chunk in 1usize..50) {
            let mut bytes = format!("* OK [UIDVALIDITY 3] hi\r\n* 2 EXISTS\r\n* 1 FETCH (UID 9 BODY[]<0> {{{}}}\r\n", body.len()).into_bytes();
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b" RFC822.SIZE 9)\r\n* SEARCH 1 2\r\na1 OK done\r\n");
            prop_assert_eq!(events(&bytes, chunk), events(&bytes, bytes.len()));
            prop_assert_eq!(events(&bytes, 1).len(), 5);
        }
    }
}
