//! Is this mail the work of a machine? Such mail is kept, but it re-opens nothing and is never answered automatically.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::headers::{Headers, word};
use crate::config::{Own, split_address};

/// Why a mail is taken for an automatic one; none when a person seems to have written it.
pub(super) fn reason(message: &Message<'_>, headers: &Headers<'_>, sender: Option<&str>, own: &Own) -> Option<&'static str> {
    let id_domain = message.message_id().and_then(split_address).map(|(_, domain)| domain);
    let rules: [(&'static str, bool); 8] = [
        ("delivery-status", is_report(message)),
        ("own-endpoint", sender.is_some_and(|sender| own.is_endpoint(sender))),
        // Colleagues' ids rightly end in our domain; from anybody else it is a mail of ours that came back.
        ("own-message-id", id_domain.is_some_and(|domain| own.is_own_domain(domain)) && !sender.is_some_and(|sender| own.is_ours(sender))),
        ("auto-submitted", headers.all("Auto-Submitted").any(|value| !matches!(word(value).as_str(), "no" | ""))),
        ("auto-response-suppress", headers.all("X-Auto-Response-Suppress").any(|value| !matches!(word(value).as_str(), "none" | ""))),
        ("precedence", headers.all("Precedence").any(|value| matches!(word(value).as_str(), "bulk" | "list" | "junk" | "auto_reply"))),
        ("list", headers.any_name_starts_with("List-")),
        ("null-return-path", headers.all("Return-Path").any(|value| value.replace([' ', '\t'], "") == "<>")),
    ];
    rules.into_iter().find(|(_, holds)| *holds).map(|(reason, _)| reason)
}

/// A report about another mail (RFC 3462): not delivered, read, …
fn is_report(message: &Message<'_>) -> bool {
    message.content_type().is_some_and(|kind| {
        let report = kind.ctype().eq_ignore_ascii_case("multipart") && kind.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case("report"));
        report || kind.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case("delivery-status"))
    })
}

/// The Message-ID of the mail that a report is about: most reports bring its header along.
pub(super) fn reported_id(message: &Message<'_>) -> Option<String> {
    if !is_report(message) {
        return None;
    }
    message.parts.iter().skip(1).find_map(|part| match &part.body {
        PartType::Message(reported) => reported.message_id().map(str::to_owned),
        _ if part.content_type().is_some_and(|kind| kind.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case("rfc822-headers"))) => {
            MessageParser::default().parse_headers(part.contents())?.message_id().map(str::to_owned)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn check(header: &str, expected: Option<&str>) {
        let raw = format!("{header}\r\n\r\nHello\r\n");
        let message = MessageParser::default().parse(raw.as_bytes()).unwrap();
        let sender = message.from().and_then(|from| from.first()).and_then(|address| address.address());
        assert_eq!(reason(&message, &Headers::of(&message), sender, &config().own()), expected, "{header}");
    }

    #[test]
    fn people() {
        check("From: a@b.test", None);
        check("From: a@b.test\r\nAuto-Submitted: no", None);
        check("From: a@b.test\r\nAuto-Submitted: No (a person)", None);
        check("From: a@b.test\r\nX-Auto-Response-Suppress: None", None);
        check("From: a@b.test\r\nPrecedence: first-class", None);
        check("From: a@b.test\r\nReturn-Path: <a@b.test>", None);
        check("From: boss@shop.test\r\nMessage-ID: <1@shop.test>", None);
        check("From: a@mail.test\r\nMessage-ID: <1@mail.test>", None);
        check("From: a@b.test\r\nContent-Type: multipart/mixed; boundary=x", None);
        check("From: a@b.test\r\nListen: well", None);
    }

    #[test]
    fn machines() {
        check("From: a@b.test\r\nAuto-Submitted: auto-replied", Some("auto-submitted"));
        check("From: a@b.test\r\nauto-submitted:\r\n auto-generated; owner-email=x", Some("auto-submitted"));
        check("From: a@b.test\r\nX-Auto-Response-Suppress: OOF, AutoReply", Some("auto-response-suppress"));
        check("From: a@b.test\r\nPrecedence: BULK", Some("precedence"));
        check("From: a@b.test\r\nList-Id: <news.b.test>", Some("list"));
        check("From: a@b.test\r\nList-Unsubscribe: <https://b.test>", Some("list"));
        check("From: mailer-daemon@b.test\r\nReturn-Path: <>", Some("null-return-path"));
        check("From: a@b.test\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x", Some("delivery-status"));
        check("From: agent@mail.test", Some("own-endpoint"));
        check("From: Agent+tl.x@MAIL.test", Some("own-endpoint"));
        check("From: a@b.test\r\nMessage-ID: <1@shop.test>", Some("own-message-id"));
    }
}
