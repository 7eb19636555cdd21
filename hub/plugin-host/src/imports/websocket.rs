//! `net.websocket`: messages to and from a granted host; keeps the connection alive with pings while the guest waits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use url::Url;
use wasmtime::component::Resource;

use super::{granted_url, millis_or};
use crate::call::bug;
use crate::connection::Connection;
use crate::dial::{CONNECT_TIMEOUT, Stream, transient};
use crate::grants::{Scheme, Target};
use crate::guest::Guest;
use crate::secret_book::Secrets;
use crate::template::{Place, render};
use crate::wit::v0_1_0::{imports, types};

const PING_EVERY: Duration = Duration::from_secs(20);
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenRequest {
    url: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    subprotocols: Vec<String>,
    ca_pem: Option<String>,
    connect_timeout_ms: Option<u64>,
    ping_interval_ms: Option<u64>,
}

/// An open WebSocket of a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct WebSocket {
    stream: WebSocketStream<Stream>,
    target: Target,
    ping_every: Duration,
    /// When the peer was last heard of.
    heard: Instant,
    pinged: Instant,
}

impl imports::net::HostWebsocket for Guest {
    async fn open(&mut self, request: String) -> Result<Resource<WebSocket>, types::Error> {
        let opened = match self.check_sockets() {
            Ok(()) => self.or_cancelled(open(self.connection.clone(), request)).await,
            Err(error) => Err(error),
        };
        let opened = opened.and_then(|socket| self.table.push(socket).map_err(|error| bug(error.to_string())));
        opened.inspect(|_| self.sockets += 1).map_err(|error| self.guest_error(error))
    }

    async fn receive(&mut self, socket: Resource<WebSocket>, timeout_ms: u32) -> Result<Option<Vec<u8>>, types::Error> {
        let cancel = self.or_cancelled(std::future::pending::<Result<(), ConnectorError>>());
        let received = match self.table.get_mut(&socket) {
            Ok(socket) => tokio::select! {
                biased;
                ended = cancel => Err(ended.err().unwrap_or_else(crate::call::cancelled)),
                received = receive(socket, Duration::from_millis(timeout_ms.into())) => received,
            },
            Err(error) => Err(bug(error.to_string())),
        };
        received.map_err(|error| self.guest_error(error))
    }

    async fn send(&mut self, socket: Resource<WebSocket>, message: Vec<u8>, text: bool) -> Result<(), types::Error> {
        let sent = match self.table.get_mut(&socket) {
            Ok(socket) => send(socket, message, text).await,
            Err(error) => Err(bug(error.to_string())),
        };
        sent.map_err(|error| self.guest_error(error))
    }

    async fn drop(&mut self, socket: Resource<WebSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        self.sockets = self.sockets.saturating_sub(1);
        Ok(())
    }
}

async fn open(connection: Arc<Connection>, request: String) -> Result<WebSocket, ConnectorError> {
    let request: OpenRequest = serde_json::from_str(&request).map_err(|fault| bug(format!("request: {fault}")))?;
    let timeout = millis_or(request.connect_timeout_ms, CONNECT_TIMEOUT);
    let templates = request.headers.values().map(String::as_str).chain([request.url.as_str()]);
    let secrets = connection.secrets_for(templates).await?;
    let url = granted_url(&connection, &secrets, &request.url)?;
    let target = Target::of_url(&url).map_err(bug)?;
    if !matches!(target.scheme, Scheme::Wss | Scheme::Ws) {
        return Err(bug("a WebSocket's URL begins with wss:// or ws://"));
    }
    let handshake = handshake(&secrets, &request, &url)?;
    let tls = connection.dialer.trust.config(request.ca_pem.as_deref())?;
    let stream = connection.dialer.open(&target, tls, timeout).await?;
    let limit = connection.limits.body_bytes();
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
    let upgraded = tokio::time::timeout(timeout, tokio_tungstenite::client_async_with_config(handshake, stream, Some(config))).await;
    let (stream, _) = upgraded
        .map_err(|_| transient(format!("{target}: no answer to the handshake within {} ms", timeout.as_millis())))?
        .map_err(|error| refused(&target, &error))?;
    let now = Instant::now();
    Ok(WebSocket { stream, target, ping_every: millis_or(request.ping_interval_ms, PING_EVERY), heard: now, pinged: now })
}

