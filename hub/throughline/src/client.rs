//! Speaks to a hub over HTTP, and turns its problem documents into errors for people. Knows no command.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Method, Request, StatusCode, header};

use crate::arguments::Remote;

/// Longer than the hub itself takes for its slowest calls: installing a plugin, asking a silo.
const PATIENCE: Duration = Duration::from_secs(200);
const CONNECT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: u64 = 64 << 20;
/// What the API gives at most in one page.
const PAGE: usize = 200;

/// A hub, and as whom we speak to it.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    key: Option<String>,
}

/// The hub said no.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refused {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldAtFault>,
    #[serde(default)]
    pub(crate) request_id: String,
    /// Whether a key was sent; the hub cannot tell who sent none how this program takes one.
    #[serde(skip)]
    keyless: bool,
}

/// One thing that is wrong with what was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FieldAtFault {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    pub(crate) detail: String,
}

/// A thing with its version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Versioned<T> {
    #[serde(flatten)]
    pub(crate) value: T,
    pub(crate) version: u64,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

struct Answer {
    status: StatusCode,
    media_type: String,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(remote: &Remote) -> anyhow::Result<Self> {
        let base = remote.url.trim().trim_end_matches('/').to_owned();
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            bail!("--url must begin with http:// or https://, and {base:?} does not");
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("throughline/", env!("CARGO_PKG_VERSION")))
            // A merged profile leads to the one that goes on, at the same hub.
            .max_redirects(3)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost);
        if is_this_machine(&base) {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), base, key: remote.key.clone().filter(|key| !key.trim().is_empty()) })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        self.parsed(self.send(Method::GET, &with_query(path, query), None, None)?)
    }

    /// Whatever the status is.
    pub(crate) fn status_of(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let answer = self.send(Method::GET, path, None, None)?;
        Ok((answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default()))
    }

    /// At most `limit` things of a list, page by page.
    pub(crate) fn list<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)], limit: usize) -> anyhow::Result<Vec<T>> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let size = (limit - found.len()).min(PAGE).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &size));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(path, &query)?;
            found.extend(page.items);
            cursor = page.next;
            if found.len() >= limit || cursor.is_none() {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// All things of a list that has no pages.
    pub(crate) fn whole_list<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        Ok(self.get::<Page<T>>(path, &[])?.items)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let body = Body::json(body)?;
        self.parsed(self.send(Method::POST, path, Some(body), None)?)
    }

    pub(crate) fn post_bytes<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> anyhow::Result<T> {
        let body = Body { media_type: "application/wasm", bytes };
        self.parsed(self.send(Method::POST, path, Some(body), None)?)
    }

    /// Changes what is still at this version.
    pub(crate) fn patch<T: DeserializeOwned>(&self, path: &str, version: u64, body: &impl Serialize) -> anyhow::Result<T> {
        let body = Body::json(body)?;
        self.parsed(self.send(Method::PATCH, path, Some(body), Some(version))?)
    }

    /// Sets anew what is still at this version.
    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, version: u64, body: &impl Serialize) -> anyhow::Result<T> {
        let body = Body::json(body)?;
        self.parsed(self.send(Method::PUT, path, Some(body), Some(version))?)
    }

    /// An order on what is still at this version.
    pub(crate) fn post_if<T: DeserializeOwned>(&self, path: &str, version: u64, body: &impl Serialize) -> anyhow::Result<T> {
        let body = Body::json(body)?;
        self.parsed(self.send(Method::POST, path, Some(body), Some(version))?)
    }

    /// An order that is answered by a list without pages.
    pub(crate) fn posted_list<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<T>> {
        Ok(self.post::<Page<T>>(path, body)?.items)
    }

    /// An order that is answered by nothing.
    pub(crate) fn order(&self, method: Method, path: &str) -> anyhow::Result<()> {
        let answer = self.send(method, path, None, None)?;
        if answer.status.is_success() { Ok(()) } else { self.parsed::<Value>(answer).map(drop) }
    }

    fn send(&self, method: Method, path: &str, body: Option<Body>, version: Option<u64>) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base)).header(header::ACCEPT, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.trim()));
        }
        if let Some(version) = version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        let sent = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, body.media_type).body(body.bytes);
                self.agent.run(request.context(BAD_REQUEST)?)
            }
            None => self.agent.run(request.body(()).context(BAD_REQUEST)?),
        };
        let mut response = sent.map_err(|error| self.unreachable(error))?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let body = body.with_context(|| format!("the answer of {} broke off", self.base))?;
        Ok(Answer { status: response.status(), media_type, body })
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let base = &self.base;
        anyhow::Error::new(error).context(format!(
            "no hub answers at {base}; is one running (`throughline serve`)? Another address is given by --url or THROUGHLINE_URL"
        ))
    }

    fn parsed<T: DeserializeOwned>(&self, answer: Answer) -> anyhow::Result<T> {
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|error| self.foreign(&answer, &error.to_string()));
        }
        let Ok(mut refused) = serde_json::from_slice::<Refused>(&answer.body) else {
            return Err(self.foreign(&answer, "no problem document"));
        };
        refused.keyless = self.key.is_none();
        Err(refused.into())
    }

    fn foreign(&self, answer: &Answer, why: &str) -> anyhow::Error {
        let Answer { status, media_type, .. } = answer;
        anyhow::anyhow!("{} does not answer like a hub of this version: status {}, type {media_type:?} ({why})", self.base, status.as_u16())
    }
}

