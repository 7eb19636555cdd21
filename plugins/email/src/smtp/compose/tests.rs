use mail_parser::{Message, MessageParser};
use proptest::prelude::*;

use super::*;
use crate::config::tests::config;

const NOW: i64 = 1_795_251_600_000;

fn message() -> OutboundMessage {
    OutboundMessage {
        to: vec!["ada@b.test".into()],
        to_name: None,
        from: None,
        from_name: None,
        subject: None,
        text: "Hello".into(),
        message_id: None,
        in_reply_to: None,
        references: vec![],
        token: None,
        conversation_key: None,
        automatic: false,
        sent_at: None,
    }
}

fn composed(message: &OutboundMessage) -> Composed {
    compose(&config(), message, "key-1", Timestamp::from_millis(NOW)).unwrap()
}

fn parsed(composed: &Composed) -> Message<'_> {
    MessageParser::default().parse(&composed.raw).unwrap()
}

#[test]
fn a_mail_that_says_when_it_was_handed_in_is_the_same_at_every_attempt() {
    let message = OutboundMessage { sent_at: Some(Timestamp::from_millis(NOW - 60_000)), ..message() };
    let at = |now| compose(&config(), &message, "key-1", Timestamp::from_millis(now)).unwrap().raw;
    assert_eq!(at(NOW), at(NOW + 3_600_000));
}

/// The mail must be what a mail server takes: CR only before LF, LF only after CR, no line over 998 bytes, header in ASCII.
fn assert_well_formed(raw: &[u8]) {
    let text = String::from_utf8_lossy(raw);
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "bare LF in {text:?}");
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "bare CR in {text:?}");
    assert!(text.lines().all(|line| line.len() <= 998), "a line is too long");
    let header = text.split("\r\n\r\n").next().unwrap();
    assert!(header.is_ascii(), "{header}");
}

#[test]
fn a_full_reply() {
    let composed = composed(&OutboundMessage {
        subject: Some("Re: Größe der Bestellung – ünïcode, and quite a long subject that must be folded somewhere 😀".into()),
        from_name: Some("Jürgen \"Shop\"".into()),
        text: "Grüße\n.\nEnde".into(),
        message_id: Some("out-1@mail.test".into()),
        in_reply_to: Some("<in-2@b.test>".into()),
        references: vec!["in-1@b.test".into()],
        token: Some("abc234".into()),
        automatic: true,
        ..message()
    });
    assert_well_formed(&composed.raw);
    let mail = parsed(&composed);
    assert_eq!(mail.subject().unwrap(), "Re: Größe der Bestellung – ünïcode, and quite a long subject that must be folded somewhere 😀");
    assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("Jürgen \"Shop\""));
    assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("Agent@mail.test"));
    assert_eq!(mail.reply_to().unwrap().first().unwrap().address(), Some("Agent+tl.abc234@mail.test"));
    assert_eq!(mail.message_id(), Some("out-1@mail.test"));
    assert_eq!(mail.in_reply_to().as_text(), Some("in-2@b.test"));
    let references: Vec<_> = mail.references().as_text_list().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(references, ["in-1@b.test", "in-2@b.test"]);
    assert_eq!(mail.header("Auto-Submitted").unwrap().as_text(), Some("auto-replied"));
    assert_eq!(mail.date().unwrap().to_timestamp() * 1000, NOW);
    assert_eq!(mail.body_text(0).unwrap().trim_end().replace("\r\n", "\n"), "Grüße\n.\nEnde");
}

#[test]
fn a_message_from_a_person_is_not_stamped_automatic() {
    let composed = composed(&message());
    assert_well_formed(&composed.raw);
    assert!(parsed(&composed).header("Auto-Submitted").is_none());
    assert!(parsed(&composed).reply_to().is_none());
}

#[test]
fn a_retry_carries_the_same_id_and_another_message_another() {
    let first = composed(&message());
    let again = compose(&config(), &message(), "key-1", Timestamp::from_millis(NOW + 60_000)).unwrap();
    let other = compose(&config(), &message(), "key-2", Timestamp::from_millis(NOW)).unwrap();
    assert_eq!(first.message_id, again.message_id);
    assert_ne!(first.message_id, other.message_id);
    assert!(first.message_id.starts_with("tl.") && first.message_id.ends_with("@mail.test"), "{}", first.message_id);
}

