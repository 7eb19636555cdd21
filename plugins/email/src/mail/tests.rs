use std::collections::BTreeMap;

use proptest::prelude::*;
use throughline_plugin_sdk::schemas::{Participant, ParticipantRole};

use super::*;
use crate::config::tests::config;

/// 2026-11-21T09:00:05Z, five seconds after the fixtures' Date.
const RECEIVED_MS: i64 = 1_795_251_605_000;

#[derive(Default)]
struct Kept(BTreeMap<String, (String, Option<String>, Vec<u8>)>);

impl Files for Kept {
    fn keep(&mut self, media_type: &str, name: Option<&str>, data: &[u8]) -> Result<String> {
        let reference = format!("file-{}", self.0.len() + 1);
        self.0.insert(reference.clone(), (media_type.to_owned(), name.map(str::to_owned), data.to_vec()));
        Ok(reference)
    }
}

fn mapped(raw: &[u8]) -> (Mapped, Kept) {
    let own = config().own();
    let mut kept = Kept::default();
    let arrival = Arrival { own: &own, received_at: Timestamp::from_millis(RECEIVED_MS) };
    (map(raw, arrival, &mut kept).unwrap(), kept)
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Everything worth knowing of a mail, in a few lines.
fn summary(raw: &[u8]) -> String {
    let (mapped, kept) = mapped(raw);
    let fact = &mapped.fact;
    let message = content(fact);
    let mut lines = vec![
        format!("{:?} {} {}", fact.direction, fact.occurred_at, fact.automated.as_deref().unwrap_or("by a person")),
        format!("subject {}", message.subject.as_deref().unwrap_or("-")),
        format!("text {:?}", message.text),
    ];
    lines.extend(fact.participants.iter().map(person));
    let thread = &fact.thread;
    lines.push(format!(
        "thread {} {:?} {:?} {:?}",
        thread.message_id.as_deref().unwrap_or("-"),
        thread.in_reply_to,
        thread.references,
        thread.tokens
    ));
    lines.extend(message.html_reference.iter().map(|reference| format!("html {:?}", String::from_utf8_lossy(&kept.0[reference].2).trim())));
    for file in &message.attachments {
        assert_eq!(kept.0[&file.reference].2.len() as u64, file.size);
        lines.push(format!("file {} {} {}", file.name.as_deref().unwrap_or("-"), file.media_type, file.size));
    }
    lines.join("\n")
}

fn content(fact: &InteractionFact) -> &MessageFacts {
    let Content::Message(message) = &fact.content else { panic!("no message") };
    message
}

fn person(person: &Participant) -> String {
    let role = match person.role {
        ParticipantRole::Customer => "customer",
        ParticipantRole::Agent => "agent",
        _ => "third party",
    };
    let mark = if person.sender { " (sender)" } else { "" };
    format!("{role} {} {:?}{mark}", person.address.as_deref().unwrap_or("-"), person.name.as_deref().unwrap_or(""))
}

fn check(name: &str, expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(summary(&fixture(name)), expected.join("\n"), "{name}");
}

#[test]
fn character_sets() {
    for (name, subject, text) in [
        ("charset-latin1-qp", "Größe – 42711", "Schöne Grüße\nweichbruch"),
        ("charset-windows1252-8bit", "Where is my order?", "€ 10 – “ok”"),
        ("charset-iso2022jp", "注文について", "注文はどこですか"),
        ("charset-gb18030-base64", "订单", "我的订单在哪里?"),
        ("charset-koi8r", "Заказ", "Где мой заказ?"),
        ("charset-unknown", "Where is my order?", "Grüße trotzdem"),
    ] {
        let (mapped, _) = mapped(&fixture(name));
        let message = content(&mapped.fact);
        assert_eq!((message.subject.as_deref(), message.text.as_str()), (Some(subject), text), "{name}");
    }
    let (mapped, _) = mapped(&fixture("charset-latin1-qp"));
    assert_eq!(mapped.fact.participants[0].name.as_deref(), Some("Jürgen Müller"));
}

#[test]
fn a_plain_mail() {
    check(
        "plain",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Where is my order?
        text "Hello, order 4711?\n\nAda"
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread m1@other.test [] [] []"#,
    );
}

#[test]
fn html_alone_and_as_an_alternative() {
    check(
        "html-only",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Where is my order?
        text "Hello there & grüße\none\ntwo"
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread m1@other.test [] [] []
        html "<html><head><title>t</title><style>p{color:red}</style><script>alert('x')</script></head><body><p>Hello <b>there</b> &amp; gr&uuml;&szlig;e</p><ul><li>one</li><li>two</li></ul></body></html>""#,
    );
    check(
        "alternative",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Where is my order?
        text "The plain text."
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread m1@other.test [] [] []
        html "<p>The <i>HTML</i> text.</p>""#,
    );
}

#[test]
fn nested_parts_and_files() {
    check(
        "nested",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Where is my order?
        text "See the picture."
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread m1@other.test [] [] []
        html "<p>See the picture. <img src=\"cid:pic@x\"></p>"
        file pic.png image/png 12
        file Rechnung für März.pdf application/pdf 12
        file passwd text/plain 4
        file message.eml message/rfc822 94"#,
    );
}

#[test]
fn broken_mails() {
    check(
        "broken-unterminated",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Where is my order?
        text "It just"
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread m1@other.test [] [] []
        file x.pdf application/pdf 11"#,
    );
    check(
        "broken-headers",
        r#"Inbound 2026-11-21T09:00:05.000Z by a person
        subject =?utf-8?B?broken
        text "Text �� after it all"
        customer ada@other.test "Ada" (sender)
        thread - [] [] []"#,
    );
}

#[test]
fn machines_that_write() {
    check(
        "out-of-office",
        r#"Inbound 2026-11-21T09:00:00.000Z auto-submitted
        subject Automatic reply: Your order
        text "I am away until Monday."
        customer ada@other.test "Ada Lovelace" (sender)
        agent agent@mail.test ""
        thread ooo@other.test ["out-1@mail.test"] ["p@other.test", "out-1@mail.test"] []"#,
    );
    check(
        "dsn",
        r#"Inbound 2026-11-21T09:00:00.000Z delivery-status
        subject Mail delivery failed
        text "Your message could not be delivered."
        customer mailer-daemon@other.test "Mail Delivery System" (sender)
        agent agent@mail.test ""
        thread dsn@other.test ["out-1@mail.test"] [] []
        file - message/delivery-status 106
        file - text/rfc822-headers 54"#,
    );
    check(
        "list",
        r#"Inbound 2026-11-21T09:00:00.000Z precedence
        subject [news] October
        text "News."
        customer news@other.test "News" (sender)
        agent agent@mail.test ""
        thread n1@other.test [] [] []"#,
    );
}

#[test]
fn who_took_part() {
    check(
        "plus-address",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Re: Order
        text "Reply."
        customer ada@other.test "" (sender)
        agent agent+tl.abc234@mail.test "Support"
        third party other+tl.notours@mail.test ""
        third party bob@third.test "Bob"
        agent boss@shop.test ""
        third party someone.else@third.test ""
        thread p1@other.test [] [] ["abc234", "fromdelivery", "frompostfix"]"#,
    );
    check(
        "own-outbound",
        r#"Outbound 2026-11-21T09:00:00.000Z own-endpoint
        subject Your order
        text "It is on its way."
        agent agent@mail.test "Shop" (sender)
        customer ada@other.test "Ada"
        third party bob@third.test "Bob"
        thread out-1@mail.test [] [] []"#,
    );
    check(
        "colleague",
        r#"Internal 2026-11-21T09:00:00.000Z by a person
        subject Please look
        text "Internal."
        agent boss@shop.test "" (sender)
        agent agent@mail.test ""
        thread c1@shop.test [] [] []"#,
    );
    check(
        "group-and-odd-addresses",
        r#"Inbound 2026-11-21T09:00:00.000Z by a person
        subject Groups
        text "Hello"
        customer ada@other.test "Lovelace, Ada" (sender)
        agent agent@mail.test ""
        third party bob@third.test "Bob (the builder)"
        third party joerg@third.test "Jörg"
        thread g1@other.test [] [] []"#,
    );
}

#[test]
fn a_clock_that_is_wrong_is_not_believed() {
    assert_eq!(mapped(&fixture("wrong-clock")).0.fact.occurred_at.as_millis(), RECEIVED_MS);
    assert_eq!(mapped(&fixture("plain")).0.fact.occurred_at.as_millis(), RECEIVED_MS - 5_000);
}

#[test]
fn quoted_text_stays_in() {
    assert!(content(&mapped(&fixture("quoted-reply")).0.fact).text.contains("> Shall we send it again?"));
}

#[test]
fn long_text_is_kept_whole_beside_its_beginning() {
    let (mapped, kept) = mapped(&fixture("long-text"));
    let message = content(&mapped.fact);
    let (media_type, _, whole) = &kept.0[message.text_reference.as_ref().unwrap()];
    let whole = String::from_utf8(whole.clone()).unwrap();
    assert_eq!((media_type.as_str(), whole.lines().count()), ("text/plain; charset=utf-8", 200));
    assert_eq!(message.text.chars().count(), 2_000);
    assert!(whole.starts_with(&message.text));
}

#[test]
fn what_servers_add_on_the_way_does_not_change_the_key_and_what_a_sender_writes_does() {
    let raw = fixture("plain");
    let key = mapped(&raw).0.key;
    assert!(key.starts_with("m1@other.test#"), "{key}");
    let redelivered = [b"Received: from a by b; now\r\nX-Spam: no\r\n".as_slice(), &raw].concat();
    assert_eq!(mapped(&redelivered).0.key, key);
    let text = String::from_utf8(raw).unwrap();
    for (from, to) in
        [("4711", "4712"), ("ada@other.test>\r\nTo", "eve@other.test>\r\nTo"), ("Where is", "Where was"), ("10:00:00", "10:00:01")]
    {
        assert!(text.contains(from), "{from}");
        assert_ne!(mapped(text.replacen(from, to, 1).as_bytes()).0.key, key, "{to}");
    }
}

#[test]
fn mails_without_an_id_have_keys_too() {
    let raw = fixture("no-message-id");
    let key = mapped(&raw).0.key;
    assert!(key.starts_with('#') && key.len() == 65, "{key}");
    assert_eq!(mapped(&raw).0.key, key);
    let undated = |received_ms| {
        let own = config().own();
        let arrival = Arrival { own: &own, received_at: Timestamp::from_millis(received_ms) };
        map(b"From: a@b.test\r\n\r\nHello\r\n", arrival, &mut Kept::default()).unwrap().key
    };
    assert_ne!(undated(RECEIVED_MS), undated(RECEIVED_MS + 60_000), "hello today is not hello tomorrow");
}

#[test]
fn a_huge_header_is_read() {
    let references: String = (0..5_000).map(|number| format!(" <{number}@other.test>\r\n")).collect();
    let raw = format!("From: a@b.test\r\nReferences:{references}Subject: {}\r\n\r\nHello\r\n", "long ".repeat(50_000));
    let (mapped, _) = mapped(raw.as_bytes());
    assert_eq!(mapped.fact.thread.references.len(), MAX_REFERENCES);
    assert_eq!(mapped.fact.thread.references.last().map(String::as_str), Some("4999@other.test"));
    assert!(content(&mapped.fact).subject.as_ref().unwrap().chars().count() <= MAX_SUBJECT);
}

#[test]
fn a_thousand_files_are_not_all_kept() {
    let parts = "--b\r\nContent-Type: application/pdf\r\n\r\nx\r\n".repeat(1_000);
    let raw = format!("From: a@b.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n");
    assert_eq!(content(&mapped(raw.as_bytes()).0.fact).attachments.len(), 500);
}

#[test]
fn of_a_mail_too_large_the_header_says_the_same() {
    let raw = fixture("out-of-office");
    let header = &raw[..raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4];
    let own = config().own();
    let large = map_header(header, 52 * 1024 * 1024, Arrival { own: &own, received_at: Timestamp::from_millis(RECEIVED_MS) });
    let whole = mapped(&raw).0;
    let told = |fact: &InteractionFact| (fact.thread.clone(), fact.participants.clone(), fact.automated.clone());
    assert_eq!(told(&large.fact), told(&whole.fact));
    assert!(content(&large.fact).text.contains("52 MiB"));
    assert_ne!(large.key, whole.key);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        mapped(&bytes);
        let own = config().own();
        map_header(&bytes, u32::MAX, Arrival { own: &own, received_at: Timestamp::from_millis(RECEIVED_MS) });
        weight::fits(&bytes);
    }

    #[test]
    fn no_damage_to_a_real_mail_makes_it_panic(which in 0usize..4, cut in 0usize..2000, damage in prop::collection::vec((0usize..2000, any::<u8>()), 0..20)) {
        let mut raw = fixture(["nested", "dsn", "charset-iso2022jp", "group-and-odd-addresses"][which]);
        let length = raw.len();
        for (position, byte) in damage {
            raw[position % length] = byte;
        }
        raw.truncate(cut.max(1));
        mapped(&raw);
    }
}
