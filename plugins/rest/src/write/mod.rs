//! Writing records, one request at a time, each with an outcome of its own.

mod create;
mod lookup;

use serde_json::{Value, json};
use throughline_plugin_sdk::http::ResponseExt;
use throughline_plugin_sdk::{Error, ErrorClass, Op, OpKind, Outcome, Result, Written};

use crate::classify::Purpose;
use crate::client::{Answer, Call, Client};
use crate::config::{Concurrency, Entity, RecordCall, Version, Write};
use crate::template::{self, Variables};
use crate::{get, mapping, pointer, record};

/// What every write works with.
#[derive(Clone, Copy)]
struct Context<'a> {
    client: Client<'a>,
    name: &'a str,
    entity: &'a Entity,
    rules: &'a Write,
}

/// Carries out the ops. What stops them all (credentials, patience, the end of the call) is not tried again for each.
pub(crate) fn write(client: Client<'_>, name: &str, entity: &Entity, ops: &[Op]) -> Result<Vec<Outcome>> {
    let Some(rules) = &entity.write else {
        return Err(Error::new(ErrorClass::Unsupported, format!("the entity {name:?} is read-only")));
    };
    let context = Context { client, name, entity, rules };
    let mut stop: Option<Error> = None;
    let mut outcomes = Vec::with_capacity(ops.len());
    for op in ops {
        let result = match &stop {
            Some(error) => Err(error.clone()),
            None => context.carry_out(op),
        };
        if let Err(error) = &result
            && matches!(error.class, ErrorClass::Auth | ErrorClass::RateLimited | ErrorClass::Cancelled | ErrorClass::Config)
        {
            stop = Some(error.clone());
        }
        outcomes.push(Outcome { op_id: op.id.clone(), result });
    }
    Ok(outcomes)
}

