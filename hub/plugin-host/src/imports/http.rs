//! `http`: requests to granted hosts. Redirects are followed here, hop by hop, each asked of the grants anew; secrets are put in on the
//! way out and taken out of what comes back.
//!
//! Every request spends the connection's rate budgets, and an access token that is refused is replaced once.
//!
//! Failures are classified for the retry policy: what failed before anything was sent is `transient`; what failed after, with a
//! method that changes things, is `ambiguous`.

mod client;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use serde::Deserialize;
use throughline_domain::connector::Secret;
use throughline_schemas::connector::{ConnectorError, ErrorClass, HttpRequest, HttpResponse};
use tokio::time::Instant;
use url::Url;
use wasmtime::component::Resource;

pub(crate) use client::Clients;
use outgoing::{Outgoing, templates};

use super::{millis_or, parse_options};
use crate::call::bug;
use crate::connection::Connection;
use crate::guest::Guest;
use crate::oauth;
use crate::wit::v0_1_0::{imports, request_from_guest, response_to_guest, types};

const TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS: u32 = 5;
const MOST_REDIRECTS: u32 = 20;
/// Longer waits for a rate budget are the hub's, which can do something else meanwhile.
const LONGEST_BUDGET_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    timeout_ms: Option<u64>,
    max_body: Option<u64>,
    redirects: Option<u32>,
    /// One more authority to trust, as PEM.
    ca_pem: Option<String>,
    /// Put secrets into the body although it is no form: only the plugin knows that no customer's text is in it.
    #[serde(default)]
    secrets_in_body: bool,
}

impl Options {
    fn timeout(&self) -> Duration {
        millis_or(self.timeout_ms, TIMEOUT)
    }

    fn max_body(&self, connection: &Connection) -> usize {
        let limit = connection.limits.body_bytes();
        self.max_body.map_or(limit, |asked| usize::try_from(asked).unwrap_or(usize::MAX).min(limit))
    }
}

/// A response whose body is read piece by piece.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Download {
    head: HttpResponse,
    body: Incoming,
    /// What arrived and was not yet read.
    rest: Bytes,
    /// How long each piece may take.
    timeout: Duration,
}

impl imports::http::Host for Guest {
    async fn send(&mut self, request: types::HttpRequest, options: Option<String>) -> Result<types::HttpResponse, types::Error> {
        let request = request_from_guest(request);
        let response = match self.sending(&request, options) {
            Ok(sending) => self.or_cancelled(send(sending, request)).await,
            Err(error) => Err(error),
        };
        response.map(response_to_guest).map_err(|error| self.guest_error(error))
    }
}

impl imports::http::HostDownload for Guest {
    async fn open(&mut self, request: types::HttpRequest, options: Option<String>) -> Result<Resource<Download>, types::Error> {
        let request = request_from_guest(request);
        let opened = match self.check_sockets().and_then(|()| self.sending(&request, options)) {
            Ok(sending) => self.or_cancelled(open(sending, request)).await,
            Err(error) => Err(error),
        };
        let opened = opened.and_then(|download| self.table.push(download).map_err(|error| bug(error.to_string())));
        opened.inspect(|_| self.sockets += 1).map_err(|error| self.guest_error(error))
    }

    async fn head(&mut self, download: Resource<Download>) -> types::HttpResponse {
        match self.table.get(&download) {
            Ok(download) => response_to_guest(download.head.clone()),
            // The canonical ABI hands us only handles we gave out; an empty answer is still better than a panic.
            Err(_) => types::HttpResponse { status: 0, headers: Vec::new(), body: Vec::new() },
        }
    }

    async fn read(&mut self, download: Resource<Download>, max: u32) -> Result<Vec<u8>, types::Error> {
        let piece = match self.table.get_mut(&download) {
            Ok(download) => read_piece(download, usize::try_from(max).unwrap_or(usize::MAX)).await,
            Err(error) => Err(bug(error.to_string())),
        };
        piece.map_err(|error| self.guest_error(error))
    }

    async fn drop(&mut self, download: Resource<Download>) -> wasmtime::Result<()> {
        self.table.delete(download)?;
        self.sockets = self.sockets.saturating_sub(1);
        Ok(())
    }
}

impl Guest {
    fn sending(&self, request: &HttpRequest, options: Option<String>) -> Result<Sending, ConnectorError> {
        Sending::new(self.connection.clone(), request, options, self.deadline.map(Instant::from_std))
    }
}

/// A response, and until when its body must have come.
struct Answered {
    response: Response<Incoming>,
    until: Instant,
    /// The access token that the request carried to whoever answered.
    token: Option<Secret>,
}

/// One request of a guest: what is the same for each time it is sent.
struct Sending {
    connection: Arc<Connection>,
    options: Options,
    safe: bool,
    /// When the call ends that it is part of.
    deadline: Option<Instant>,
}

impl Sending {
    fn new(
        connection: Arc<Connection>,
        request: &HttpRequest,
        options: Option<String>,
        deadline: Option<Instant>,
    ) -> Result<Self, ConnectorError> {
        Ok(Self { connection, options: parse_options(options)?, safe: is_safe(&request.method), deadline })
    }

    /// Sends the request; once more with a fresh access token if the one it carried was refused.
    async fn answer(&self, request: HttpRequest) -> Result<Answered, ConnectorError> {
        if self.connection.oauth.is_none() {
            return self.attempt(request).await;
        }
        let answered = self.attempt(request.clone()).await?;
        match &answered.token {
            Some(token) if answered.response.status() == StatusCode::UNAUTHORIZED => {
                // Where nothing can be refreshed, the answer says more to the plugin than we could.
                if oauth::replace(&self.connection, token).await? { self.attempt(request).await } else { Ok(answered) }
            }
            _ => Ok(answered),
        }
    }

