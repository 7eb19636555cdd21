//! What the JSON Schema cannot say: parts of a config that only make sense together. Every complaint names the field.

use std::collections::BTreeMap;

use throughline_plugin_sdk::schemas::manifest::Canonical;
use throughline_plugin_sdk::{Error, ErrorClass, Result};

use super::{
    Auth, Concurrency, Config, Cursor, Deletes, Entity, FieldMap, Idempotency, ListCall, Pagination, RecordCall, Registration, Signature,
    Version, Webhook, Write,
};
use crate::{pointer, url};

impl Config {
    /// The config, if its parts fit together.
    pub fn checked(self) -> Result<Self> {
        base_url(&self.base_url)?;
        ensure(self.timeout_ms != Some(0), "timeout_ms", "a time-out of zero lets no request through")?;
        ensure(!self.entities.is_empty(), "entities", "without an entity there is nothing to read, to write or to be told of")?;
        auth(&self.auth)?;
        for (index, rule) in self.errors.iter().enumerate() {
            let says = rule.pointer.is_some() || rule.contains.is_some() || rule.content_type.is_some() || !rule.status.is_empty();
            ensure(says, &format!("errors[{index}]"), "a rule without status, pointer, contains or content_type would fit every answer")?;
            optional_place(rule.pointer.as_deref(), &format!("errors[{index}].pointer"))?;
            optional_place(rule.retry_after_ms.as_deref(), &format!("errors[{index}].retry_after_ms"))?;
        }
        optional_place(self.error_message.as_deref(), "error_message")?;
        if let Some(account) = &self.account {
            path(&account.path, "account.path")?;
            place(&account.id, "account.id")?;
        }
        for (name, known) in &self.entities {
            entity(name, known)?;
        }
        if let Some(known) = &self.webhook {
            webhook(known, &self.entities)?;
        }
        Ok(self)
    }
}

fn base_url(text: &str) -> Result<()> {
    let whole = url::origin(text).is_some() && !text.contains(['?', '#', '{', '}', ' ']);
    ensure(whole, "base_url", "this must be an address such as https://crm.example.com or https://crm.example.com/api, without query")
}

fn auth(known: &Auth) -> Result<()> {
    match known {
        Auth::None => Ok(()),
        Auth::Bearer { secret } | Auth::Query { secret, .. } | Auth::Basic { secret, .. } => secret_name(secret, "auth.secret"),
        Auth::Header { value, .. } => ensure(value.contains("{secret:"), "auth.value", "the secret goes in as {secret:api_token}"),
        Auth::Login(login) => {
            path(&login.path, "auth.path")?;
            place(&login.token, "auth.token")?;
            optional_place(login.account.as_deref(), "auth.account")?;
            ensure(login.value.contains("{token}"), "auth.value", "the token goes in as {token}")
        }
    }
}

fn entity(name: &str, known: &Entity) -> Result<()> {
    let at = |part: &str| format!("entities.{name}.{part}");
    place(&known.id, &at("id"))?;
    if let Some(Version::Pointer(version)) = &known.version {
        place(version, &at("version"))?;
    }
    optional_place(known.updated.as_ref().map(|updated| updated.pointer.as_str()), &at("updated.pointer"))?;
    fields(name, &known.fields)?;
    interaction(name, known)?;
    if let Some(list) = &known.list {
        self::list(list, &at("list"))?;
    }
    cursor(name, known)?;
    deletes(name, known)?;
    if let Some(get) = &known.get {
        record_call(get, &at("get"), true)?;
    }
    for (field, lookup) in &known.lookups {
        let here = at(&format!("lookups.{field}"));
        path(&lookup.path, &format!("{here}.path"))?;
        place(&lookup.items, &format!("{here}.items"))?;
        ensure(mentions(lookup, "value"), &here, "a look-up needs {value} in its path, query or body")?;
        let mapped = known.fields.get(field).is_some_and(|map| map.spec().writable());
        ensure(mapped, &here, "a look-up goes by a writable field that fields maps")?;
    }
    known.write.as_ref().map_or(Ok(()), |write| self::write(name, known, write))
}

fn fields(name: &str, known: &BTreeMap<String, FieldMap>) -> Result<()> {
    for (field, map) in known {
        let here = format!("entities.{name}.fields.{field}");
        let spec = map.spec();
        let sources = usize::from(spec.pointer.is_some()) + usize::from(!spec.join.is_empty()) + usize::from(spec.constant.is_some());
        ensure(sources == 1, &here, "a field has exactly one of pointer, join and const")?;
        ensure(spec.split.is_none() || spec.pointer.is_some(), &here, "only the value at a pointer can be split")?;
        ensure(!(spec.read_only && spec.write_only), &here, "a field cannot be both read_only and write_only")?;
        for part in spec.pointer.iter().chain(&spec.join) {
            place(part, &here)?;
        }
        ensure(spec.pointer.as_deref() != Some(""), &here, "the empty pointer is the whole record, not a field of it")?;
    }
    Ok(())
}

