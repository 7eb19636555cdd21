//! Building a request step by step.

use serde::Serialize;

use super::{Options, escape_placeholders, send, send_with_secrets_in_body};
use crate::{Error, ErrorClass, HttpRequest, HttpResponse, Result};

/// A request being built.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    request: HttpRequest,
    options: Options,
    secrets_in_body: bool,
    broken: Option<Error>,
}

/// A request with any method.
pub fn request(method: &str, url: impl Into<String>) -> RequestBuilder {
    let request = HttpRequest { method: method.to_owned(), url: url.into(), headers: Vec::new(), body: None };
    RequestBuilder { request, options: Options::default(), secrets_in_body: false, broken: None }
}
/// A GET request.
pub fn get(url: impl Into<String>) -> RequestBuilder {
    request("GET", url)
}
/// A HEAD request.
pub fn head(url: impl Into<String>) -> RequestBuilder {
    request("HEAD", url)
}
/// A POST request.
pub fn post(url: impl Into<String>) -> RequestBuilder {
    request("POST", url)
}
/// A PUT request.
pub fn put(url: impl Into<String>) -> RequestBuilder {
    request("PUT", url)
}
/// A PATCH request.
pub fn patch(url: impl Into<String>) -> RequestBuilder {
    request("PATCH", url)
}
/// A DELETE request.
pub fn delete(url: impl Into<String>) -> RequestBuilder {
    request("DELETE", url)
}

impl RequestBuilder {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }
    /// Adds query parameters, percent-encoded.
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        let (url, fragment) = match self.request.url.split_once('#') {
            Some((url, fragment)) => (url.to_owned(), Some(fragment.to_owned())),
            None => (std::mem::take(&mut self.request.url), None),
        };
        self.request.url = url;
        for (name, value) in pairs {
            self.request.url.push(if self.request.url.contains('?') { '&' } else { '?' });
            self.request.url.push_str(&format!("{}={}", percent_encode(name), percent_encode(value)));
        }
        if let Some(fragment) = fragment {
            self.request.url.push_str(&format!("#{fragment}"));
        }
        self
    }
    /// A JSON body. Placeholders of secrets in it are *not* substituted, so that no record can pull one out.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => self.request.body = Some(escape_placeholders(&text).into_bytes()),
            Err(error) => self.broken = Some(Error::new(ErrorClass::Bug, format!("the body cannot be written as JSON: {error}"))),
        }
        self.content_type("application/json")
    }
    /// A form body, percent-encoded.
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        let encoded: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value))).collect();
        self.request.body = Some(encoded.join("&").into_bytes());
        self.content_type("application/x-www-form-urlencoded")
    }
    /// A form body like [`form`](Self::form), with secrets: each pair of `secrets` is a parameter and the name of the secret it takes.
    pub fn form_with_secrets(self, pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> Self {
        let mut built = self.form(pairs);
        let body = built.request.body.get_or_insert_default();
        for (parameter, secret) in secrets {
            let separator = if body.is_empty() { "" } else { "&" };
            body.extend_from_slice(format!("{separator}{}={{secret:{secret}}}", percent_encode(parameter)).as_bytes());
        }
        built
    }
    /// A raw body. The hub puts secrets into it only with [`secrets_in_body`](Self::secrets_in_body).
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.request.body = Some(bytes.into());
        self
    }
    /// Puts secrets into the raw body: only for one in which no text of a customer's stands.
    pub fn secrets_in_body(mut self) -> Self {
        self.secrets_in_body = true;
        self
    }
    /// How long the whole exchange may take.
    pub fn timeout_ms(mut self, ms: u64) -> Self {
        self.options.timeout_ms = Some(ms);
        self
    }
    /// All options at once.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
    /// The request as it would be sent.
    pub fn build(self) -> Result<HttpRequest> {
        match self.broken {
            Some(error) => Err(error),
            None => Ok(self.request),
        }
    }
    /// Sends it. Any status is `Ok`; see [`ResponseExt::error_for_status`](super::ResponseExt::error_for_status).
    pub fn send(self) -> Result<HttpResponse> {
        let (options, secrets_in_body) = (self.options.clone(), self.secrets_in_body);
        let request = self.build()?;
        if secrets_in_body {
            return send_with_secrets_in_body(&request, &options);
        }
        send(&request, &options)
    }

    fn content_type(self, kind: &str) -> Self {
        if self.request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            return self;
        }
        self.header("Content-Type", kind)
    }
}

/// Everything but the unreserved characters of RFC 3986 becomes `%XX`.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_query_is_encoded_and_kept_before_the_fragment() {
        let built = get("https://a.example/x?y=1#top").query(&[("q", "a b&c={secret:t}"), ("n", "ü")]).build().unwrap();
        assert_eq!(built.url, "https://a.example/x?y=1&q=a%20b%26c%3D%7Bsecret%3At%7D&n=%C3%BC#top");
    }

    #[test]
    fn a_form_takes_secrets_only_where_it_is_told_to() {
        let built = post("https://a.example").form_with_secrets(&[("user", "{secret:x} &")], &[("password", "pw")]).build().unwrap();
        assert_eq!(String::from_utf8(built.body.unwrap()).unwrap(), "user=%7Bsecret%3Ax%7D%20%26&password={secret:pw}");
        assert_eq!(built.headers[0].1, "application/x-www-form-urlencoded");
    }

    #[test]
    fn a_json_body_has_its_content_type_once_and_no_placeholder() {
        let built =
            post("https://a.example").header("content-type", "application/vnd.a+json").json(&json!({"a": "{secret:t}"})).build().unwrap();
        assert_eq!(built.headers, [("content-type".to_owned(), "application/vnd.a+json".to_owned())]);
        assert_eq!(built.body.unwrap(), br#"{"a":"\u007bsecret:t}"}"#);
    }
}
