//! `http`: requests to granted hosts. Redirects are followed here, hop by hop, each asked of the grants anew; secrets are put in on the
//! way out and taken out of what comes back.
//!
//! Failures are classified for the retry policy: what failed before anything was sent is `transient`; what failed after, with a
//! method that changes things, is `ambiguous`.

mod client;
mod outgoing;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use serde::Deserialize;
use throughline_schemas::connector::{ConnectorError, ErrorClass, HttpRequest, HttpResponse};
use tokio::time::Instant;
use wasmtime::component::Resource;

pub(crate) use client::Clients;
use outgoing::Outgoing;

use super::{millis_or, parse_options};
use crate::call::bug;
use crate::connection::Connection;
use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, request_from_guest, response_to_guest, types};

const TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS: u32 = 5;
const MOST_REDIRECTS: u32 = 20;

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
        let sent = send(self.connection.clone(), request_from_guest(request), options);
        let response = self.or_cancelled(sent).await;
        response.map(response_to_guest).map_err(|error| self.guest_error(error))
    }
}

impl imports::http::HostDownload for Guest {
    async fn open(&mut self, request: types::HttpRequest, options: Option<String>) -> Result<Resource<Download>, types::Error> {
        let opened = match self.check_sockets() {
            Ok(()) => self.or_cancelled(open(self.connection.clone(), request_from_guest(request), options)).await,
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

async fn send(
    connection: std::sync::Arc<Connection>,
    request: HttpRequest,
    options: Option<String>,
) -> Result<HttpResponse, ConnectorError> {
    let options: Options = parse_options(options)?;
    let safe = is_safe(&request.method);
    let work = async {
        let response = follow(&connection, request, &options).await?;
        let head = head_of(&response, &connection);
        let body = collect(response.into_body(), options.max_body(&connection), safe).await?;
        Ok(HttpResponse { body: connection.redactor.bytes(body), ..head })
    };
    match tokio::time::timeout(options.timeout(), work).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(options.timeout(), safe)),
    }
}

async fn open(connection: std::sync::Arc<Connection>, request: HttpRequest, options: Option<String>) -> Result<Download, ConnectorError> {
    let options: Options = parse_options(options)?;
    let safe = is_safe(&request.method);
    match tokio::time::timeout(options.timeout(), follow(&connection, request, &options)).await {
        Ok(Ok(response)) => {
            let head = head_of(&response, &connection);
            Ok(Download { head, body: response.into_body(), rest: Bytes::new(), timeout: options.timeout() })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(timed_out(options.timeout(), safe)),
    }
}

/// Sends the request and follows redirects, each hop checked like the first.
async fn follow(connection: &Connection, request: HttpRequest, options: &Options) -> Result<Response<Incoming>, ConnectorError> {
    let mut outgoing = Outgoing::new(connection, request, options.secrets_in_body)?;
    let redirects = options.redirects.unwrap_or(REDIRECTS).min(MOST_REDIRECTS);
    for _ in 0..=redirects {
        connection.dialer.allow(&outgoing.target)?;
        let response = connection.clients.send(outgoing.to_request()?, options.ca_pem.as_deref(), outgoing.is_safe()).await?;
        if redirects == 0 || !is_redirect(response.status()) {
            return Ok(response);
        }
        let Some(location) = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok()) else {
            return Ok(response);
        };
        outgoing = outgoing.redirected(response.status(), location)?;
    }
    Err(ConnectorError::new(ErrorClass::Config, format!("more than {redirects} redirects")))
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

async fn collect(mut body: Incoming, limit: usize, safe: bool) -> Result<Vec<u8>, ConnectorError> {
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
