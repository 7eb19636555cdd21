use proptest::prelude::*;

use super::*;

fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut parser = Parser::new();
    pieces.iter().flat_map(|piece| parser.feed(piece)).collect()
}

fn message(block: &str) -> Message {
    Message::parse(block.as_bytes())
}

const GREETING: &[u8] = b"Asterisk Call Manager/9.0.0\r\n";

#[test]
fn a_stream_is_a_greeting_and_messages() {
    let got = frames(&[GREETING, b"Response: Success\r\nActionID: 1\r\n\r\nEvent: Hangup\r\nUniqueid: 1.2\r\n\r\n"]);
    let want = [
        Frame::Banner("Asterisk Call Manager/9.0.0".to_owned()),
        Frame::Message(message("Response: Success\r\nActionID: 1")),
        Frame::Message(message("Event: Hangup\r\nUniqueid: 1.2")),
    ];
    assert_eq!(got, want);
}

#[test]
fn a_stream_joined_in_its_middle_loses_nothing() {
    assert_eq!(frames(&[b"Event: Hangup\r\n\r\n"]), [Frame::Message(message("Event: Hangup"))]);
}

#[test]
fn a_lone_line_feed_belongs_to_the_value() {
    let got = frames(&[GREETING, b"Response: Success\r\nMessage: moved\nfor good\n\r\nNext: 1\r\n\r\n"]);
    let Frame::Message(message) = &got[1] else { panic!("{got:?}") };
    assert_eq!(message.raw("message"), Some("moved\nfor good"));
    assert_eq!(message.raw("NEXT"), Some("1"));
}

#[test]
fn headers_repeat_and_names_have_no_case() {
    let message =
        message("Event: Newchannel\r\nUniqueID: 1.2\r\nChanVariable: A=1\r\nchanvariable: B=2=3\r\nno colon\r\nEmpty:\r\nPad:  x ");
    assert_eq!(message.get("Uniqueid"), Some("1.2"));
    assert_eq!(message.all("ChanVariable").collect::<Vec<_>>(), ["A=1", "B=2=3"]);
    assert_eq!((message.raw("Empty"), message.get("Empty"), message.raw("Pad")), (Some(""), None, Some(" x")));
}

#[test]
fn unknown_is_nothing_and_originate_response_is_an_event() {
    let message = message("Event: OriginateResponse\r\nResponse: Failure\r\nUniqueid: <unknown>");
    assert_eq!((message.get("Uniqueid"), message.event(), message.response()), (None, Some("OriginateResponse"), None));
}

#[test]
fn backslashes_of_the_wire_go_away() {
    let table = [
        (r#"Welcome back \"Ada\""#, r#"Welcome back "Ada""#),
        (r#"Zoë \\\"Z\\\" O\'Neil"#, r#"Zoë \"Z\" O'Neil"#),
        (r"a\nb\tc\\", "a\nb\tc\\"),
        ("trailing\\", "trailing\\"),
        ("", ""),
    ];
    for (wire, plain) in table {
        assert_eq!(unescape(wire), plain, "{wire}");
    }
}

#[test]
fn times_are_read_to_the_millisecond() {
    let table = [
        ("1795291156.115593", Some(1_795_291_156_115)),
        ("1795291156.1", Some(1_795_291_156_100)),
        ("1795291156", None),
        ("x.1", None),
        ("1.x", None),
        ("99999999999999999999.1", None),
    ];
    for (given, millis) in table {
        assert_eq!(message(&format!("Event: X\r\nTimestamp: {given}")).at_ms(), millis, "{given}");
    }
}

#[test]
fn what_is_no_utf8_is_replaced() {
    let got = frames(&[GREETING, b"Response: Success\r\nValue: \xff\xfe ok\r\n\r\n"]);
    let Frame::Message(message) = &got[1] else { panic!("{got:?}") };
    assert_eq!(message.raw("Value"), Some("\u{fffd}\u{fffd} ok"));
}

#[test]
fn a_message_without_end_is_dropped_and_the_next_one_read() {
    let mut parser = Parser::new();
    parser.feed(GREETING);
    for _ in 0..40 {
        assert!(parser.feed(&[b'x'; 16 * 1024]).is_empty());
        assert!(parser.buffer.len() <= MAX_MESSAGE + 32 * 1024);
    }
    assert!(!parser.is_at_boundary());
    let got = parser.feed(b"\r\n\r\nEvent: Hangup\r\n\r\n");
    assert_eq!((got, parser.dropped()), (vec![Frame::Message(message("Event: Hangup"))], 1));
    assert!(parser.is_at_boundary());
}

#[test]
fn a_message_that_is_too_long_but_whole_is_dropped_too() {
    let mut long = GREETING.to_vec();
    long.extend(vec![b'x'; MAX_MESSAGE + 1]);
    long.extend(b"\r\n\r\nEvent: A\r\n\r\n");
    assert_eq!(frames(&[&long])[1..], [Frame::Message(message("Event: A"))]);
}

#[test]
fn a_greeting_without_end_is_not_waited_for_for_ever() {
    let got = frames(&[&[b'a'; 5000]]);
    assert!(matches!(&got[0], Frame::Banner(line) if line.len() == MAX_BANNER));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cutting_matters(bytes in proptest::collection::vec(prop_oneof![
        Just(b'\r'), Just(b'\n'), Just(b':'), Just(b'E'), any::<u8>()], 0..400), cuts in proptest::collection::vec(1_usize..20, 1..30)) {
        let mut stream = GREETING.to_vec();
        stream.extend(&bytes);
        let whole = frames(&[&stream]);
        let mut pieces = Vec::new();
        let (mut rest, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(cuts.next().unwrap().min(&rest.len()).to_owned());
            pieces.push(piece);
            rest = more;
        }
        prop_assert_eq!(frames(&pieces), whole);
    }

    #[test]
    fn what_is_written_is_read(headers in proptest::collection::vec(("[A-Za-z]{1,12}", "[^\r\n\\s]([^\r\n]{0,30}[^\r\n\\s])?"), 1..10)) {
        let text: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let got = frames(&[GREETING, format!("{text}\r\n").as_bytes()]);
        let Frame::Message(message) = &got[1] else { panic!("{got:?}") };
        let read: Vec<(String, String)> = message.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(read, headers);
    }
}
