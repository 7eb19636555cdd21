//! A small system in memory that lists, filters, pages and stores records as asked, and misbehaves on demand.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use throughline_plugin_sdk::testing::{Guard, TestHost};
use throughline_plugin_sdk::{Connector, ErrorClass, HttpRequest, HttpResponse, Item, Page, Result, Source, Value, json};

use crate::{Config, Rest};

/// The system.
#[derive(Default)]
pub(super) struct System {
    pub(super) records: Vec<Value>,
    /// Answers given instead of real ones, in order.
    pub(super) instead: VecDeque<HttpResponse>,
    /// Requests after which the answer is lost: the effect takes place, the caller gets a 502.
    pub(super) lose_answers: usize,
    /// Most records on a page, whatever is asked for.
    pub(super) cap: usize,
    /// Done to the records after each list request: `(system, number of the request)`.
    pub(super) meanwhile: Option<fn(&mut System, usize)>,
    pub(super) lists: usize,
    pub(super) writes: usize,
    clock: i64,
    next_id: usize,
}

pub(super) type Shared = Rc<RefCell<System>>;

/// A system with these `(id, updated)` records.
pub(super) fn system(records: &[(&str, &str)]) -> Shared {
    let mut system = System { cap: 1000, ..System::default() };
    system.records = records.iter().map(|(id, updated)| json!({"id": id, "updated": updated, "name": format!("name of {id}")})).collect();
    Rc::new(RefCell::new(system))
}

/// The test host in front of a system.
pub(super) fn host(shared: &Shared) -> Guard {
    let shared = Rc::clone(shared);
    crate::client::forget_all();
    let host =
        TestHost::new().secret("api_token", "t0ken").secret("password", "pw").secret("webhook_secret", "whs").secret("signing_key", "sk");
    host.now("2026-11-21T12:00:00Z".parse().unwrap()).http(move |request| shared.borrow_mut().answer(request)).install()
}

/// A config with one entity `contacts`; the parts given are put over it.
pub(super) fn config(more: Value) -> Value {
    let mut base = json!({"base_url": "https://crm.example", "entities": {"contacts": {
        "canonical": "profile", "version": "/updated", "updated": {"pointer": "/updated"},
        "fields": {"display_name": "/name", "email": "/email", "ext_id": "/ext_id"},
        "list": {"path": "/contacts", "items": "/items", "query": {"since": "{since}", "page": "{page}", "per_page": "{per_page}"},
            "pagination": {"kind": "page"}, "page_size": 3},
        "cursor": {"kind": "timestamp", "sorted": true, "overlap_seconds": 0, "resolution_ms": 1},
        "get": {"path": "/contacts/{key}"},
        "write": {"create": {"path": "/contacts"}, "update": {"path": "/contacts/{key}"}, "delete": {"path": "/contacts/{key}"}}}}});
    merge(&mut base, more);
    base
}