fn interaction(name: &str, known: &Entity) -> Result<()> {
    let here = format!("entities.{name}.interaction");
    let is_one = known.canonical == Canonical::Interaction;
    ensure(is_one == known.interaction.is_some(), &here, "interaction is needed for canonical: interaction, and for no other")?;
    ensure(!is_one || known.write.is_none(), &format!("entities.{name}.write"), "interactions are facts: they are read, not written")?;
    if let Some(map) = &known.interaction {
        place(&map.text, &format!("{here}.text"))?;
        place(&map.customer, &format!("{here}.customer"))?;
        ensure(map.direction_pointer.is_some() || map.directions.is_empty(), &here, "directions needs direction_pointer")?;
    }
    Ok(())
}

fn list(known: &ListCall, here: &str) -> Result<()> {
    path(&known.path, &format!("{here}.path"))?;
    place(&known.items, &format!("{here}.items"))?;
    ensure(known.page_size > 0, &format!("{here}.page_size"), "a page holds at least one record")?;
    let variable = match &known.pagination {
        Pagination::None | Pagination::NextLink => None,
        Pagination::Page { .. } => Some("page"),
        Pagination::Offset => Some("offset"),
        Pagination::Keyset => Some("after_id"),
        Pagination::Cursor { pointer } => {
            place(pointer, &format!("{here}.pagination.pointer"))?;
            Some("cursor")
        }
        Pagination::NextUrl { pointer } => {
            place(pointer, &format!("{here}.pagination.pointer"))?;
            None
        }
    };
    match variable {
        Some(variable) if !mentions(known, variable) => {
            Err(wrong(&format!("{here}.query"), &format!("this pagination needs {{{variable}}} in the path, query or body")))
        }
        _ => Ok(()),
    }
}

fn cursor(name: &str, known: &Entity) -> Result<()> {
    let at = |part: &str| format!("entities.{name}.{part}");
    if matches!(known.cursor, Cursor::None) {
        return Ok(());
    }
    let Some(list) = &known.list else { return Err(wrong(&at("list"), "a cursor needs a list to read")) };
    ensure(mentions(list, "since"), &at("list.query"), "this cursor needs {since} in the path, query or body")?;
    if let Cursor::Timestamp { sorted, .. } = &known.cursor {
        ensure(known.updated.is_some(), &at("updated"), "a timestamp cursor needs to know where the time of change is")?;
        let keyset = list.pagination == Pagination::Keyset;
        ensure(!keyset || *sorted, &at("cursor.sorted"), "keyset pagination needs a list sorted by time of change and id, oldest first")?;
    }
    Ok(())
}

fn deletes(name: &str, known: &Entity) -> Result<()> {
    let here = format!("entities.{name}.deletes");
    match &known.deletes {
        Deletes::None => Ok(()),
        Deletes::Flag(flag) => place(&flag.pointer, &format!("{here}.pointer")),
        Deletes::FullList(full) => {
            let Some(own) = full.list.as_ref().or(known.list.as_ref()) else { return Err(wrong(&here, "a full listing needs a list")) };
            if full.list.is_some() {
                list(own, &format!("{here}.list"))?;
                ensure(
                    !matches!(known.cursor, Cursor::None),
                    &format!("{here}.list"),
                    "an entity without a cursor is listed by its own list",
                )?;
            }
            let shifts = matches!(own.pagination, Pagination::Page { .. } | Pagination::Offset);
            let detail = "a record deleted while numbered pages are read pulls another out of sight: name where the total is, \
                          so that this is noticed, or use pagination keyset";
            ensure(!shifts || own.total.is_some(), &format!("{here}.list.total"), detail)
        }
    }
}

fn write(name: &str, known: &Entity, write: &Write) -> Result<()> {
    let at = |part: &str| format!("entities.{name}.write.{part}");
    for (call, part, keyed) in [(&write.create, "create", false), (&write.update, "update", true), (&write.delete, "delete", true)] {
        if let Some(call) = call {
            record_call(call, &at(part), keyed)?;
        }
    }
    match &write.concurrency {
        Concurrency::None => {}
        Concurrency::VersionField { pointer } => place(pointer, &at("concurrency.pointer"))?,
        Concurrency::Etag { value, .. } => {
            ensure(value.contains("{version}"), &at("concurrency.value"), "the version goes in as {version}")?
        }
        Concurrency::Compare => {
            ensure(known.get.is_some(), &at("concurrency"), "to compare versions, the record must be readable: add get")?
        }
    }
    let guarded = write.concurrency != Concurrency::None;
    ensure(!guarded || known.version.is_some(), &format!("entities.{name}.version"), "concurrency needs to know where the version is")?;
    if let Idempotency::Upsert { field } = &write.idempotency {
        ensure(known.lookups.contains_key(field), &at("idempotency.field"), "the field needs a look-up of its own in lookups")?;
    }
    Ok(())
}

