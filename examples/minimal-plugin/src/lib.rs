//! A connector for a system that lists its notes about customers as JSON over HTTP.
//!
//! It reads `GET {base_url}/items?after=ID&limit=N`, which answers the items after that id, oldest first, each
//! `{"id", "text", "created_at", "phone"?, "email"?, "name"?}`, and makes an interaction of each.

use serde::{Deserialize, Serialize};
use throughline_plugin_sdk::http::{self, ResponseExt};
use throughline_plugin_sdk::schemas::{
    Channel, Content, Direction, IdentityType, InteractionFact, Participant, ParticipantRole, ThreadEvidence, Timestamp,
};
use throughline_plugin_sdk::{CheckReport, Connector, Error, ErrorClass, Found, Item, ItemKind, Page, Result, Source, Value, json};

/// The one entity, as the manifest names it.
const NOTES: &str = "notes";
/// The most items asked for at once.
const MOST: u32 = 200;

/// The connection's config; the manifest holds its JSON Schema.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    base_url: String,
}

impl Config {
    /// The token itself never comes here: the hub puts it in on the way out.
    fn get(&self, path: &str) -> http::RequestBuilder {
        let url = format!("{}/{path}", self.base_url.trim_end_matches('/'));
        http::get(url).header("Authorization", "Bearer {secret:api_token}").header("Accept", "application/json")
    }
}

/// Where reading goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    after: Option<String>,
}

impl Cursor {
    fn of(value: Option<Value>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::default()) };
        serde_json::from_value(value).map_err(|error| {
            Error::new(ErrorClass::Config, format!("the cursor is not one of this plugin's: {error}")).with_field("cursor")
        })
    }
}

/// An item as the silo lists it. Fields it may grow later are let pass.
#[derive(Debug, Deserialize)]
struct Note {
    id: String,
    text: String,
    created_at: Timestamp,
    phone: Option<String>,
    email: Option<String>,
    name: Option<String>,
}

impl Note {
    fn into_item(self) -> Result<Item> {
        let key = self.id.clone();
        let at_ms = u64::try_from(self.created_at.as_millis()).ok();
        let data = serde_json::to_value(self.into_fact())
            .map_err(|error| Error::new(ErrorClass::Bug, format!("the note {key} cannot be written as JSON: {error}")))?;
        Ok(Item { kind: ItemKind::Interaction, entity: NOTES.to_owned(), key, version: None, at_ms, data })
    }

    fn into_fact(self) -> InteractionFact {
        let identity_type = match (&self.phone, &self.email) {
            (Some(_), _) => Some(IdentityType::Phone),
            (None, Some(_)) => Some(IdentityType::Email),
            (None, None) => None,
        };
        let address = self.phone.or(self.email);
        let customer = Participant { role: ParticipantRole::Customer, identity_type, address, name: self.name, sender: false };
        InteractionFact {
            channel: Channel::Other,
            direction: Direction::Internal,
            endpoint: None,
            conversation_key: None,
            occurred_at: self.created_at,
            ended_at: None,
            participants: vec![customer],
            thread: ThreadEvidence::default(),
            automated: None,
            variables: Default::default(),
            content: Content::Note { text: self.text },
        }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin;

impl Connector for Plugin {
    type Config = Config;

    fn check(config: Config) -> Result<CheckReport> {
        let _: Vec<Note> = config.get("items").query(&[("limit", "1")]).send()?.error_for_status()?.json()?;
        let account = config.base_url;
        Ok(CheckReport { account_id: account.clone(), account_name: account, missing_scopes: vec![], warnings: vec![], entities: vec![] })
    }
}

impl Source for Plugin {
    fn read(config: Config, entity: &str, cursor: Option<Value>, want: u32) -> Result<Page> {
        only_notes(entity)?;
        let cursor = Cursor::of(cursor)?;
        let limit = want.clamp(1, MOST);
        let mut request = config.get("items").query(&[("limit", &limit.to_string())]);
        if let Some(after) = &cursor.after {
            request = request.query(&[("after", after)]);
        }
        let notes: Vec<Note> = request.send()?.error_for_status()?.json()?;
        let last = notes.last().map(|note| note.id.clone());
        // A silo that ignores `after` would send the same page for ever.
        let more = notes.len() >= limit as usize && last != cursor.after;
        let checkpoint = json!(Cursor { after: last.or(cursor.after) });
        let items = notes.into_iter().map(Note::into_item).collect::<Result<_>>()?;
        Ok(Page { items, next: more.then(|| checkpoint.clone()), checkpoint, details: None })
    }

    fn get(config: Config, entity: &str, keys: Vec<String>) -> Result<Vec<Found>> {
        only_notes(entity)?;
        keys.iter().map(|key| get_one(&config, key)).collect()
    }
}

fn get_one(config: &Config, key: &str) -> Result<Found> {
    let response = config.get(&format!("items/{}", http::percent_encode(key))).send()?;
    match response.error_for_status() {
        Ok(response) => Ok(Found::Record(response.json::<Note>()?.into_item()?)),
        Err(error) if error.class == ErrorClass::Gone => Ok(Found::Gone),
        Err(error) => Err(error),
    }
}

fn only_notes(entity: &str) -> Result<()> {
    if entity == NOTES {
        return Ok(());
    }
    Err(Error::new(ErrorClass::Unsupported, format!("there is no entity {entity:?}, only {NOTES:?}")))
}

throughline_plugin_sdk::export!(Plugin, manifest = "manifest.json", interfaces = [source]);

#[cfg(test)]
mod tests;
