//! A request on its way out: secrets put in, target known, ready to be redirected.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, header};
use throughline_schemas::connector::{ConnectorError, ErrorClass, HttpRequest};
use url::Url;

use super::super::granted_url;
use super::is_safe;
use crate::call::bug;
use crate::connection::Connection;
use crate::grants::{Scheme, Target};
use crate::oauth::asks_for_token;
use crate::secret_book::Secrets;
use crate::template::{Place, is_template, render};

const USER_AGENT: &str = concat!("Throughline/", env!("CARGO_PKG_VERSION"));

/// Headers that are the transport's affair, not the guest's.
const OURS: &[HeaderName] = &[
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];

/// Never carried to another origin.
const PRIVATE: &[HeaderName] = &[header::AUTHORIZATION, header::COOKIE];

pub(super) struct Outgoing {
    pub(super) target: Target,
    url: Url,
    method: Method,
    headers: HeaderMap,
    /// The headers a secret was put into.
    secret_headers: Vec<HeaderName>,
    body: Bytes,
    body_has_secret: bool,
    /// Whether an OAuth access token goes along.
    pub(super) carries_token: bool,
}

impl Outgoing {
    /// Asks the grants before any secret is put in.
    pub(super) fn new(
        connection: &Connection,
        secrets: &Secrets,
        request: HttpRequest,
        secrets_in_body: bool,
    ) -> Result<Self, ConnectorError> {
        let carries_token = connection.oauth.is_some() && templates(&request).any(asks_for_token);
        let url = granted_url(connection, secrets, &request.url)?;
        let target = target_of(&url)?;
        let method =
            Method::from_bytes(request.method.as_bytes()).map_err(|_| bug(format!("{:?} is not an HTTP method", request.method)))?;
        if method == Method::CONNECT {
            return Err(bug("CONNECT is not for plugins"));
        }
        let mut outgoing = Self {
            target,
            url,
            method,
            headers: HeaderMap::new(),
            secret_headers: Vec::new(),
            body: Bytes::new(),
            body_has_secret: false,
            carries_token,
        };
        outgoing.put_headers(secrets, &request.headers)?;
        outgoing.put_body(secrets, request.body.unwrap_or_default(), secrets_in_body)?;
        Ok(outgoing)
    }

    fn put_headers(&mut self, secrets: &Secrets, headers: &[(String, String)]) -> Result<(), ConnectorError> {
        for (name, template) in headers {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bug(format!("{name:?} is not a header name")))?;
            if OURS.contains(&parsed) {
                continue;
            }
            let value = render(template, secrets, Place::Header)?;
            let mut header = HeaderValue::from_str(&value.text).or_else(|_| HeaderValue::from_bytes(value.text.as_bytes()));
            if let (Ok(header), true) = (&mut header, value.has_secret) {
                header.set_sensitive(true);
                self.secret_headers.push(parsed.clone());
            }
            self.headers.append(parsed, header.map_err(|_| bug(format!("the value of the header {name} holds a control character")))?);
        }
        self.headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        Ok(())
    }

    // In a form everything that comes from a person is percent-encoded, so that a template there can only be the plugin's own. In
    // any other body a customer's text may stand, and a customer who writes `{secret:password}` must not be sent the password.
    fn put_body(&mut self, secrets: &Secrets, body: Vec<u8>, secrets_in_body: bool) -> Result<(), ConnectorError> {
        let form = self.content_type().is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let template = std::str::from_utf8(&body).ok().filter(|text| (form || secrets_in_body) && is_template(text));
        let Some(template) = template else {
            self.body = body.into();
            return Ok(());
        };
        let place = match self.content_type() {
            _ if form => Place::Percent,
            Some(kind) if kind.contains("json") => Place::Json,
            _ => Place::Line,
        };
        let rendered = render(template, secrets, place)?;
        self.body_has_secret = rendered.has_secret;
        self.body = rendered.text.into();
        Ok(())
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    fn content_type(&self) -> Option<String> {
        Some(self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase())
    }

    pub(super) fn is_safe(&self) -> bool {
        is_safe(self.method.as_str())
    }

    pub(super) fn to_request(&self) -> Result<Request<Full<Bytes>>, ConnectorError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url.as_str())
            .body(Full::new(self.body.clone()))
            .map_err(|error| bug(format!("the URL cannot be requested: {error}")))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// The request for the next hop. Towards another origin nothing secret goes along.
    pub(super) fn redirected(mut self, status: StatusCode, location: &str) -> Result<Self, ConnectorError> {
        let mut url = self
            .url
            .join(location)
            .map_err(|error| ConnectorError::new(ErrorClass::Config, format!("a redirect leads nowhere: {error}")))?;
        url.set_fragment(None);
        let target = target_of(&url)?;
        let turns_to_get = status == StatusCode::SEE_OTHER || (matches!(status.as_u16(), 301 | 302) && self.method == Method::POST);
        if turns_to_get && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.body_has_secret = false;
            self.headers.remove(header::CONTENT_TYPE);
        }
        if target != self.target {
            self.leave_secrets_behind(&target)?;
        }
        Ok(Self { url, target, ..self })
    }

    fn leave_secrets_behind(&mut self, target: &Target) -> Result<(), ConnectorError> {
        self.carries_token = false;
        if self.body_has_secret {
            let message = format!("a redirect to {target} would carry a secret in the body to another origin");
            return Err(ConnectorError::new(ErrorClass::Permission, message));
        }
        for name in PRIVATE.iter().chain(&self.secret_headers) {
            self.headers.remove(name);
        }
        Ok(())
    }
}

/// Every text of a request in which a secret may be asked for.
pub(super) fn templates(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let body = request.body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
    request.headers.iter().map(|(_, value)| value.as_str()).chain([request.url.as_str()]).chain(body)
}

fn target_of(url: &Url) -> Result<Target, ConnectorError> {
    let target = Target::of_url(url).map_err(bug)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bug("users in URLs are refused: use a header"));
    }
    if !matches!(target.scheme, Scheme::Https | Scheme::Http) {
        return Err(bug(format!("{} is not for http: use net", target.scheme.as_str())));
    }
    Ok(target)
}