/// Puts `over` over `base`, object by object; null removes.
pub(super) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    base.remove(&name);
                } else if name == "list" || name == "cursor" || name == "pagination" {
                    base.insert(name, value);
                } else {
                    merge(base.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

pub(super) fn parsed(config: &Value) -> Config {
    serde_json::from_value(config.clone()).expect("a config of the tests is well-formed")
}

pub(super) fn read(config: &Value, cursor: Option<Value>, want: u32) -> Result<Page> {
    Rest::read(parsed(config), "contacts", cursor, want)
}

/// Everything a walk from `cursor` gives, and its pages.
pub(super) fn walk(config: &Value, cursor: Option<Value>, want: u32) -> Result<(Vec<Item>, Vec<Page>)> {
    let (mut items, mut pages, mut cursor) = (Vec::new(), Vec::new(), cursor);
    loop {
        let page = read(config, cursor, want)?;
        items.extend(page.items.clone());
        cursor = page.next.clone();
        pages.push(page);
        assert!(pages.len() < 500, "the walk does not end");
        if cursor.is_none() {
            return Ok((items, pages));
        }
    }
}

/// The newest version of each record: what the hub makes of the items.
pub(super) fn union(items: &[Item]) -> BTreeMap<String, Option<String>> {
    let mut union: BTreeMap<String, Option<String>> = BTreeMap::new();
    for item in items {
        let held = union.entry(item.key.clone()).or_default();
        *held = held.clone().max(item.version.clone());
    }
    union
}

pub(super) fn check_class(config: &Value) -> Option<ErrorClass> {
    Rest::check(parsed(config)).err().map(|error| error.class)
}

pub(super) fn response(status: u16, body: &Value) -> HttpResponse {
    raw(status, "application/json", &body.to_string())
}

pub(super) fn raw(status: u16, kind: &str, body: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![("Content-Type".into(), kind.into())], body: body.into() }
}

impl System {
    /// What the system holds, as the hub would see it.
    pub(super) fn truth(&self) -> BTreeMap<String, Option<String>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.records.iter().map(|record| (text(&record["id"]), Some(text(&record["updated"])))).collect()
    }

    /// Changes a record at this time.
    pub(super) fn touch(&mut self, id: &str, updated: &str) {
        for record in self.records.iter_mut().filter(|record| record["id"] == id) {
            record["updated"] = json!(updated);
        }
    }

    fn answer(&mut self, request: &HttpRequest) -> Result<HttpResponse> {
        if let Some(instead) = self.instead.pop_front() {
            return Ok(instead);
        }
        let (path, query) =
            request.url.strip_prefix("https://crm.example").unwrap_or("").split_once('?').unwrap_or((&request.url[19..], ""));
        let query: BTreeMap<String, String> =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), decode(value))).collect();
        let key = path.strip_prefix("/contacts/").map(decode);
        let answer = match (request.method.as_str(), key) {
            ("GET", None) => self.list(&query),
            ("GET", Some(key)) => self.with(&key, |record| response(200, record)),
            ("POST", None) => self.create(request),
            ("PATCH", Some(key)) => self.update(&key, request),
            ("DELETE", Some(key)) => self.delete(&key),
            _ => response(404, &json!({"message": "no such endpoint"})),
        };
        if request.method != "GET" {
            self.writes += 1;
            if self.lose_answers > 0 {
                self.lose_answers -= 1;
                return Ok(raw(502, "text/html", "<html>bad gateway</html>"));
            }
        }
        Ok(answer)
    }

    fn list(&mut self, query: &BTreeMap<String, String>) -> HttpResponse {
        let mut found = self.records.clone();
        let sort_by_id = query.get("sort").is_some_and(|sort| sort == "id");
        found.sort_by_key(|record| {
            let time = if sort_by_id { String::new() } else { record["updated"].to_string() };
            (time, record["id"].to_string())
        });
        if query.get("sort").is_some_and(|sort| sort == "newest") {
            found.reverse();
        }
        let total = found.len();
        let after = query.get("after").cloned();
        let since = query.get("since").cloned().unwrap_or_default();
        found.retain(|record| {
            let (updated, id) = (record["updated"].as_str().unwrap_or(""), record["id"].as_str().unwrap_or(""));
            match &after {
                Some(after) => {
                    updated > since.as_str() && !since.is_empty() || (updated == since || since.is_empty()) && id > after.as_str()
                }
                None => updated >= since.as_str(),
            }
        });
        if let Some(value) = query.get("ext_id") {
            found.retain(|record| record["ext_id"] == value.as_str());
        }
        let size = query.get("per_page").and_then(|size| size.parse().ok()).unwrap_or(usize::MAX).min(self.cap);
        let number = |name: &str| query.get(name).and_then(|number| number.parse::<usize>().ok());
        let skip = number("offset").or(number("cursor")).unwrap_or_else(|| number("page").map_or(0, |page| (page - 1) * size));
        let items: Vec<Value> = found.iter().skip(skip).take(size).cloned().collect();
        let more = (skip + items.len() < found.len()).then(|| (skip + items.len()).to_string());
        let link = more.as_ref().map(|more| format!("/contacts?cursor={more}&per_page={size}&since={since}"));
        let mut answer = response(200, &json!({"items": items, "total": total, "next": more, "next_url": link, "token": "token-1"}));
        if let Some(link) = link {
            answer.headers.push(("Link".into(), format!("<{link}>; rel=\"next\"")));
        }
        self.lists += 1;
        if let Some(meanwhile) = self.meanwhile {
            meanwhile(self, self.lists);
        }
        answer
    }

    fn create(&mut self, request: &HttpRequest) -> HttpResponse {
        let mut record = body(request);
        if let Some(ext_id) = record["ext_id"].as_str().map(str::to_owned)
            && self.records.iter().any(|known| known["ext_id"] == ext_id.as_str())
        {
            return response(
                400,
                &json!({"message": "no", "data": {"ext_id": {"code": "validation_not_unique", "message": "must be unique"}}}),
            );
        }
        self.next_id += 1;
        record["id"] = json!(format!("new{}", self.next_id));
        record["updated"] = json!(self.tick());
        self.records.push(record.clone());
        response(200, &record)
    }

    fn update(&mut self, key: &str, request: &HttpRequest) -> HttpResponse {
        let now = self.tick();
        let changes = body(request);
        let Some(record) = self.records.iter_mut().find(|record| record["id"] == key) else { return response(404, &json!({})) };
        let held = format!("\"{}\"", record["updated"].as_str().unwrap_or(""));
        let expected = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("if-match"));
        if expected.is_some_and(|(_, value)| *value != held) {
            return response(412, &json!({"message": "precondition failed"}));
        }
        for (name, value) in changes.as_object().cloned().unwrap_or_default() {
            record[name] = value;
        }
        record["updated"] = json!(now);
        response(200, record)
    }

    fn delete(&mut self, key: &str) -> HttpResponse {
        let before = self.records.len();
        self.records.retain(|record| record["id"] != key);
        if self.records.len() == before { response(404, &json!({})) } else { raw(204, "text/plain", "") }
    }

    fn with(&self, key: &str, make: impl Fn(&Value) -> HttpResponse) -> HttpResponse {
        self.records.iter().find(|record| record["id"] == key).map_or_else(|| response(404, &json!({"message": "not found"})), make)
    }

    fn tick(&mut self) -> String {
        self.clock += 1;
        format!("2026-11-21T13:00:{:02}.000Z", self.clock)
    }
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.body.as_deref().unwrap_or(b"null")).expect("the connector sends JSON")
}

fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&digits, 16).expect("a well-formed escape"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}
