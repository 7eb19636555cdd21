//! The token endpoint: one form posted, one JSON answer, over the connection's own dialer and grants.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use serde_json::Value;
use throughline_domain::connector::Secret;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use url::form_urlencoded;

use super::{ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, EXPIRES_AT, Oauth, REFRESH_TOKEN, text};
use crate::budgets::retry_after;
use crate::connection::Connection;
use crate::dial::transient;
use crate::grants::{Scheme, bare};
use crate::imports::http::collect;
use crate::secret_book::Secrets;

/// The tokens of an answer, under the names of their secrets.
pub(super) type Tokens = Secrets;

const TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 256 * 1024;
/// So much of what the endpoint says of an error is shown.
const LONGEST_DESCRIPTION: usize = 200;

/// Why there are no tokens.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The refresh token or code is not, or no longer, accepted.
    Grant,
    Other(ConnectorError),
}

impl From<ConnectorError> for Refusal {
    fn from(error: ConnectorError) -> Self {
        Self::Other(error)
    }
}

/// Asks for tokens. The client's secret goes along in the form, or, where that is refused, in a header (RFC 6749, 2.3.1): endpoints
/// take the one or the other, and `basic` remembers which.
pub(super) async fn ask(connection: &Connection, oauth: &Oauth, basic: &mut bool, form: &[(&str, &str)]) -> Result<Tokens, Refusal> {
    let secrets = connection.secrets.all();
    let client = Client { id: text(&secrets, CLIENT_ID).ok_or_else(|| missing(CLIENT_ID))?, secret: text(&secrets, CLIENT_SECRET) };
    let first = post(connection, oauth, client.request(oauth, form, *basic)?).await?;
    if !first.refuses_client() || client.secret.is_none() {
        return first.tokens(connection);
    }
    let second = post(connection, oauth, client.request(oauth, form, !*basic)?).await?;
    if second.refuses_client() {
        return first.tokens(connection);
    }
    *basic = !*basic;
    second.tokens(connection)
}

fn missing(name: &str) -> ConnectorError {
    ConnectorError::new(ErrorClass::Config, format!("the connection has no secret named {name:?}, which OAuth needs")).with_field(name)
}

struct Client<'s> {
    id: &'s str,
    secret: Option<&'s str>,
}

impl Client<'_> {
    fn request(&self, oauth: &Oauth, form: &[(&str, &str)], basic: bool) -> Result<Request<Full<Bytes>>, ConnectorError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request = Request::post(oauth.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match self.secret {
            Some(secret) if basic => request = request.header(header::AUTHORIZATION, self.basic(secret)),
            secret => {
                body.append_pair("client_id", self.id);
                secret.map(|secret| body.append_pair("client_secret", secret));
            }
        }
        let request = request.body(Full::new(body.finish().into()));
        request.map_err(|error| ConnectorError::new(ErrorClass::Config, format!("the token endpoint cannot be asked: {error}")))
    }

    fn basic(&self, secret: &str) -> String {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(self.id), encoded(secret))))
    }
}

async fn post(connection: &Connection, oauth: &Oauth, request: Request<Full<Bytes>>) -> Result<Answer, ConnectorError> {
    let target = &oauth.token_target;
    connection.dialer.allow(target)?;
    if target.scheme == Scheme::Http && !connection.dialer.reachable.allows_private(&bare(&target.host)) {
        let message = format!("tokens do not go to {target} unencrypted: use https, or grant the host as a private one");
        return Err(ConnectorError::new(ErrorClass::Config, message));
    }
    let asked_at_ms = connection.services.now().as_millis();
    let exchange = async {
        // Redirects are not followed: what is posted here is for this place alone.
        let response = connection.clients.send(request, None, true).await?;
        Answer::read(response, asked_at_ms).await
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(transient(format!("{target}: no tokens within {} s", TIMEOUT.as_secs()))),
    }
}

/// What the endpoint answered.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Value,
    asked_at_ms: i64,
}

impl Answer {
    async fn read(response: Response<Incoming>, asked_at_ms: i64) -> Result<Self, ConnectorError> {
        let (status, retry_after) = (response.status(), retry_after(response.headers(), asked_at_ms));
        let body = collect(response.into_body(), LARGEST_ANSWER, true).await?;
        Ok(Self { status, retry_after, body: serde_json::from_slice(&body).unwrap_or(Value::Null), asked_at_ms })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn refuses_client(&self) -> bool {
        match self.text("error") {
            Some(error) => error == "invalid_client",
            None => self.status == StatusCode::UNAUTHORIZED,
        }
    }

    fn tokens(&self, connection: &Connection) -> Result<Tokens, Refusal> {
        match self.text(ACCESS) {
            // Some endpoints answer 200 with an error in it.
            Some(access) if self.status.is_success() && self.text("error").is_none() => Ok(self.named(access)),
            _ => Err(self.refusal(connection)),
        }
    }

    fn named(&self, access: &str) -> Tokens {
        let expires_in = self.body.get("expires_in").and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
        // Written in any case: an older token's time must not stay behind.
        let expires_at = expires_in.map_or_else(
            || "unknown".to_owned(),
            |seconds| self.asked_at_ms.saturating_add(seconds.max(0).saturating_mul(1000)).to_string(),
        );
        let refresh = self.text(REFRESH).map(|token| (REFRESH_TOKEN, token.to_owned()));
        let tokens = [(ACCESS_TOKEN, access.to_owned()), (EXPIRES_AT, expires_at)].into_iter().chain(refresh);
        tokens.map(|(name, value)| (name.to_owned(), Secret::new(value))).collect()
    }

    fn refusal(&self, connection: &Connection) -> Refusal {
        let error = self.text("error").unwrap_or_default();
        // GitHub has words of its own for it.
        if ["invalid_grant", "bad_refresh_token", "bad_verification_code"].contains(&error) {
            return Refusal::Grant;
        }
        let description: String = self.text("error_description").unwrap_or_default().chars().take(LONGEST_DESCRIPTION).collect();
        let said = connection.redactor.log(&format!("{error} {description}")).trim().to_owned();
        let message = format!("the token endpoint answered {}: {}", self.status, if said.is_empty() { "no tokens" } else { &said });
        Refusal::Other(match (self.status.as_u16(), error) {
            (_, "invalid_client" | "unauthorized_client") => {
                ConnectorError::new(ErrorClass::Auth, format!("{message}; check {CLIENT_ID} and {CLIENT_SECRET}")).with_field(CLIENT_ID)
            }
            (429 | 503, _) | (_, "temporarily_unavailable" | "slow_down") => self.patience(message),
            (500..=599, _) => transient(message),
            _ => ConnectorError::new(ErrorClass::Config, message),
        })
    }

    fn patience(&self, message: String) -> ConnectorError {
        let error = ConnectorError::new(ErrorClass::RateLimited, message);
        match self.retry_after {
            Some(wait) => error.with_retry_after_ms(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            None => error,
        }
    }
}

const ACCESS: &str = "access_token";
const REFRESH: &str = "refresh_token";
