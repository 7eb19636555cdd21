//! Is a message the work of a machine? Then it opens nothing, re-opens nothing and is never answered by a machine.
//!
//! Connectors say so where they know; the hub looks for itself, because not every silo tells and some of the signs (our own mail that
//! came back, the same text again) only the hub can see. RFC 3834 names the header fields and forbids answering what has them; the
//! vendors' own fields and the words of vacation notices are what mail programs in use really send.

use std::collections::BTreeMap;

/// What is known of a message that came in.
#[derive(Debug, Clone, Copy)]
pub struct Signs<'a> {
    /// What the connector says.
    pub reported: Option<&'a str>,
    /// Header fields by lower-case name, where the connector hands them over.
    pub headers: &'a BTreeMap<String, String>,
    /// The subject.
    pub subject: Option<&'a str>,
    /// Its sender is an address of ours.
    pub from_own_endpoint: bool,
    /// Its id is one that we gave, or of our domain while the sender is not.
    pub own_message_id: bool,
    /// The same sender sent the same text within the last [`REPEATED_WITHIN_MS`].
    pub repeated: bool,
}

/// Within this time the same text from the same sender is a machine's, in milliseconds.
pub const REPEATED_WITHIN_MS: i64 = 60 * 60 * 1000;
/// A shorter text may well be said twice, in characters.
pub const SHORTEST_REPEATED: usize = 24;

/// How the subjects of vacation notices begin, in the languages that mail programs have.
const NOTICES: [&str; 30] = [
    "automatic reply",
    "auto reply",
    "autoreply",
    "auto-reply",
    "auto:",
    "out of office",
    "out-of-office",
    "away from",
    "vacation",
    "automatische antwort",
    "abwesenheit",
    "abwesend",
    "réponse automatique",
    "absence du bureau",
    "respuesta automática",
    "fuera de la oficina",
    "risposta automatica",
    "fuori sede",
    "resposta automática",
    "automatisch antwoord",
    "automatisk svar",
    "autosvar",
    "frånvaro",
    "fravær",
    "automaattinen vastaus",
    "odpowiedź automatyczna",
    "automatická odpověď",
    "otomatik yanıt",
    "автоматический ответ",
    "自動返信",
];
/// How the subjects of delivery reports begin.
const REPORTS: [&str; 8] = [
    "undelivered mail returned to sender",
    "undeliverable",
    "unzustellbar",
    "delivery status notification",
    "mail delivery failed",
    "returned mail",
    "mail delivery system",
    "failure notice",
];

/// Why a message is taken for a machine's; none when a person seems to have written it.
#[must_use]
pub fn classify(signs: &Signs<'_>) -> Option<String> {
    if let Some(reported) = signs.reported {
        return Some(reported.to_owned());
    }
    let rules: [(&str, bool); 9] = [
        ("own-endpoint", signs.from_own_endpoint),
        ("own-message-id", signs.own_message_id),
        ("auto-submitted", says(signs, "auto-submitted", |word| !matches!(word, "no" | ""))),
        ("auto-response-suppress", says(signs, "x-auto-response-suppress", |word| !matches!(word, "none" | ""))),
        ("precedence", says(signs, "precedence", |word| matches!(word, "bulk" | "list" | "junk" | "auto_reply"))),
        ("list", signs.headers.keys().any(|name| name.starts_with("list-"))),
        ("null-return-path", signs.headers.get("return-path").is_some_and(|path| path.replace([' ', '\t'], "") == "<>")),
        ("delivery-status", is_report(signs)),
        ("vacation-notice", begins(signs.subject, &NOTICES)),
    ];
    let found = rules.into_iter().find(|(_, holds)| *holds).map(|(reason, _)| reason);
    found.or_else(|| signs.repeated.then_some("repeated")).map(str::to_owned)
}

fn says(signs: &Signs<'_>, field: &str, machine: impl Fn(&str) -> bool) -> bool {
    let word = |value: &String| value.trim_start().split([';', ' ', '\t', '(', ',', '\r', '\n']).next().unwrap_or("").to_ascii_lowercase();
    signs.headers.get(field).map(word).is_some_and(|word| machine(&word))
}

fn is_report(signs: &Signs<'_>) -> bool {
    let kind = signs.headers.get("content-type").map(|kind| kind.to_ascii_lowercase()).unwrap_or_default();
    kind.contains("multipart/report") || kind.contains("message/delivery-status") || begins(signs.subject, &REPORTS)
}

fn begins(subject: Option<&str>, with: &[&str]) -> bool {
    let subject = subject.map(|subject| subject.trim().to_lowercase()).unwrap_or_default();
    with.iter().any(|start| subject.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], subject: &str, wanted: Option<&str>) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let signs = Signs {
            reported: None,
            headers: &headers,
            subject: Some(subject),
            from_own_endpoint: false,
            own_message_id: false,
            repeated: false,
        };
        assert_eq!(classify(&signs).as_deref(), wanted, "{headers:?} {subject}");
    }

    #[test]
    fn machines_and_people_are_told_apart() {
        check(&[], "Where is my order?", None);
        check(&[("auto-submitted", "no"), ("precedence", "first-class"), ("x-auto-response-suppress", "None")], "Hi", None);
        check(&[("return-path", "<ada@example.com>"), ("content-type", "multipart/mixed")], "Hi", None);
        check(&[("auto-submitted", "auto-replied (vacation)")], "Hi", Some("auto-submitted"));
        check(&[("auto-submitted", "Auto-Generated; x=y")], "Hi", Some("auto-submitted"));
        check(&[("x-auto-response-suppress", "OOF, AutoReply")], "Hi", Some("auto-response-suppress"));
        check(&[("precedence", "bulk")], "Hi", Some("precedence"));
        check(&[("list-unsubscribe", "<https://x.test>")], "Hi", Some("list"));
        check(&[("return-path", "<>")], "Hi", Some("null-return-path"));
        check(&[("content-type", "multipart/report; report-type=delivery-status")], "Hi", Some("delivery-status"));
        check(&[], "Undeliverable: Hi", Some("delivery-status"));
        for notice in ["Automatic reply: Hi", "Out of Office Re: Hi", "Abwesenheitsnotiz: Hi", "Réponse automatique : Hi", "自動返信: Hi"]
        {
            check(&[], notice, Some("vacation-notice"));
        }
        check(&[], "Re: Automatic reply rules do not work", None);
    }

    #[test]
    fn what_only_the_hub_can_see() {
        let headers = BTreeMap::new();
        let bare =
            Signs { reported: None, headers: &headers, subject: None, from_own_endpoint: false, own_message_id: false, repeated: false };
        assert_eq!(classify(&bare), None);
        let table = [
            (Signs { reported: Some("list"), repeated: true, ..bare }, "list"),
            (Signs { from_own_endpoint: true, ..bare }, "own-endpoint"),
            (Signs { own_message_id: true, ..bare }, "own-message-id"),
            (Signs { repeated: true, ..bare }, "repeated"),
        ];
        for (signs, wanted) in table {
            assert_eq!(classify(&signs).as_deref(), Some(wanted));
        }
    }
}