#[test]
fn what_would_smuggle_in_a_header_is_refused() {
    let evil = "x\r\nBcc: victim@b.test";
    type Spoil = fn(&mut OutboundMessage, String);
    let cases: [(&str, Spoil); 8] = [
        ("/to", |m, evil| m.to = vec![evil]),
        ("/from", |m, evil| m.from = Some(evil)),
        ("/from_name", |m, evil| m.from_name = Some(evil)),
        ("/subject", |m, evil| m.subject = Some(evil)),
        ("/message_id", |m, evil| m.message_id = Some(evil)),
        ("/in_reply_to", |m, evil| m.in_reply_to = Some(evil)),
        ("/references", |m, evil| m.references = vec![evil]),
        ("/token", |m, evil| m.token = Some(evil)),
    ];
    for (field, spoil) in cases {
        for evil in [evil.to_owned(), format!("a@b.test{evil}"), "a\nb@c.test".to_owned(), "a@b.test\0".to_owned()] {
            let mut message = message();
            spoil(&mut message, evil.clone());
            let error = compose(&config(), &message, "key", Timestamp::from_millis(NOW)).unwrap_err();
            assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some(field)), "{evil:?}");
        }
    }
}

#[test]
fn other_messages_that_cannot_be_sent() {
    type Spoil = fn(&mut OutboundMessage);
    let cases: [(&str, Spoil); 4] = [
        ("/to", |m| m.to.clear()),
        ("/to", |m| m.to = vec!["a@b.test".into(); 101]),
        ("/from", |m| m.from = Some("ceo@elsewhere.test".into())),
        ("/subject", |m| m.subject = Some("x".repeat(1001))),
    ];
    for (field, spoil) in cases {
        let mut message = message();
        spoil(&mut message);
        let error = compose(&config(), &message, "key", Timestamp::from_millis(NOW)).unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some(field)));
    }
}

#[test]
fn a_colleagues_address_may_send() {
    let composed = composed(&OutboundMessage { from: Some("boss@shop.test".into()), token: Some("t".into()), ..message() });
    assert_eq!(composed.from, "boss@shop.test");
    assert_eq!(parsed(&composed).reply_to().unwrap().first().unwrap().address(), Some("boss+tl.t@shop.test"));
}

proptest! {
    #[test]
    fn any_text_and_subject_make_a_well_formed_mail_that_says_the_same(text in "(\\PC|\n|\r\n){0,300}", subject in "\\PC{1,120}") {
        let composed = composed(&OutboundMessage { text: text.clone(), subject: Some(subject.clone()), ..message() });
        assert_well_formed(&composed.raw);
        let mail = parsed(&composed);
        let said = mail.body_text(0).unwrap_or_default().replace("\r\n", "\n");
        let meant = text.replace("\r\n", "\n");
        prop_assert_eq!(said.trim_end(), meant.trim_end());
    }
}

#[test]
fn the_first_recipient_is_addressed_by_name_and_no_name_smuggles_anything_in() {
    let to = vec!["ada@b.test".to_owned(), "bob@b.test".to_owned()];
    let table = [
        ("Ada Lovelace", Some("Ada Lovelace")),
        ("Ada \"The Countess\" Lovelace, \\o/", Some("Ada \"The Countess\" Lovelace, \\o/")),
        ("Zoë Ångström 😀", Some("Zoë Ångström 😀")),
        ("Ada\r\nBcc: eve@evil.test", Some("Ada Bcc: eve@evil.test")),
        ("Ada\u{0}\u{7f}", Some("Ada")),
        (" \r\n ", None),
    ];
    for (name, wanted) in table {
        let composed = composed(&OutboundMessage { to: to.clone(), to_name: Some(name.into()), ..message() });
        assert_well_formed(&composed.raw);
        let mail = parsed(&composed);
        let shown: Vec<_> = mail.to().unwrap().iter().map(|address| (address.name(), address.address())).collect();
        assert_eq!(shown, [(wanted, Some("ada@b.test")), (None, Some("bob@b.test"))], "{name:?}");
        assert!(mail.header("Bcc").is_none(), "{name:?}");
        assert_eq!(composed.to, to);
    }
    let long = composed(&OutboundMessage { to_name: Some("ä".repeat(5000)), ..message() });
    assert_well_formed(&long.raw);
}
