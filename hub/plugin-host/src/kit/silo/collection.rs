//! A list of records that can be paged through, read, changed and added to over HTTP, as a small JSON API would have it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use throughline_schemas::Timestamp;

/// A collection as a kit describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collection {
    /// What is in it at the beginning.
    pub(crate) records: Vec<Value>,
    /// The field that identifies a record.
    #[serde(default = "id")]
    pub(crate) id: String,
    /// The fields a list is sorted by unless the request names one with `sort`; the id comes last by itself.
    #[serde(default)]
    pub(crate) order: Vec<String>,
    /// The member of the answer that holds the list; the answer is the bare list without it.
    #[serde(default)]
    wrap: Option<String>,
    /// The most records on a page.
    #[serde(default = "most")]
    most: usize,
    /// Parameters that select records whose field of this name has this value.
    #[serde(default)]
    filters: Vec<String>,
    /// The field that is set to the time of each change.
    #[serde(default)]
    pub(crate) stamp: Option<String>,
    /// Whether records can be created, changed and deleted.
    #[serde(default)]
    writable: bool,
    /// Whether a `POST` below it names the record that it makes, and is answered 409 if there is one of that name.
    #[serde(default)]
    named: bool,
    /// What is not accepted: a field with one of these values.
    #[serde(default)]
    refuse: BTreeMap<String, Value>,
    #[serde(skip)]
    changes: i64,
}

fn id() -> String {
    "id".to_owned()
}

fn most() -> usize {
    200
}

/// A status and a JSON body.
pub(crate) type Answer = (u16, Value);

fn refused(status: u16, message: &str) -> Answer {
    (status, json!({ "message": message }))
}

