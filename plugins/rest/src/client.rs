//! Requests to the system: addresses, authentication, signing, and one more login when a token has run out.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use throughline_plugin_sdk::http::{self, Options};
use throughline_plugin_sdk::{Error, ErrorClass, HttpRequest, HttpResponse, Result, clock, log, secrets};

use crate::classify::{self, Purpose};
use crate::config::{Auth, Config, Encoding, Entity, Login, Signing};
use crate::template::{self, Variables};
use crate::{pointer, url};

thread_local! {
    /// Tokens of log-ins. May be lost with the instance: the next request logs in again.
    static SESSIONS: RefCell<BTreeMap<String, Session>> = const { RefCell::new(BTreeMap::new()) };
}

#[derive(Debug, Clone)]
struct Session {
    token: String,
    account: Option<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The method.
    pub method: String,
    /// The absolute address.
    pub url: String,
    /// Headers besides the connection's.
    pub headers: Vec<(String, String)>,
    /// The JSON body, already escaped.
    pub body: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
}

/// A response that says that all is well.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The response.
    pub response: HttpResponse,
    /// Its body; null if it has none.
    pub body: Value,
}

/// Sends requests for one connection.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    /// The connection's config.
    pub config: &'a Config,
}

impl<'a> Client<'a> {
    /// For this config.
    pub(crate) fn new(config: &'a Config) -> Self {
        Self { config }
    }

