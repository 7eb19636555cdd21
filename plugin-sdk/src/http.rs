//! HTTP through the hub's client: TLS, redirects, limits and secrets are its business.

mod builder;
mod classify;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use builder::{RequestBuilder, delete, get, head, patch, percent_encode, post, put, request};
pub use classify::{classify_status, retry_after_ms};

use crate::{Error, ErrorClass, HttpRequest, HttpResponse, Result, sys};

/// How to send a request; what is absent is the hub's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Options {
    /// For the whole exchange; 30 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The largest body to accept in bytes; 16 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<u64>,
    /// How many redirects to follow; 5. Each hop needs its own grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirects: Option<u32>,
}

/// What the hub is told besides the request.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    options: &'a Options,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secrets_in_body: bool,
}

impl Told<'_> {
    fn to_json(&self) -> Result<Option<String>> {
        if *self.options == Options::default() && !self.secrets_in_body {
            return Ok(None);
        }
        let text = serde_json::to_string(self).map_err(|error| Error::new(ErrorClass::Bug, error.to_string()))?;
        Ok(Some(text))
    }
}

/// Sends a request. Any status is `Ok`; only a failure of the transport is an error.
pub fn send(request: &HttpRequest, options: &Options) -> Result<HttpResponse> {
    sys::http_send(request, Told { options, secrets_in_body: false }.to_json()?.as_deref())
}

/// Sends a request whose body, though it is no form, holds placeholders of secrets: only for one in which no text of a customer's stands.
pub fn send_with_secrets_in_body(request: &HttpRequest, options: &Options) -> Result<HttpResponse> {
    sys::http_send(request, Told { options, secrets_in_body: true }.to_json()?.as_deref())
}

/// A response whose body is read piece by piece, for what should not be in memory as a whole.
pub struct Download(sys::Download);

impl Download {
    /// Sends the request and returns when the head of the response is there.
    pub fn open(request: &HttpRequest, options: &Options) -> Result<Self> {
        sys::Download::open(request, Told { options, secrets_in_body: false }.to_json()?.as_deref()).map(Self)
    }
    /// Status and headers; the body is empty.
    #[must_use]
    pub fn head(&self) -> HttpResponse {
        self.0.head()
    }
    /// The next piece of the body; empty at its end.
    pub fn read(&self, max: u32) -> Result<Vec<u8>> {
        self.0.read(max)
    }
}

/// What is usually wanted of a response.
pub trait ResponseExt: Sized {
    /// The first header of this name, without regard to case.
    fn header(&self, name: &str) -> Option<&str>;
    /// The body as JSON. One that is not is class `transient` if it looks like a login or proxy page, class `invalid_record` otherwise.
    fn json<T: DeserializeOwned>(&self) -> Result<T>;
    /// The body as text; what is no UTF-8 becomes a replacement character.
    fn text(&self) -> String;
    /// The response itself if its status is 2xx, the classified error otherwise.
    fn error_for_status(self) -> Result<Self>;
}

impl ResponseExt for HttpResponse {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
    fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| not_json(self, &error))
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    fn error_for_status(self) -> Result<Self> {
        match classify_status(&self) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// Half a JSON document or an HTML page with status 200 says nothing about the record: the silo, or something before it, is unwell.
fn not_json(response: &HttpResponse, error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let kind = response.header("content-type").unwrap_or("no content type").to_owned();
    if error.inner().is_data() {
        let wrong = Error::new(ErrorClass::InvalidRecord, format!("the answer has another shape than expected: {}", error.inner()));
        return wrong.with_field(error.path().to_string());
    }
    let page = if kind.to_ascii_lowercase().contains("html") { " (a login or proxy page?)" } else { "" };
    Error::new(ErrorClass::Transient, format!("the answer is not JSON but {kind}{page}: {}", error.inner()))
}

/// JSON text in which nothing can be taken for a secret's placeholder, even with [`send_with_secrets_in_body`]: a customer may write
/// `{secret:…}` into a message too.
#[must_use]
pub fn escape_placeholders(json: &str) -> String {
    let mut escaped = json.to_owned();
    for mark in crate::secrets::MARKUP {
        if escaped.contains(mark) {
            // Within JSON, these characters can only stand in a string, where `\u007b` is the same brace.
            escaped = escaped.replace(mark, &format!("\\u007b{}", &mark[1..]));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, json};

    fn response(kind: &str, body: &str) -> HttpResponse {
        HttpResponse { status: 200, headers: vec![("Content-Type".into(), kind.into())], body: body.into() }
    }

    #[test]
    fn what_is_not_the_json_expected_is_classified() {
        let table = [
            ("text/html; charset=utf-8", "<html>please log in</html>", ErrorClass::Transient),
            ("application/json", "{\"items\": [1, 2", ErrorClass::Transient),
            ("application/json", "", ErrorClass::Transient),
            ("application/json", "{\"items\": \"none\"}", ErrorClass::InvalidRecord),
        ];
        #[derive(Debug, serde::Deserialize)]
        struct List {
            #[serde(rename = "items")]
            _items: Vec<u32>,
        }
        for (kind, body, class) in table {
            assert_eq!(response(kind, body).json::<List>().unwrap_err().class, class, "{body}");
        }
        assert_eq!(response("application/json", "{\"items\": \"none\"}").json::<List>().unwrap_err().field.as_deref(), Some("items"));
    }

    #[test]
    fn a_customers_text_cannot_pull_out_a_secret() {
        let escaped = escape_placeholders(&json!({"text": "{secret:api_token} and {base64:x}"}).to_string());
        assert!(!escaped.contains("{secret:") && !escaped.contains("{base64:"), "{escaped}");
        assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap()["text"], "{secret:api_token} and {base64:x}");
    }

    #[test]
    fn headers_are_found_without_regard_to_case() {
        assert_eq!(response("text/plain", "").header("content-TYPE"), Some("text/plain"));
        assert_eq!(response("text/plain", "").header("etag"), None);
    }
}