    async fn attempt(&self, request: HttpRequest) -> Result<Answered, ConnectorError> {
        let secrets = self.connection.secrets_for(templates(&request)).await?;
        let outgoing = Outgoing::new(&self.connection, &secrets, request, self.options.secrets_in_body)?;
        let until = Instant::now() + self.options.timeout();
        match tokio::time::timeout_at(until, self.follow(outgoing, until)).await {
            Ok(followed) => {
                let (response, carries_token) = followed?;
                let token = if carries_token { secrets.get(oauth::ACCESS_TOKEN).cloned() } else { None };
                Ok(Answered { response, until, token })
            }
            Err(_) => Err(timed_out(self.options.timeout(), self.safe)),
        }
    }

    /// Sends the request and follows redirects, each hop checked like the first. Says whether the last one carried the access token.
    async fn follow(&self, mut outgoing: Outgoing, until: Instant) -> Result<(Response<Incoming>, bool), ConnectorError> {
        let connection = &self.connection;
        let redirects = self.options.redirects.unwrap_or(REDIRECTS).min(MOST_REDIRECTS);
        for _ in 0..=redirects {
            connection.dialer.allow(&outgoing.target)?;
            self.wait_for_budgets(outgoing.url(), until).await?;
            let request = outgoing.to_request()?;
            let response = connection.clients.send(request, self.options.ca_pem.as_deref(), outgoing.is_safe()).await?;
            let (now, now_ms) = (Instant::now().into_std(), connection.services.now().as_millis());
            connection.budgets.heed(outgoing.url(), response.status(), response.headers(), now, now_ms);
            if redirects == 0 || !is_redirect(response.status()) {
                return Ok((response, outgoing.carries_token));
            }
            let Some(location) = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok()) else {
                return Ok((response, outgoing.carries_token));
            };
            outgoing = outgoing.redirected(response.status(), location)?;
        }
        Err(ConnectorError::new(ErrorClass::Config, format!("more than {redirects} redirects")))
    }

    /// Waits until the rate budgets let the request go. A wait that is long, or would outlast the call, is the hub's to do: refused.
    async fn wait_for_budgets(&self, url: &Url, until: Instant) -> Result<(), ConnectorError> {
        let budgets = &self.connection.budgets;
        let now = Instant::now();
        let latest = (now + LONGEST_BUDGET_WAIT).min(until).min(self.deadline.unwrap_or(until)).max(now).into_std();
        let mut go = budgets.take(url, now.into_std(), latest)?;
        loop {
            tokio::time::sleep_until(go.into()).await;
            // While this one waited, another may have been told to wait longer.
            match budgets.reopening(url, Instant::now().into_std(), latest)? {
                Some(reopened) => go = reopened,
                None => return Ok(()),
            }
        }
    }
}

async fn send(sending: Sending, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let Answered { response, until, .. } = sending.answer(request).await?;
    let connection = &sending.connection;
    let head = head_of(&response, connection);
    let body = collect(response.into_body(), sending.options.max_body(connection), sending.safe);
    match tokio::time::timeout_at(until, body).await {
        Ok(body) => Ok(HttpResponse { body: connection.redactor.bytes(body?), ..head }),
        Err(_) => Err(timed_out(sending.options.timeout(), sending.safe)),
    }
}

/// One request, as a guest sends it.
#[cfg(test)]
pub(crate) async fn fetch(connection: Arc<Connection>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    send(Sending::new(connection, &request, None, None)?, request).await
}

async fn open(sending: Sending, request: HttpRequest) -> Result<Download, ConnectorError> {
    let response = sending.answer(request).await?.response;
    let head = head_of(&response, &sending.connection);
    Ok(Download { head, body: response.into_body(), rest: Bytes::new(), timeout: sending.options.timeout() })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

fn timed_out(timeout: Duration, safe: bool) -> ConnectorError {
    unknown_outcome(format!("no answer within {} ms", timeout.as_millis()), safe).with_details(serde_json::json!({"timeout": true}))
}

/// A failure after sending: harmless where the method changes nothing.
fn unknown_outcome(message: String, safe: bool) -> ConnectorError {
    ConnectorError::new(if safe { ErrorClass::Transient } else { ErrorClass::Ambiguous }, message)
}

fn head_of(response: &Response<Incoming>, connection: &Connection) -> HttpResponse {
    let header = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        (name.to_string(), connection.redactor.data(&String::from_utf8_lossy(value.as_bytes())).into_owned())
    };
    HttpResponse { status: response.status().as_u16(), headers: response.headers().iter().map(header).collect(), body: Vec::new() }
}

pub(crate) async fn collect(mut body: Incoming, limit: usize, safe: bool) -> Result<Vec<u8>, ConnectorError> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unknown_outcome(format!("the answer broke off: {error}"), safe))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > limit {
            return Err(bug(format!("the answer is larger than {limit} bytes; read it with http.download")));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}

const LARGEST_PIECE: usize = 1024 * 1024;

async fn read_piece(download: &mut Download, max: usize) -> Result<Vec<u8>, ConnectorError> {
    let deadline = Instant::now() + download.timeout;
    while download.rest.is_empty() {
        match tokio::time::timeout_at(deadline, download.body.frame()).await {
            Err(_) => return Err(timed_out(download.timeout, true)),
            Ok(None) => return Ok(Vec::new()),
            Ok(Some(Err(error))) => return Err(unknown_outcome(format!("the answer broke off: {error}"), true)),
            Ok(Some(Ok(frame))) => download.rest = frame.into_data().unwrap_or_default(),
        }
    }
    let count = download.rest.len().min(max).clamp(1, LARGEST_PIECE);
    Ok(download.rest.split_to(count.min(download.rest.len())).to_vec())
}
