//! Telling the system where to post: by the requests that the config gives for it.
//!
//! What is ours among the registrations is known by the last parts of the address (`/hooks/{connection}`), which no other connection
//! has, so that a hub that moved to another address replaces its old registration. Without a `list`, what we registered is remembered
//! in the connection's state; then a lost answer, or somebody who tidies up in the system, is not noticed.

use serde_json::Value;
use throughline_plugin_sdk::{Error, ErrorClass, Result, json, log, state};

use crate::classify::Purpose;
use crate::client::{Answer, Call, Client};
use crate::config::{Config, RecordCall, Registration};
use crate::pointer;
use crate::template::{self, Variables};

/// Where our registration is remembered.
const KEPT: &str = "webhook_registration";

/// A registration at the system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Registered {
    id: String,
    url: String,
}

impl Registered {
    fn shown(&self) -> Value {
        json!({ "id": self.id, "url": self.url })
    }
}

/// Sees to it that exactly one registration of ours is there, with this address.
pub(crate) fn ensure(config: &Config, url: &str) -> Result<Value> {
    let desk = Desk::new(config)?;
    let kept = kept()?;
    let ours = match desk.listed()? {
        Some(listed) => listed.into_iter().filter(|known| same_hook(&known.url, url)).collect(),
        None => kept.clone().into_iter().collect::<Vec<_>>(),
    };
    let fits = ours.iter().find(|known| known.url == url).cloned();
    for surplus in ours.iter().filter(|known| Some(*known) != fits.as_ref()) {
        desk.delete(surplus)?;
    }
    let registered = match fits {
        Some(registered) => registered,
        None => desk.create(url)?,
    };
    if kept.as_ref() != Some(&registered) {
        state::set(KEPT, &registered.shown())?;
    }
    Ok(registered.shown())
}

/// All registrations that the system shows, whoever made them.
pub(crate) fn list(config: &Config) -> Result<Value> {
    let listed = Desk::new(config)?.listed()?;
    let listed = listed.unwrap_or_else(|| kept().ok().flatten().into_iter().collect());
    Ok(listed.iter().map(Registered::shown).collect())
}

/// Takes our registration away. What is gone already need not be.
pub(crate) fn remove(config: &Config) -> Result<()> {
    let desk = Desk::new(config)?;
    let Some(kept) = kept()? else { return Ok(()) };
    let ours = match desk.listed()? {
        Some(listed) => listed.into_iter().filter(|known| same_hook(&known.url, &kept.url)).collect(),
        None => vec![kept],
    };
    ours.iter().try_for_each(|registered| desk.delete(registered))?;
    state::delete(KEPT)
}

fn kept() -> Result<Option<Registered>> {
    let kept: Option<Value> = state::get(KEPT)?;
    let text = |value: &Value, place: &str| pointer::text_at(value, place);
    Ok(kept.and_then(|kept| Some(Registered { id: text(&kept, "/id")?, url: text(&kept, "/url")? })))
}

/// Whether two addresses end in the same hook, wherever the hub is reached.
fn same_hook(one: &str, other: &str) -> bool {
    let hook = |url: &str| url.find("/hooks/").map(|at| url[at..].trim_end_matches('/').to_owned());
    hook(one).is_some_and(|one| Some(one) == hook(other))
}

/// The system's side of registrations.
struct Desk<'a> {
    client: Client<'a>,
    rules: &'a Registration,
}

impl<'a> Desk<'a> {
    fn new(config: &'a Config) -> Result<Self> {
        let rules = config.webhook.as_ref().and_then(|webhook| webhook.registration.as_ref());
        let missing = || {
            Error::new(ErrorClass::Unsupported, "the config says nothing of how to register a webhook").with_field("webhook.registration")
        };
        Ok(Self { client: Client::new(config), rules: rules.ok_or_else(missing)? })
    }

    fn listed(&self) -> Result<Option<Vec<Registered>>> {
        let Some(list) = &self.rules.list else { return Ok(None) };
        let url = self.client.address(&list.path, &list.query, &Variables::default())?;
        let call = Call {
            method: list.method.clone().unwrap_or_else(|| "GET".to_owned()),
            url,
            headers: headers(list),
            body: None,
            purpose: Purpose::Read,
        };
        let body = self.client.call(&call, None)?.body;
        let entries = body.pointer(&list.record).and_then(Value::as_array).ok_or_else(|| {
            Error::new(ErrorClass::Transient, format!("there is no list of webhooks at {:?}", list.record))
                .with_field("webhook.registration.list")
        })?;
        let one = |entry: &Value| {
            Some(Registered { id: pointer::text_at(entry, &self.rules.id)?, url: pointer::text_at(entry, &self.rules.url)? })
        };
        Ok(Some(entries.iter().filter_map(one).collect()))
    }

    fn create(&self, url: &str) -> Result<Registered> {
        let rules = &self.rules.create;
        let answer = self.send(rules, "POST", &Variables::default().with("url", url))?;
        let made = answer.body.pointer(&rules.record).unwrap_or(&Value::Null);
        let id = pointer::text_at(made, &self.rules.id).ok_or_else(|| {
            let detail = format!("the webhook was registered, but its id is not at {:?} of the answer", self.rules.id);
            Error::new(ErrorClass::Config, detail).with_field("webhook.registration.id")
        })?;
        log::info(format!("the system was told to post to {url}"));
        Ok(Registered { id, url: url.to_owned() })
    }

    fn delete(&self, registered: &Registered) -> Result<()> {
        let Some(rules) = &self.rules.delete else {
            let Registered { id, url } = registered;
            log::warn(format!("webhook {id} ({url}) is left at the system: the config does not say how to delete it"));
            return Ok(());
        };
        match self.send(rules, "DELETE", &Variables::default().with("key", registered.id.as_str())) {
            Err(error) if error.class == ErrorClass::Gone => Ok(()),
            other => other.map(drop),
        }
    }

    fn send(&self, rules: &RecordCall, method: &str, variables: &Variables) -> Result<Answer> {
        let call = Call {
            method: rules.method.clone().unwrap_or_else(|| method.to_owned()),
            url: self.client.address(&rules.path, &rules.query, variables)?,
            headers: headers(rules),
            body: rules.body.as_ref().map(|body| template::body(body, variables, None)).transpose()?,
            purpose: Purpose::Write,
        };
        self.client.call(&call, None)
    }
}

fn headers(rules: &RecordCall) -> Vec<(String, String)> {
    rules.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
