//! A connection that says in its errors which of the mailbox's two servers they are about.
//!
//! The hub names host and port of what failed, but a person who reads "connection reset" in a connection's health wants to know
//! whether mail no longer comes in or no longer goes out.

use throughline_plugin_sdk::net::{ConnectOptions, Connection, Security};
use throughline_plugin_sdk::{Error, Result};

/// An open connection to the server of one protocol.
pub(crate) struct Peer {
    protocol: &'static str,
    connection: Connection,
}

impl Peer {
    /// Connects to the server of this protocol, `IMAP` or `SMTP`.
    pub(crate) fn connect(protocol: &'static str, host: &str, port: u16, security: Security, options: &ConnectOptions) -> Result<Self> {
        let connection = Connection::connect(host, port, security, options).map_err(|error| about(protocol, error))?;
        Ok(Self { protocol, connection })
    }

    /// Turns TLS on.
    pub(crate) fn start_tls(&self, options: &ConnectOptions) -> Result<()> {
        self.named(self.connection.start_tls(options))
    }

    /// What arrived; never empty, for the server's hanging up is an error.
    pub(crate) fn read(&self, max: usize, timeout_ms: u32) -> Result<Vec<u8>> {
        let bytes = self.named(self.connection.read(max, timeout_ms))?;
        if bytes.is_empty() {
            return Err(crate::errors::transient(format!("the {} server closed the connection", self.protocol)));
        }
        Ok(bytes)
    }

    /// Writes all of it.
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        self.named(self.connection.write(data))
    }

    /// Writes a template with secrets put in by the hub.
    pub(crate) fn write_secret(&self, template: &str) -> Result<()> {
        self.named(self.connection.write_secret(template))
    }

    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| about(self.protocol, error))
    }
}

fn about(protocol: &str, error: Error) -> Error {
    Error { message: format!("{protocol}: {}", error.message), ..error }
}
