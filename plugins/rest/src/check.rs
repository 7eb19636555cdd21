//! Are config and credentials good? Logs in, reads one record of each entity, and says what this configuration can do.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_plugin_sdk::schemas::manifest::{self, CursorKind, Writes};
use throughline_plugin_sdk::{CheckReport, Error, ErrorClass, Result};

use crate::classify::Purpose;
use crate::client::{Call, Client};
use crate::config::{Auth, Concurrency, Config, Cursor, Deletes, Entity, FieldMap, FieldSpec, Idempotency, Transform};
use crate::template::Variables;
use crate::walk::{Place, fetch};
use crate::{mapping, pointer, record, write};

/// Checks a connection.
pub(crate) fn check(config: &Config) -> Result<CheckReport> {
    let client = Client::new(config);
    let (account_id, account_name) = account(client)?;
    let mut report = CheckReport { account_id, account_name, missing_scopes: Vec::new(), warnings: Vec::new(), entities: Vec::new() };
    for (name, entity) in &config.entities {
        sample(client, name, entity, &mut report)?;
        report.entities.push(declared(name, entity));
    }
    if config.webhook.as_ref().is_some_and(|webhook| matches!(webhook.signature, crate::config::Signature::None)) {
        report.warnings.push("the webhook is not signed: whoever knows its address can post to it".to_owned());
    }
    Ok(report)
}

/// The account's id and name: as the system tells them, else by address and user.
fn account(client: Client<'_>) -> Result<(String, String)> {
    let logged_in = client.login_account()?;
    let user = match &client.config.auth {
        Auth::Basic { username, .. } => Some(username.clone()),
        _ => logged_in,
    };
    let Some(account) = &client.config.account else {
        let base = client.config.base_url.trim_end_matches('/');
        let id = user.as_ref().map_or_else(|| base.to_owned(), |user| format!("{base} {user}"));
        return Ok((id, user.unwrap_or_else(|| base.to_owned())));
    };
    let url = client.address(&account.path, &BTreeMap::new(), &Variables::default())?;
    let call = Call { method: "GET".to_owned(), url, headers: Vec::new(), body: None, purpose: Purpose::Read };
    let answer = client.call(&call, None)?;
    // A system that shows an anonymous view to a wrong key says so only here: Redmine answers 200 without a user.
    let id = pointer::text_at(&answer.body, &account.id).ok_or_else(|| {
        let detail = format!("the system does not say whose account this is: nothing at {:?} of {}", account.id, account.path);
        Error::new(ErrorClass::Auth, detail).with_field("account.id")
    })?;
    let name = account.name.as_deref().and_then(|place| pointer::text_at(&answer.body, place)).or(user);
    Ok((id.clone(), name.unwrap_or(id)))
}

/// Reads one record and looks whether the config fits it.
fn sample(client: Client<'_>, name: &str, entity: &Entity, report: &mut CheckReport) -> Result<()> {
    let Some(list) = &entity.list else { return Ok(()) };
    let place = Place { per_page: Some(1), ..Place::default() };
    let fetched = match fetch::fetch(client, name, entity, list, &place, None) {
        // What the hub itself denies is no right missing at the system.
        Err(error)
            if error.class == ErrorClass::Permission && error.details.as_ref().is_none_or(|details| details.get("denied").is_none()) =>
        {
            report.missing_scopes.push(format!("read {name}: {}", error.message));
            return Ok(());
        }
        // A first read that finds no list is a matter of the pointer; later it would be the system's trouble.
        Err(error) if error.field.as_deref() == Some(&format!("entities.{name}.list.items")) => {
            return Err(Error { class: ErrorClass::Config, ..error });
        }
        other => other?,
    };
    match fetched.records.first() {
        Some(sample) => fits(name, entity, sample, report),
        None => {
            report.warnings.push(format!("{name}: there is no record yet, so the field map could not be tried"));
            Ok(())
        }
    }
}