fn handshake(secrets: &Secrets, request: &OpenRequest, url: &Url) -> Result<Request<()>, ConnectorError> {
    let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    let mut handshake = Request::builder()
        .uri(url.as_str())
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if !request.subprotocols.is_empty() {
        handshake = handshake.header("Sec-WebSocket-Protocol", request.subprotocols.join(", "));
    }
    for (name, template) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bug(format!("{name:?} is not a header name")))?;
        let value = render(template, secrets, Place::Header)?;
        let value =
            HeaderValue::from_str(&value.text).map_err(|_| bug(format!("the value of the header {name} holds a control character")))?;
        if !is_ours(&name) {
            handshake = handshake.header(name, value);
        }
    }
    handshake.body(()).map_err(|error| bug(format!("the handshake cannot be sent: {error}")))
}

fn is_ours(name: &HeaderName) -> bool {
    [header::HOST, header::CONNECTION, header::UPGRADE].contains(name) || name.as_str().starts_with("sec-websocket-")
}

fn refused(target: &Target, error: &Error) -> ConnectorError {
    let Error::Http(response) = error else { return transient(format!("{target}: the handshake failed: {error}")) };
    let class = match response.status().as_u16() {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Permission,
        404 | 410 => ErrorClass::Gone,
        429 => ErrorClass::RateLimited,
        500..=599 => ErrorClass::Transient,
        _ => ErrorClass::Config,
    };
    ConnectorError::new(class, format!("{target}: the handshake was answered with {}", response.status()))
}

async fn receive(socket: &mut WebSocket, timeout: Duration) -> Result<Option<Vec<u8>>, ConnectorError> {
    let deadline = Instant::now() + timeout;
    loop {
        let next_ping = socket.heard.max(socket.pinged) + socket.ping_every;
        let wake = deadline.min(next_ping);
        match tokio::time::timeout_at(wake, socket.stream.next()).await {
            Ok(Some(Ok(message))) => {
                socket.heard = Instant::now();
                match message {
                    Message::Text(text) => return Ok(Some(text.as_bytes().to_vec())),
                    Message::Binary(bytes) => return Ok(Some(bytes.to_vec())),
                    Message::Close(_) => return Err(gone(socket)),
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            }
            Ok(Some(Err(error))) => return Err(failed(socket, &error)),
            Ok(None) => return Err(gone(socket)),
            Err(_) if Instant::now() >= deadline => return Ok(None),
            Err(_) => ping(socket).await?,
        }
    }
}

async fn ping(socket: &mut WebSocket) -> Result<(), ConnectorError> {
    let unanswered = socket.pinged > socket.heard;
    if unanswered {
        return Err(transient(format!("{}: no sign of life for {} ms", socket.target, socket.heard.elapsed().as_millis())));
    }
    socket.pinged = Instant::now();
    write(socket, Message::Ping(Bytes::new())).await
}

async fn send(socket: &mut WebSocket, message: Vec<u8>, text: bool) -> Result<(), ConnectorError> {
    let message = if text {
        Message::text(String::from_utf8(message).map_err(|_| bug("a text message must be UTF-8"))?)
    } else {
        Message::binary(message)
    };
    write(socket, message).await
}

async fn write(socket: &mut WebSocket, message: Message) -> Result<(), ConnectorError> {
    match tokio::time::timeout(WRITE_TIMEOUT, socket.stream.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(socket, &error)),
        Err(_) => Err(ConnectorError::new(ErrorClass::Ambiguous, format!("{}: it takes nothing more", socket.target))),
    }
}

fn gone(socket: &WebSocket) -> ConnectorError {
    ConnectorError::new(ErrorClass::Gone, format!("{}: the peer closed the WebSocket", socket.target))
}

fn failed(socket: &WebSocket, error: &Error) -> ConnectorError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => gone(socket),
        error => transient(format!("{}: {error}", socket.target)),
    }
}