const BAD_REQUEST: &str = "the address or the key holds characters that HTTP cannot carry; see --url and --key";

struct Body {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Body {
    fn json(value: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self { media_type: "application/json", bytes: serde_json::to_vec(value)? })
    }
}

/// A proxy for the internet is of no use for these.
fn is_this_machine(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish())
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for error in self.errors.iter().filter(|error| self.errors.len() > 1 || !self.detail.contains(&error.detail)) {
            let place = error.pointer.as_deref().or(error.parameter.as_deref()).unwrap_or("request");
            write!(f, "\n  {place}: {}", error.detail)?;
        }
        match (self.status, self.keyless) {
            (401, true) => {
                write!(f, "\n  give a key with --key or in THROUGHLINE_KEY; `throughline serve` prints the first one on its first start")?
            }
            (403, _) => write!(f, "\n  use a key that has this scope; an admin makes one with POST /v1/api-keys")?,
            _ => {}
        }
        if !self.request_id.is_empty() {
            write!(f, "\n  request {}", self.request_id)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: Value, keyless: bool) -> String {
        let mut refused: Refused = serde_json::from_value(document).unwrap();
        refused.keyless = keyless;
        refused.to_string()
    }

    #[test]
    fn a_refusal_names_every_field_once_and_the_request() {
        let one = serde_json::json!({
            "type": "urn:throughline:problem:invalid", "title": "T", "status": 422, "detail": "/config/port: too big",
            "errors": [{"pointer": "/config/port", "detail": "too big"}], "request_id": "r1"
        });
        assert_eq!(shown(one, false), "T: /config/port: too big\n  request r1");
        let two = serde_json::json!({
            "title": "T", "status": 422, "detail": "/a: x (and 1 more)",
            "errors": [{"pointer": "/a", "detail": "x"}, {"parameter": "limit", "detail": "y"}], "request_id": "r2"
        });
        assert_eq!(shown(two, false), "T: /a: x (and 1 more)\n  /a: x\n  limit: y\n  request r2");
    }

    #[test]
    fn who_has_no_key_is_told_how_to_give_one() {
        let document = serde_json::json!({"title": "An API key is needed", "status": 401});
        assert!(shown(document.clone(), true).contains("THROUGHLINE_KEY"));
        assert!(!shown(document, false).contains("THROUGHLINE_KEY"));
    }

    #[test]
    fn query_values_are_escaped() {
        assert_eq!(with_query("/v1/lookup", &[("phone", "+44 1&2")]), "/v1/lookup?phone=%2B44+1%262");
        assert_eq!(with_query("/v1/x", &[]), "/v1/x");
    }

    #[test]
    fn an_address_without_a_scheme_is_refused() {
        let remote = Remote { url: "localhost:7480".to_owned(), key: None };
        assert!(Client::new(&remote).err().unwrap().to_string().contains("http://"));
    }
}
