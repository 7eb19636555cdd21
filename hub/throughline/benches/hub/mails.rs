//! Made-up mails of customers, about 2.3 KB each as a connector hands them over.

use serde_json::{Value, json};
use throughline_schemas::connector::{Item, ItemKind};
use throughline_schemas::{Timestamp, connector};

/// The entity that mails are of.
pub(crate) const MESSAGES: &str = "messages";

const WORDS: [&str; 24] = [
    "order", "parcel", "invoice", "still", "waiting", "since", "Tuesday", "the", "driver", "said", "nobody", "was", "at", "home", "please",
    "let", "me", "know", "when", "it", "will", "arrive", "thank", "you",
];
/// Makes an item weigh about 2.3 KB.
const WORDS_IN_A_MAIL: usize = 310;
/// Every so many mails of a person one answers the one before.
const REPLIES: u64 = 4;

/// A person's address.
pub(crate) fn address(person: u64) -> String {
    format!("person{person}@customers.example")
}

/// A person's telephone number.
pub(crate) fn phone(person: u64) -> String {
    format!("+4479{person:08}")
}

/// The `number`th mail, of this person; it names the order of the same number.
pub(crate) fn mail(number: u64, person: u64, at: Timestamp) -> Item {
    let mut data = json!({
        "channel": "email",
        "direction": "inbound",
        "endpoint": "help@shop.example",
        "occurred_at": at,
        "participants": [
            {"role": "customer", "type": "email", "address": address(person), "name": format!("Person {person}"), "sender": true},
        ],
        "thread": {"message_id": message_id(number)},
        "content": {"kind": "message", "subject": format!("Where is order {}?", order(number)), "text": text(number)},
    });
    if number.is_multiple_of(REPLIES) && number > 0 {
        data["thread"]["in_reply_to"] = json!([message_id(number - 1)]);
    }
    item(ItemKind::Interaction, MESSAGES, format!("{}:{number}", message_id(number)), data)
}

/// What a CRM says of a person.
pub(crate) fn contact(person: u64) -> Item {
    let data = json!({
        "display_name": format!("Person {person}"), "given_name": "Person", "family_name": person.to_string(),
        "email": address(person), "phone": phone(person), "company": "Customers Limited",
    });
    item(ItemKind::Record, "contacts", person.to_string(), data)
}

/// The order a mail is about.
pub(crate) fn order(number: u64) -> String {
    format!("{}", 10_000_000 + number)
}

fn item(kind: ItemKind, entity: &str, key: String, data: Value) -> Item {
    connector::Item { kind, entity: entity.to_owned(), key, version: None, at_ms: None, data }
}

fn message_id(number: u64) -> String {
    format!("CAF{number:012}.bench@mail.customers.example")
}

fn text(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("Hello,\n\norder {} has not come.", order(number));
    for _ in 0..WORDS_IN_A_MAIL {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(' ');
        text.push_str(WORDS[(state >> 33) as usize % WORDS.len()]);
    }
    text
}