impl Context<'_> {
    fn carry_out(&self, op: &Op) -> Result<Written> {
        match (op.kind, &op.key) {
            (OpKind::Create | OpKind::Upsert, None) => self.create(op),
            (OpKind::Create, Some(_)) => Err(invalid("a record to create has no key yet", "key")),
            (OpKind::Update | OpKind::Upsert, Some(key)) => {
                self.update(key, &op.data, &op.clear, op.expect_version.as_deref(), &op.idempotency_key)
            }
            (OpKind::Delete, Some(key)) => self.delete(key, op),
            (OpKind::Update | OpKind::Delete, None) => Err(invalid("the record's key is missing", "key")),
        }
    }

    fn update(&self, key: &str, data: &Value, clear: &[String], expect: Option<&str>, idempotency_key: &str) -> Result<Written> {
        let endpoint = self.endpoint(self.rules.update.as_ref(), "changed")?;
        let mut changes = self.as_stored(data, clear)?;
        if changes.as_object().is_none_or(serde_json::Map::is_empty) {
            return self.unchanged(key);
        }
        let mut headers = Vec::new();
        if let Some(expected) = expect {
            self.guard(key, expected, &mut changes, &mut headers)?;
        }
        let variables = Variables::default().with("key", key).with_some("version", expect).with("idempotency_key", idempotency_key);
        let answer = self.send(endpoint, "PATCH", &variables, Some(&changes), headers)?;
        self.written(endpoint, &answer, Some(key))
    }

    /// Nothing to send: the answer is what the system holds.
    fn unchanged(&self, key: &str) -> Result<Written> {
        match self.read_back(key) {
            Some(written) => Ok(written),
            None => Ok(Written { key: key.to_owned(), version: None, record: None }),
        }
    }

    /// Makes the write fail if the system holds another version.
    fn guard(&self, key: &str, expected: &str, changes: &mut Value, headers: &mut Vec<(String, String)>) -> Result<()> {
        match &self.rules.concurrency {
            Concurrency::None => Ok(()),
            Concurrency::Etag { header, value } => {
                let value = template::header(value, &Variables::default().with("version", expected))?;
                headers.extend(value.map(|value| (header.clone(), value)));
                Ok(())
            }
            Concurrency::VersionField { pointer: place } => {
                let version = expected.parse::<i64>().map_or_else(|_| Value::from(expected), Value::from);
                pointer::set(changes, place, version);
                Ok(())
            }
            Concurrency::Compare => self.compare(key, expected),
        }
    }

    fn compare(&self, key: &str, expected: &str) -> Result<()> {
        let gone = || Error::new(ErrorClass::Gone, "the record is not there any more");
        let got = get::raw(self.client, self.name, self.entity, key)?.ok_or_else(gone)?;
        let held = record::version(self.entity, &got.record, Some(&got.response));
        if held.as_deref() == Some(expected) {
            return Ok(());
        }
        let held = held.unwrap_or_else(|| "none".to_owned());
        Err(Error::new(ErrorClass::Conflict, format!("the system holds version {held}, expected was {expected}"))
            .with_details(json!({"version": held})))
    }

    fn delete(&self, key: &str, op: &Op) -> Result<Written> {
        let endpoint = self.endpoint(self.rules.delete.as_ref(), "deleted")?;
        let (mut headers, mut unused) = (Vec::new(), json!({}));
        if let Some(expected) = &op.expect_version {
            match self.guard(key, expected, &mut unused, &mut headers) {
                Err(error) if error.class == ErrorClass::Gone => return Ok(deleted(key)),
                other => other?,
            }
        }
        let variables = Variables::default()
            .with("key", key)
            .with_some("version", op.expect_version.as_deref())
            .with("idempotency_key", &op.idempotency_key);
        match self.send(endpoint, "DELETE", &variables, None, headers) {
            // What is gone already need not be deleted: a retry after a lost answer meets this.
            Err(error) if error.class == ErrorClass::Gone => Ok(deleted(key)),
            other => other.map(|_| deleted(key)),
        }
    }

    fn endpoint<'e>(&self, endpoint: Option<&'e RecordCall>, what: &str) -> Result<&'e RecordCall> {
        endpoint.ok_or_else(|| {
            Error::new(ErrorClass::Unsupported, format!("records of {:?} cannot be {what} through this connection", self.name))
        })
    }

    fn as_stored(&self, data: &Value, clear: &[String]) -> Result<Value> {
        let empty = match self.rules.clear {
            crate::config::Clear::Null => Some(Value::Null),
            crate::config::Clear::EmptyString => Some(Value::from("")),
            crate::config::Clear::Unsupported => None,
        };
        mapping::to_silo(self.entity, data, clear, empty.as_ref())
    }

    fn send(
        &self,
        endpoint: &RecordCall,
        method: &str,
        variables: &Variables,
        changes: Option<&Value>,
        mut headers: Vec<(String, String)>,
    ) -> Result<Answer> {
        for (name, value) in &endpoint.headers {
            headers.extend(template::header(value, variables)?.map(|value| (name.clone(), value)));
        }
        let body = match (&endpoint.body, changes) {
            (Some(shape), changes) => Some(template::body(shape, variables, changes)?),
            (None, Some(changes)) => Some(template::body(&Value::from("{record}"), variables, Some(changes))?),
            (None, None) => None,
        };
        let url = self.client.address(&endpoint.path, &endpoint.query, variables)?;
        let method = endpoint.method.clone().unwrap_or_else(|| method.to_owned());
        self.client.call(&Call { method, url, headers, body, purpose: Purpose::Write }, Some(self.entity))
    }

    /// What the system holds after a write: from its answer if that is a record, read back otherwise.
    fn written(&self, endpoint: &RecordCall, answer: &Answer, key: Option<&str>) -> Result<Written> {
        let held = answer.body.pointer(&endpoint.record).cloned().unwrap_or(Value::Null);
        let told = record::key(self.entity, &held).or_else(|| location(answer));
        let key = key.map(str::to_owned).or(told).ok_or_else(|| self.without_id())?;
        let version = record::version(self.entity, &held, Some(&answer.response));
        let whole = self.entity.fields.values().any(|map| map.spec().pointer.is_some_and(|place| held.pointer(&place).is_some()));
        let needs_version = self.entity.version.is_some() && version.is_none();
        if (!whole || needs_version)
            && let Some(written) = self.read_back(&key)
        {
            return Ok(written);
        }
        let record = whole.then(|| mapping::to_canonical(self.entity, &held));
        Ok(Written { key, version, record })
    }

    /// Reads a record back. The write stands whatever comes of this, so a failure is no failure of the write.
    fn read_back(&self, key: &str) -> Option<Written> {
        self.entity.get.as_ref()?;
        let got = get::raw(self.client, self.name, self.entity, key).ok().flatten()?;
        Some(self.existing(key, &got.record, Some(&got.response)))
    }

    fn existing(&self, key: &str, held: &Value, response: Option<&throughline_plugin_sdk::HttpResponse>) -> Written {
        let version = record::version(self.entity, held, response);
        Written { key: key.to_owned(), version, record: Some(mapping::to_canonical(self.entity, held)) }
    }

    fn without_id(&self) -> Error {
        let detail = format!("the system took the record, but its answer has no id at {:?}", self.entity.id);
        Error::new(ErrorClass::Ambiguous, detail).with_field(format!("entities.{}.write.create.record", self.name))
    }
}

/// The last segment of the Location header of a created record.
fn location(answer: &Answer) -> Option<String> {
    let location = answer.response.header("location")?;
    let last = location.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?;
    let plain = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    (answer.response.status == 201 && plain).then(|| last.to_owned())
}

fn deleted(key: &str) -> Written {
    Written { key: key.to_owned(), version: None, record: None }
}

fn invalid(message: &str, field: &str) -> Error {
    Error::new(ErrorClass::InvalidRecord, message).with_field(field)
}

/// Whether the version is known only from a record's own response.
pub(crate) fn version_in_header(entity: &Entity) -> bool {
    matches!(entity.version, Some(Version::Header(_)))
}