fn fits(name: &str, entity: &Entity, sample: &Value, report: &mut CheckReport) -> Result<()> {
    if record::key(entity, sample).is_none() {
        let detail = format!("a record of {name:?} has no id at {:?}", entity.id);
        return Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{name}.id")));
    }
    if entity.version.is_some() && !write::version_in_header(entity) && record::version(entity, sample, None).is_none() {
        report.warnings.push(format!("{name}: the record read has no version"));
    }
    if entity.updated.is_some() && record::updated(entity, sample).is_none() {
        report.warnings.push(format!("{name}: the record read has no time of change, or in another format"));
    }
    for (field, map) in &entity.fields {
        let spec = map.spec();
        if let Some(place) = spec.pointer.filter(|place| !spec.write_only && sample.pointer(place).is_none()) {
            report.warnings.push(format!("{name}: the record read has nothing at {place} for {field}"));
        }
    }
    Ok(())
}

fn declared(name: &str, entity: &Entity) -> manifest::Entity {
    manifest::Entity {
        name: name.to_owned(),
        canonical: entity.canonical,
        readable: entity.list.is_some(),
        cursor: match entity.cursor {
            Cursor::None => CursorKind::None,
            Cursor::Timestamp { .. } => CursorKind::Timestamp,
            Cursor::Opaque { .. } => CursorKind::Opaque,
        },
        deletes: match entity.deletes {
            Deletes::None => manifest::Deletes::None,
            Deletes::Flag(_) => manifest::Deletes::Flag,
            Deletes::FullList(_) => manifest::Deletes::FullList,
        },
        writes: writes(entity),
        fields: entity.fields.iter().map(|(field, map)| (field.clone(), declared_field(entity, map))).collect(),
        read_lag_ms: entity.read_lag_ms,
    }
}

fn writes(entity: &Entity) -> Writes {
    let Some(write) = &entity.write else { return Writes::default() };
    Writes {
        create: write.create.is_some(),
        update: write.update.is_some(),
        delete: write.delete.is_some(),
        upsert_key: match &write.idempotency {
            Idempotency::Upsert { field } => Some(field.clone()),
            Idempotency::None | Idempotency::Header { .. } => None,
        },
        concurrency: match &write.concurrency {
            Concurrency::None => None,
            Concurrency::Etag { .. } => Some("etag".to_owned()),
            Concurrency::VersionField { .. } | Concurrency::Compare => Some("version".to_owned()),
        },
        batch: 1,
    }
}

fn declared_field(entity: &Entity, map: &FieldMap) -> manifest::Field {
    let spec = map.spec();
    let named = |transform: &Transform| match transform {
        Transform::Trim => Some("trim"),
        Transform::Lower => Some("lowercase"),
        Transform::Phone => Some("phone_digits"),
        Transform::Upper | Transform::Text => None,
    };
    manifest::Field {
        writable: entity.write.is_some() && spec.writable(),
        max_length: spec.max_length,
        normalisers: spec.transforms.iter().filter_map(named).map(str::to_owned).chain(unsaid(&spec)).collect(),
    }
}

/// Values of ours that the system keeps as another of ours, because it has no word for them.
fn unsaid(spec: &FieldSpec) -> Vec<String> {
    let Some(values) = &spec.values else { return Vec::new() };
    let kept_as = |ours: &String| {
        let kept = mapping::mapped_in(values, &mapping::mapped_out(values, &Value::from(ours.as_str())));
        kept.as_str().filter(|kept| kept != ours).map(|kept| format!("as:{ours}={kept}"))
    };
    values.write.keys().filter_map(kept_as).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_without_a_word_of_its_own_is_declared() {
        let table = [
            (json!({"read": {"1": "open", "3": "resolved"}, "write": {"waiting": 1, "resolved": 3}}), vec!["as:waiting=open"]),
            (json!({"read": {"new": "open"}, "write": {"waiting": "new"}}), vec!["as:waiting=open"]),
            (json!({"read": {"1": "open", "2": "open"}}), vec![]),
            (json!({"read": {"1": "open"}, "write": {"waiting": 9}}), vec![]),
        ];
        for (values, wanted) in table {
            let spec = FieldSpec { values: Some(serde_json::from_value(values.clone()).unwrap()), ..FieldSpec::default() };
            assert_eq!(unsaid(&spec), wanted, "{values}");
        }
    }
}