impl Collection {
    /// Answers a request for the collection itself (`key` is none) or for one record.
    pub(crate) fn answer(&mut self, method: &str, key: Option<&str>, query: &BTreeMap<String, String>, body: &[u8]) -> Answer {
        match (method, key) {
            ("GET", None) => self.list(query),
            ("GET", Some(key)) => self.find(key).map_or_else(gone, |at| (200, self.records[at].clone())),
            ("POST", None) if self.writable => self.create(body),
            ("POST", Some(key)) if self.writable && self.named && !key.contains('/') => self.create_named(key, body),
            ("PATCH" | "PUT", Some(key)) if self.writable => self.update(key, body),
            ("DELETE", Some(key)) if self.writable => self.delete(key),
            _ => refused(405, "this cannot be done here"),
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.records.iter().position(|record| text(&record[&self.id]) == key)
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let mut order: Vec<&str> = match query.get("sort") {
            Some(sort) => sort.split(',').collect(),
            None => self.order.iter().map(String::as_str).collect(),
        };
        if order.last() != Some(&self.id.as_str()) {
            order.push(&self.id);
        }
        let after = position(&order, &self.id, query);
        let mut found: Vec<&Value> = self.records.iter().filter(|record| self.is_wanted(record, query)).collect();
        found.sort_by(|one, two| compare(&order, one, two));
        found.retain(|record| after.as_ref().is_none_or(|after| after.precedes(&order, record)));
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(self.most).min(self.most);
        let page: Vec<&Value> = found.into_iter().take(limit).collect();
        match &self.wrap {
            Some(name) => (200, json!({ name: page })),
            None => (200, json!(page)),
        }
    }

    fn is_wanted(&self, record: &Value, query: &BTreeMap<String, String>) -> bool {
        self.filters.iter().all(|name| query.get(name).is_none_or(|value| text(&record[name]) == *value))
    }

    fn create(&mut self, body: &[u8]) -> Answer {
        let Ok(Value::Object(mut record)) = serde_json::from_slice(body) else { return refused(400, "the body must be a JSON object") };
        if let Some(answer) = self.refusal(&record) {
            return answer;
        }
        self.changes += 1;
        record.insert(self.id.clone(), json!(format!("made{:04}", self.changes)));
        self.put_stamp(&mut record);
        let record = Value::Object(record);
        self.records.push(record.clone());
        (201, record)
    }

    fn create_named(&mut self, key: &str, body: &[u8]) -> Answer {
        if self.find(key).is_some() {
            return refused(409, "there is one of this name");
        }
        let mut record = match serde_json::from_slice(body) {
            Ok(Value::Object(record)) => record,
            _ if body.is_empty() => Map::new(),
            _ => return refused(400, "the body must be a JSON object"),
        };
        record.insert(self.id.clone(), json!(key));
        self.records.push(Value::Object(record.clone()));
        (200, Value::Object(record))
    }

    fn update(&mut self, key: &str, body: &[u8]) -> Answer {
        let Some(at) = self.find(key) else { return gone() };
        let Ok(Value::Object(changes)) = serde_json::from_slice(body) else { return refused(400, "the body must be a JSON object") };
        if let Some(answer) = self.refusal(&changes) {
            return answer;
        }
        self.change(at, changes);
        (200, self.records[at].clone())
    }

    fn delete(&mut self, key: &str) -> Answer {
        let Some(at) = self.find(key) else { return gone() };
        self.records.remove(at);
        (204, Value::Null)
    }

    fn refusal(&self, record: &Map<String, Value>) -> Option<Answer> {
        let (field, _) = self.refuse.iter().find(|(field, value)| record.get(*field) == Some(value))?;
        Some((422, json!({ "message": format!("{field} is not acceptable"), "field": field })))
    }

    fn change(&mut self, at: usize, changes: Map<String, Value>) {
        self.changes += 1;
        let mut record = self.records[at].as_object().cloned().unwrap_or_default();
        record.extend(changes);
        self.put_stamp(&mut record);
        self.records[at] = Value::Object(record);
    }

    /// Later than every time before: no two changes have one stamp.
    fn put_stamp(&self, record: &mut Map<String, Value>) {
        let latest = |stamp: &String| self.records.iter().map(|record| text(&record[stamp])).max().unwrap_or_default();
        if let Some(stamp) = &self.stamp {
            let latest: Timestamp = latest(stamp).parse().unwrap_or_default();
            record.insert(stamp.clone(), json!(latest.plus_millis(1000).to_string()));
        }
    }

    /// Somebody works in the silo while it is read: the first record changes, where records can change, and one more is added.
    pub(crate) fn stir(&mut self) {
        if self.stamp.is_some() && !self.records.is_empty() {
            self.change(0, Map::new());
            self.records.rotate_left(1);
        }
        let Some(last) = self.records.iter().max_by(|one, two| compare(&[&self.id], one, two)) else { return };
        let mut record = last.as_object().cloned().unwrap_or_default();
        record.insert(self.id.clone(), json!(format!("{}z", text(&last[&self.id]))));
        self.put_stamp(&mut record);
        self.records.push(Value::Object(record));
    }

    /// Whether some records have one value in the first field of the order: then a page can end among them.
    pub(crate) fn has_ties(&self) -> bool {
        let Some(first) = self.order.first().filter(|first| **first != self.id) else { return true };
        let mut values: Vec<String> = self.records.iter().map(|record| text(&record[first])).collect();
        values.sort();
        values.windows(2).any(|pair| pair[0] == pair[1])
    }
}

fn gone() -> Answer {
    refused(404, "there is no such record")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn compare(order: &[&str], one: &Value, two: &Value) -> Ordering {
    order.iter().map(|field| text(&one[*field]).cmp(&text(&two[*field]))).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// Where a list goes on: `since` alone is a bound that counts, `since` with `after` or `after` alone the last record had.
struct Position {
    since: Option<String>,
    after: Option<String>,
}

fn position(order: &[&str], id: &str, query: &BTreeMap<String, String>) -> Option<Position> {
    let (since, after) = (query.get("since").cloned(), query.get("after").cloned());
    // Only a list that begins with something else than the id has a bound for it.
    let since = since.filter(|_| order.first() != Some(&id));
    (since.is_some() || after.is_some()).then_some(Position { since, after })
}

impl Position {
    fn precedes(&self, order: &[&str], record: &Value) -> bool {
        let first = text(&record[order[0]]);
        let id = text(&record[order[order.len() - 1]]);
        match (&self.since, &self.after) {
            (Some(since), Some(after)) => first > *since || (first == *since && id > *after),
            (Some(since), None) => first >= *since,
            (None, Some(after)) => id > *after,
            (None, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn collection() -> Collection {
        serde_json::from_value(json!({
            "records": [{"id": "a", "updated": "2026-01-01T00:00:00Z"}, {"id": "b", "updated": "2026-01-01T00:00:00Z"}, {"id": "c", "updated": "2026-01-02T00:00:00Z"}],
            "order": ["updated"], "stamp": "updated", "writable": true, "filters": ["name"], "refuse": {"name": "x"},
        }))
        .unwrap()
    }

    fn ids(answer: &Answer) -> Vec<String> {
        answer.1.as_array().unwrap().iter().map(|record| text(&record["id"])).collect()
    }

    #[test]
    fn pages_begin_where_they_are_asked_to() {
        for (pairs, expected) in [
            (&[][..], &["a", "b", "c"][..]),
            (&[("limit", "2")], &["a", "b"]),
            (&[("since", "2026-01-02T00:00:00Z")], &["c"]),
            (&[("since", "2026-01-01T00:00:00Z"), ("after", "a")], &["b", "c"]),
            (&[("after", "b")], &["c"]),
            (&[("sort", "id"), ("after", "a"), ("limit", "1")], &["b"]),
            (&[("name", "nobody")], &[]),
        ] {
            assert_eq!(ids(&collection().answer("GET", None, &query(pairs), b"")), expected, "{pairs:?}");
        }
        assert!(collection().has_ties());
    }

    #[test]
    fn writes_have_their_effect_and_a_new_stamp() {
        let mut collection = collection();
        let (status, made) = collection.answer("POST", None, &query(&[]), br#"{"name": "Ada"}"#);
        assert_eq!((status, made["updated"].as_str().unwrap()), (201, "2026-01-02T00:00:01.000Z"));
        let key = text(&made["id"]);
        assert_eq!(collection.answer("PATCH", Some(&key), &query(&[]), br#"{"name": "x"}"#).0, 422);
        assert_eq!(collection.answer("PATCH", Some(&key), &query(&[]), br#"{"name": "Eve"}"#).1["name"], "Eve");
        assert_eq!(ids(&collection.answer("GET", None, &query(&[("name", "Eve")]), b"")), std::slice::from_ref(&key));
        assert_eq!(collection.answer("DELETE", Some(&key), &query(&[]), b"").0, 204);
        assert_eq!(collection.answer("GET", Some(&key), &query(&[]), b"").0, 404);
        collection.stir();
        assert_eq!(collection.records.len(), 4);
    }

    #[test]
    fn a_record_made_under_a_name_is_made_once() {
        let mut collection = Collection { named: true, ..collection() };
        let mut post = |key: &str, body: &[u8]| collection.answer("POST", Some(key), &query(&[]), body).0;
        assert_eq!([post("d", b"{}"), post("d", b"{}"), post("e", b""), post("e/answer", b""), post("f", b"[")], [200, 409, 200, 405, 400]);
        assert_eq!(collection.records.len(), 5);
    }
}
