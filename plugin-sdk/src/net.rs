//! Connections by name: the hub resolves, checks the grant, does TLS and STARTTLS.

use serde::Serialize;

use crate::{Error, ErrorClass, Result, Value, sys};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear; [`Connection::start_tls`] may follow.
    Plain,
    /// With TLS from the first byte.
    Tls,
}

/// How to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConnectOptions {
    /// How long to wait for the connection; the hub's default is 10 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// A private authority to trust, for this connection only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// The name to expect in the certificate, if it is not the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl ConnectOptions {
    fn to_json(&self) -> Result<Option<String>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let text = serde_json::to_string(self).map_err(|error| Error::new(ErrorClass::Bug, error.to_string()))?;
        Ok(Some(text))
    }
}

/// An open connection; dropping it closes it.
pub struct Connection(sys::Connection);

impl Connection {
    /// Connects.
    pub fn connect(host: &str, port: u16, security: Security, options: &ConnectOptions) -> Result<Self> {
        sys::Connection::connect(host, port, security, options.to_json()?.as_deref()).map(Self)
    }
    /// Turns TLS on, after the protocol's own agreement to do so.
    pub fn start_tls(&self, options: &ConnectOptions) -> Result<()> {
        self.0.start_tls(options.to_json()?.as_deref())
    }
    /// What arrived, at most `max` bytes; empty when the peer closed. Nothing in time is an error whose
    /// [`is_timeout`](crate::Error::is_timeout) is true.
    pub fn read(&self, max: usize, timeout_ms: u32) -> Result<Vec<u8>> {
        self.0.read(u32::try_from(max).unwrap_or(u32::MAX), timeout_ms)
    }
    /// Writes all of it.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(data)
    }
    /// Writes a template with [`secrets`](crate::secrets) put in by the hub.
    pub fn write_secret(&self, template: &str) -> Result<()> {
        self.0.write_secret(template)
    }
}

/// An open WebSocket; dropping it closes it.
pub struct WebSocket(sys::WebSocket);

impl WebSocket {
    /// Opens one: `{"url": "wss://…", "headers": {…}, "subprotocols": […], "ca_pem": "…", "ping_interval_ms": 20000}`.
    pub fn open(request: &Value) -> Result<Self> {
        sys::WebSocket::open(&request.to_string()).map(Self)
    }
    /// The next message; none if nothing arrived in time. Class `gone`: the peer closed.
    pub fn receive(&self, timeout_ms: u32) -> Result<Option<Vec<u8>>> {
        self.0.receive(timeout_ms)
    }
    /// Sends a text message.
    pub fn send_text(&self, text: &str) -> Result<()> {
        self.0.send(text.as_bytes(), true)
    }
    /// Sends a binary message.
    pub fn send_binary(&self, data: &[u8]) -> Result<()> {
        self.0.send(data, false)
    }
}