fn record_call(call: &RecordCall, here: &str, keyed: bool) -> Result<()> {
    path(&call.path, &format!("{here}.path"))?;
    place(&call.record, &format!("{here}.record"))?;
    let names_key = call.path.contains("{key}")
        || call.query.values().any(|value| value.contains("{key}"))
        || call.body.as_ref().is_some_and(|body| body.to_string().contains("{key}"));
    ensure(!keyed || names_key, here, "the record's key goes in as {key}, in the path, query or body")
}

fn webhook(known: &Webhook, entities: &BTreeMap<String, Entity>) -> Result<()> {
    ensure(!known.events.is_empty(), "webhook.events", "a webhook needs at least one event")?;
    optional_place(known.batch.as_deref(), "webhook.batch")?;
    known.registration.as_ref().map_or(Ok(()), registration)?;
    match &known.signature {
        Signature::None => {}
        Signature::Token { secret, .. } => secret_name(secret, "webhook.signature.secret")?,
        Signature::HmacSha256 { secret, template, timestamp_header, composite, .. } => {
            secret_name(secret, "webhook.signature.secret")?;
            ensure(
                template.contains("{body}"),
                "webhook.signature.template",
                "a signature that does not cover {body} proves nothing about it",
            )?;
            let timed = timestamp_header.is_some() || composite.is_some();
            let detail = "the template names {timestamp}: say where it is with timestamp_header or composite";
            ensure(timed || !template.contains("{timestamp}"), "webhook.signature.timestamp_header", detail)?;
        }
    }
    for (index, event) in known.events.iter().enumerate() {
        let here = format!("webhook.events[{index}]");
        let Some(entity) = entities.get(&event.entity) else { return Err(wrong(&format!("{here}.entity"), "there is no such entity")) };
        ensure(!known.refetch || entity.get.is_some(), &format!("{here}.entity"), "refetch reads the record back: the entity needs get")?;
        place(&event.record, &format!("{here}.record"))?;
        optional_place(event.id.as_deref(), &format!("{here}.id"))?;
        if let Some(action) = &event.action {
            let sources = usize::from(action.pointer.is_some()) + usize::from(action.header.is_some());
            ensure(sources == 1, &format!("{here}.action"), "an action is told by exactly one of pointer and header")?;
            let values = action.create.len() + action.update.len() + action.delete.len();
            ensure(values > 0, &format!("{here}.action"), "an action needs values for create, update or delete")?;
        }
    }
    Ok(())
}

fn registration(known: &Registration) -> Result<()> {
    let here = |part: &str| format!("webhook.registration.{part}");
    place(&known.id, &here("id"))?;
    place(&known.url, &here("url"))?;
    if let Some(list) = &known.list {
        record_call(list, &here("list"), false)?;
    }
    record_call(&known.create, &here("create"), false)?;
    let told = known.create.body.as_ref().is_some_and(|body| body.to_string().contains("{url}"));
    let told = told || known.create.path.contains("{url}") || known.create.query.values().any(|value| value.contains("{url}"));
    ensure(told, &here("create"), "our address goes in as {url}, in the path, query or body")?;
    known.delete.as_ref().map_or(Ok(()), |delete| record_call(delete, &here("delete"), true))
}

fn mentions(list: &ListCall, variable: &str) -> bool {
    let plain = [format!("{{{variable}}}"), format!("{{{variable}|")];
    let within = |text: &str| plain.iter().any(|mark| text.contains(mark.as_str()));
    within(&list.path) || list.query.values().any(|value| within(value)) || list.body.as_ref().is_some_and(|body| within(&body.to_string()))
}

fn secret_name(name: &str, here: &str) -> Result<()> {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    ensure(plain, here, "this is the name of a secret (letters, digits, _ and -), not the secret itself")
}

fn path(text: &str, here: &str) -> Result<()> {
    ensure(text.starts_with('/'), here, "a path begins with / and is put behind base_url")
}

fn place(text: &str, here: &str) -> Result<()> {
    ensure(pointer::is_pointer(text), here, &format!("{text:?} is not a JSON pointer: it begins with /, as in /data/email"))
}

fn optional_place(text: Option<&str>, here: &str) -> Result<()> {
    text.map_or(Ok(()), |text| place(text, here))
}

fn ensure(holds: bool, field: &str, detail: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(wrong(field, detail)) }
}

fn wrong(field: &str, detail: &str) -> Error {
    Error::new(ErrorClass::Config, detail).with_field(field)
}
