//! How sure it is who is speaking, and what makes one doubt that an identity is still the person's it once was.
//!
//! A channel asserts (A1), and may know better: the mail server's verdict on SPF, DKIM and DMARC (RFC 7489, RFC 8601), a carrier's
//! attestation of a caller id (STIR/SHAKEN, RFC 8588). A proof in the conversation (A2) is worth as much as it is young.

use throughline_schemas::interaction::{Attestation, Authentication};
use throughline_schemas::{Assurance, Channel, Content, InteractionFact, Timestamp};

/// What is known of the identity that the sender shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderFacts {
    /// The best assurance the identity was ever linked with.
    pub known: Assurance,
    /// When it was last heard of, before this interaction.
    pub last_seen: Option<Timestamp>,
    /// The customer's name, as far as it does not come from the channel alone.
    pub known_name: Option<String>,
    /// The name the channel shows now.
    pub shown_name: Option<String>,
    /// The conversation's proof that this very identity is the speaker's holds.
    pub proven_here: bool,
}

/// How sure the channel, or a proof, makes it that the sender is who the identity says; with the reason if that is not the usual one.
#[must_use]
pub fn assurance(fact: &InteractionFact, sender: &SenderFacts) -> (Assurance, Option<&'static str>) {
    match verdict(fact) {
        Verdict::Failed => (Assurance::Claimed, Some("the channel found that the sender is not who it says")),
        _ if sender.proven_here => (Assurance::Proven, Some("proven in this conversation")),
        // A signature proves the domain; that the address is the person's must have been proven once.
        Verdict::Passed if fact.channel == Channel::Email && sender.known < Assurance::Proven => (Assurance::Asserted, None),
        Verdict::Passed => (Assurance::Proven, Some("authenticated by the channel")),
        Verdict::None => (Assurance::Asserted, None),
    }
}

enum Verdict {
    None,
    Passed,
    Failed,
}

fn verdict(fact: &InteractionFact) -> Verdict {
    match &fact.content {
        Content::Message(message) => match message.authentication {
            Some(Authentication::Passed) => Verdict::Passed,
            Some(Authentication::Failed) => Verdict::Failed,
            None => Verdict::None,
        },
        Content::Call(call) => match call.attestation {
            Some(Attestation::Full) => Verdict::Passed,
            Some(Attestation::Failed) => Verdict::Failed,
            Some(Attestation::Partial | Attestation::Gateway) | None => Verdict::None,
        },
        Content::SelfService(_) | Content::Note { .. } => Verdict::None,
    }
}

/// Why the identity may be another person's by now; none if nothing speaks for that.
#[must_use]
pub fn doubt(channel: Channel, sender: &SenderFacts, now: Timestamp, stale_ms: i64) -> Option<String> {
    let by_number = matches!(channel, Channel::Phone | Channel::Sms);
    if sender.proven_here {
        return None;
    }
    if let Some(seen) = sender.last_seen.filter(|seen| by_number && now.since(*seen) > stale_ms) {
        // Carriers give numbers to others within weeks to months after they were given back.
        return Some(format!("nobody was heard of under this number since {seen}, it may be another person's by now"));
    }
    match (&sender.known_name, &sender.shown_name) {
        (Some(known), Some(shown)) if are_different_people(known, shown) => {
            Some(format!("it shows the name {shown:?}, and not the customer's"))
        }
        _ => None,
    }
}

/// Whether two names can hardly be of one person: both have a given and a family name, and they have nothing in common.
#[must_use]
pub fn are_different_people(one: &str, other: &str) -> bool {
    let (one, other) = (parts(one), parts(other));
    one.len() >= 2 && other.len() >= 2 && !one.iter().any(|part| other.iter().any(|of_other| alike(part, of_other)))
}

/// What carriers write where they know no name.
const NOBODY: [&str; 10] = ["wireless", "caller", "mobile", "cell", "cellular", "unknown", "private", "number", "customer", "name"];

fn parts(name: &str) -> Vec<String> {
    // Carriers shout, and shouted names may be read in two orders; here only their words matter.
    let titled: Vec<String> = name.split_whitespace().map(in_title_case).collect();
    if let (None, None) = crate::profile::split_name(&titled.join(" ")) {
        // What reads like a firm, a place or a number is nobody's name.
        return Vec::new();
    }
    if titled.iter().any(|word| NOBODY.contains(&word.to_lowercase().as_str())) {
        return Vec::new();
    }
    let is_shouted = !name.chars().any(char::is_lowercase);
    if is_shouted && name.split_whitespace().any(|word| word.chars().count() <= 2) {
        // As carriers show where a number is from: LONDON GB, SAN JOSE CA.
        return Vec::new();
    }
    name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}

fn in_title_case(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect()).unwrap_or_default()
}

/// The same word, an initial of it, a short form of it, or within a letter of it.
fn alike(one: &str, other: &str) -> bool {
    let (shorter, longer) = if one.chars().count() <= other.chars().count() { (one, other) } else { (other, one) };
    let same = shorter.chars().zip(longer.chars()).take_while(|(a, b)| a == b).count();
    let whole = shorter.chars().count();
    same == whole || same >= 3 || (whole >= 4 && one_letter_apart(shorter, longer))
}

fn one_letter_apart(shorter: &str, longer: &str) -> bool {
    let (shorter, longer): (Vec<char>, Vec<char>) = (shorter.chars().collect(), longer.chars().collect());
    let front = shorter.iter().zip(&longer).take_while(|(a, b)| a == b).count();
    let back = shorter.iter().rev().zip(longer.iter().rev()).take_while(|(a, b)| a == b).count();
    longer.len() - shorter.len() <= 1 && front + back + 1 >= longer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_only_if_nothing_fits() {
        let table = [
            ("Ada Lovelace", "Bob Miller", true),
            ("Ada Lovelace", "Ada King", false),
            ("Ada Lovelace", "LOVELACE ADA", false),
            ("Ada Lovelace", "A. L.", false),
            ("Ada Lovelace", "Bob Lovelase", false),
            ("Robert Miller", "Rob M", false),
            ("Ada Lovelace", "Bob", false),
            ("Ada Lovelace", "Acme Support", false),
            ("Ada Lovelace", "LONDON GB", false),
            ("Ada Lovelace", "MILLER BOB", true),
            ("Ada Lovelace", "WIRELESS CALLER", false),
            ("Ada Lovelace", "ACME LTD", false),
            ("Ada Lovelace", "", false),
        ];
        for (one, other, wanted) in table {
            assert_eq!(are_different_people(one, other), wanted, "{one} and {other}");
            assert_eq!(are_different_people(other, one), wanted, "{other} and {one}");
        }
    }

    #[test]
    fn a_number_grows_stale_and_a_mail_address_does_not() {
        let at = Timestamp::from_millis;
        let sender = SenderFacts { last_seen: Some(at(0)), ..SenderFacts::default() };
        assert!(doubt(Channel::Phone, &sender, at(11), 10).is_some());
        assert!(doubt(Channel::Sms, &sender, at(11), 10).is_some());
        assert!(doubt(Channel::Phone, &sender, at(10), 10).is_none());
        assert!(doubt(Channel::Email, &sender, at(11), 10).is_none());
        assert!(doubt(Channel::Phone, &SenderFacts { proven_here: true, ..sender }, at(11), 10).is_none());
        let other =
            SenderFacts { known_name: Some("Ada Lovelace".into()), shown_name: Some("Bob Miller".into()), ..SenderFacts::default() };
        assert!(doubt(Channel::Email, &other, at(0), 10).is_some_and(|why| why.contains("Bob Miller")));
    }
}