    /// The absolute address of a path with query parameters, all rendered.
    pub(crate) fn address(&self, path: &str, query: &BTreeMap<String, String>, variables: &Variables) -> Result<String> {
        let mut url = format!("{}{}", self.config.base_url.trim_end_matches('/'), template::path(path, variables)?);
        for parameter in template::query(query, variables)? {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&parameter);
        }
        Ok(url)
    }

    /// Sends a request; logs in once more if the system says that our token has run out.
    pub(crate) fn call(&self, call: &Call, entity: Option<&Entity>) -> Result<Answer> {
        let first = self.attempt(call, entity);
        let Auth::Login(login) = &self.config.auth else { return first.map_err(|(_, error)| error) };
        match first {
            Ok(answer) => Ok(answer),
            Err((status, error)) if error.class == ErrorClass::Auth || login.expired_status.contains(&status) => {
                log::info("the system no longer takes our token: logging in again");
                forget(self.config, login);
                self.attempt(call, entity).map_err(|(_, error)| error)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// The account that the login named, if it did.
    pub(crate) fn login_account(&self) -> Result<Option<String>> {
        match &self.config.auth {
            Auth::Login(login) => Ok(self.session(login)?.account),
            _ => Ok(None),
        }
    }

    /// The status goes with the error, because an expired token has no class of its own.
    fn attempt(&self, call: &Call, entity: Option<&Entity>) -> std::result::Result<Answer, (u16, Error)> {
        let request = self.request(call).map_err(|error| (0, error))?;
        let response = send(&request, &self.options(call.purpose)).map_err(|error| (0, classify::transport(error, call.purpose)))?;
        let body = classify::body(self.config, entity, &response, call.purpose, clock::now());
        match body {
            Ok(body) => Ok(Answer { response, body }),
            Err(error) => Err((response.status, error)),
        }
    }

    fn options(&self, purpose: Purpose) -> Options {
        Options {
            timeout_ms: self.config.timeout_ms,
            max_body: self.config.max_body_bytes,
            // A redirected write would arrive as a GET, and its answer would pass for success.
            redirects: (purpose == Purpose::Write).then_some(0),
        }
    }

    fn request(&self, call: &Call) -> Result<HttpRequest> {
        let mut request = HttpRequest { method: call.method.clone(), url: call.url.clone(), headers: Vec::new(), body: None };
        add_header(&mut request, "Accept", "application/json");
        for (name, value) in &self.config.headers {
            add_header(&mut request, name, value);
        }
        for (name, value) in &call.headers {
            add_header(&mut request, name, value);
        }
        if let Some(body) = &call.body {
            add_default(&mut request, "Content-Type", "application/json");
            request.body = Some(body.clone().into_bytes());
        }
        self.authenticate(&mut request)?;
        if let Some(signing) = &self.config.signing {
            sign(signing, &mut request)?;
        }
        Ok(request)
    }

    fn authenticate(&self, request: &mut HttpRequest) -> Result<()> {
        match &self.config.auth {
            Auth::None => {}
            Auth::Bearer { secret } => add_header(request, "Authorization", &format!("Bearer {{secret:{secret}}}")),
            Auth::Header { name, value } => add_header(request, name, value),
            Auth::Query { name, secret } => {
                request.url.push(if request.url.contains('?') { '&' } else { '?' });
                request.url.push_str(&format!("{}={{secret:{secret}}}", http::percent_encode(name)));
            }
            Auth::Basic { username, secret } => {
                let username = secrets::literal(username).map_err(|error| error.with_field("auth.username"))?;
                add_header(request, "Authorization", &format!("Basic {{base64:{username}:{{secret:{secret}}}}}"));
            }
            Auth::Login(login) => {
                let session = self.session(login)?;
                let value = template::header(&login.value, &Variables::default().with("token", session.token))?;
                add_header(request, &login.header, &value.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn session(&self, login: &Login) -> Result<Session> {
        let key = session_key(self.config, login);
        if let Some(known) = SESSIONS.with_borrow(|sessions| sessions.get(&key).cloned()) {
            return Ok(known);
        }
        let session = self.log_in(login)?;
        SESSIONS.with_borrow_mut(|sessions| sessions.insert(key, session.clone()));
        Ok(session)
    }

    fn log_in(&self, login: &Login) -> Result<Session> {
        let url = self.address(&login.path, &BTreeMap::new(), &Variables::default())?;
        let mut request = HttpRequest { method: login.method.clone(), url, headers: Vec::new(), body: None };
        add_header(&mut request, "Accept", "application/json");
        for (name, value) in self.config.headers.iter().chain(&login.headers) {
            add_header(&mut request, name, value);
        }
        let body = (!login.body.is_null()).then(|| login.body.to_string());
        let options = self.options(Purpose::Write);
        if let Some(body) = body {
            add_default(&mut request, "Content-Type", "application/json");
            request.body = Some(body.into_bytes());
        }
        let response = send(&request, &options).map_err(|error| classify::transport(error, Purpose::Read))?;
        let body = classify::body(self.config, None, &response, Purpose::Read, clock::now()).map_err(refused_login)?;
        let token = pointer::text_at(&body, &login.token).ok_or_else(|| {
            let detail = format!("the login succeeded, but there is no token at {:?} in its answer", login.token);
            Error::new(ErrorClass::Config, detail).with_field("auth.token")
        })?;
        let account = login.account.as_deref().and_then(|place| pointer::text_at(&body, place));
        Ok(Session { token, account })
    }
}

/// What comes from records is escaped by the templates, so that a placeholder left in a body is the admin's own.
fn send(request: &HttpRequest, options: &Options) -> Result<HttpResponse> {
    let holds = |mark: &[u8]| request.body.as_deref().is_some_and(|body| body.windows(mark.len()).any(|part| part == mark));
    if holds(b"{secret:") {
        return http::send_with_secrets_in_body(request, options);
    }
    http::send(request, options)
}

/// Many systems answer a wrong password with 400 or 403; only a missing endpoint is a matter of configuration.
fn refused_login(error: Error) -> Error {
    match error.class {
        ErrorClass::Gone | ErrorClass::Unsupported => {
            Error { class: ErrorClass::Config, message: format!("there is no login at this path: {}", error.message), ..error }
                .with_field("auth.path")
        }
        ErrorClass::InvalidRecord | ErrorClass::Permission | ErrorClass::Conflict => {
            Error { class: ErrorClass::Auth, message: format!("the login was refused: {}", error.message), field: None, ..error }
        }
        _ => error,
    }
}

fn session_key(config: &Config, login: &Login) -> String {
    format!("{} {} {}", config.base_url, login.path, login.body)
}

fn forget(config: &Config, login: &Login) {
    SESSIONS.with_borrow_mut(|sessions| sessions.remove(&session_key(config, login)));
}

/// Forgets all tokens, as a new instance would have: for tests.
#[cfg(test)]
pub(crate) fn forget_all() {
    SESSIONS.with_borrow_mut(BTreeMap::clear);
}

/// A later header of the same name replaces the earlier one.
fn add_header(request: &mut HttpRequest, name: &str, value: &str) {
    request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    request.headers.push((name.to_owned(), value.to_owned()));
}

fn add_default(request: &mut HttpRequest, name: &str, value: &str) {
    if !request.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn sign(signing: &Signing, request: &mut HttpRequest) -> Result<()> {
    let timestamp = (clock::now().as_millis() / 1000).to_string();
    let path = url::path_and_query(&request.url).to_owned();
    let body = request.body.clone().unwrap_or_default();
    let values: [(&str, &[u8]); 4] =
        [("method", request.method.as_bytes()), ("path", path.as_bytes()), ("timestamp", timestamp.as_bytes()), ("body", &body)];
    let mac = secrets::hmac_sha256(&signing.secret, &template::bytes(&signing.template, &values))?;
    if let Some(name) = &signing.timestamp_header {
        add_header(request, name, &timestamp);
    }
    add_header(request, &signing.header, &format!("{}{}", signing.prefix, encode(&mac, signing.encoding)));
    Ok(())
}

/// Bytes as text.
pub(crate) fn encode(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}
