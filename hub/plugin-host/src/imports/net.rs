//! `net.connection`: a byte stream to a granted host, with TLS from the start or by STARTTLS.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::component::Resource;

use super::{millis_or, parse_options};
use crate::call::bug;
use crate::connection::Connection;
use crate::dial::{CONNECT_TIMEOUT, Stream, transient};
use crate::grants::{Scheme, Target, bare};
use crate::guest::Guest;
use crate::template::{Place, render};
use crate::wit::v0_1_0::{imports, types};

const LARGEST_READ: u32 = 256 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    connect_timeout_ms: Option<u64>,
    ca_pem: Option<String>,
    server_name: Option<String>,
}

/// An open stream of a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Socket {
    /// None only while it is being encrypted, and after that failed.
    stream: Option<Stream>,
    target: Target,
}

impl imports::net::Host for Guest {}

impl imports::net::HostConnection for Guest {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        security: imports::net::Security,
        options: Option<String>,
    ) -> Result<Resource<Socket>, types::Error> {
        let scheme = match security {
            imports::net::Security::Plain => Scheme::Tcp,
            imports::net::Security::Tls => Scheme::Tls,
        };
        let opened = match self.check_sockets() {
            Ok(()) => self.or_cancelled(connect(self.connection.clone(), scheme, host, port, options)).await,
            Err(error) => Err(error),
        };
        let opened = opened.and_then(|socket| self.table.push(socket).map_err(|error| bug(error.to_string())));
        opened.inspect(|_| self.sockets += 1).map_err(|error| self.guest_error(error))
    }

    async fn start_tls(&mut self, socket: Resource<Socket>, options: Option<String>) -> Result<(), types::Error> {
        let encrypted = match self.table.get_mut(&socket) {
            Ok(socket) => start_tls(&self.connection, socket, options).await,
            Err(error) => Err(bug(error.to_string())),
        };
        encrypted.map_err(|error| self.guest_error(error))
    }

    async fn read(&mut self, socket: Resource<Socket>, max: u32, timeout_ms: u32) -> Result<Vec<u8>, types::Error> {
        let cancel = self.or_cancelled(std::future::pending::<Result<(), ConnectorError>>());
        let read = match self.table.get_mut(&socket) {
            Ok(socket) => tokio::select! {
                biased;
                ended = cancel => Err(ended.err().unwrap_or_else(crate::call::cancelled)),
                read = read(socket, max, timeout_ms) => read,
            },
            Err(error) => Err(bug(error.to_string())),
        };
        read.map_err(|error| self.guest_error(error))
    }

    async fn write(&mut self, socket: Resource<Socket>, data: Vec<u8>) -> Result<(), types::Error> {
        self.socket_write(&socket, &data).await.map_err(|error| self.guest_error(error))
    }

    async fn write_secret(&mut self, socket: Resource<Socket>, template: String) -> Result<(), types::Error> {
        let connection = self.connection.clone();
        let rendered = self.or_cancelled(rendered(connection, template)).await;
        // A socket exists only towards a granted host, so that the secret may go there.
        let written = match rendered {
            Ok(rendered) => self.socket_write(&socket, rendered.as_bytes()).await,
            Err(error) => Err(error),
        };
        written.map_err(|error| self.guest_error(error))
    }

    async fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        self.sockets = self.sockets.saturating_sub(1);
        Ok(())
    }
}

async fn rendered(connection: Arc<Connection>, template: String) -> Result<String, ConnectorError> {
    let secrets = connection.secrets_for([template.as_str()]).await?;
    Ok(render(&template, &secrets, Place::Line)?.text)
}

impl Guest {
    async fn socket_write(&mut self, socket: &Resource<Socket>, data: &[u8]) -> Result<(), ConnectorError> {
        if self.is_cancelled() {
            return Err(crate::call::cancelled());
        }
        let Socket { stream, target } = self.table.get_mut(socket).map_err(|error| bug(error.to_string()))?;
        let stream = stream.as_mut().ok_or_else(|| closed(target))?;
        let write = async {
            stream.write_all(data).await?;
            stream.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(transient(format!("{target}: cannot write: {error}"))),
            Err(_) => Err(ConnectorError::new(ErrorClass::Ambiguous, format!("{target}: it takes nothing more"))),
        }
    }
}

async fn connect(
    connection: Arc<Connection>,
    scheme: Scheme,
    host: String,
    port: u16,
    options: Option<String>,
) -> Result<Socket, ConnectorError> {
    let options: Options = parse_options(options)?;
    let target = Target::new(scheme, &host, port).map_err(bug)?;
    let timeout = millis_or(options.connect_timeout_ms, CONNECT_TIMEOUT);
    let stream = connection.dialer.connect(&target, timeout).await?;
    let stream = match scheme {
        Scheme::Tls => {
            let config = connection.dialer.trust.config(options.ca_pem.as_deref())?;
            let name = options.server_name.unwrap_or_else(|| bare(&target.host));
            connection.dialer.encrypt(stream, &name, config, timeout).await?
        }
        _ => Stream::Plain(stream),
    };
    Ok(Socket { stream: Some(stream), target })
}

async fn start_tls(connection: &Connection, socket: &mut Socket, options: Option<String>) -> Result<(), ConnectorError> {
    let options: Options = parse_options(options)?;
    let config = connection.dialer.trust.config(options.ca_pem.as_deref())?;
    match socket.stream.take() {
        Some(Stream::Plain(stream)) => {
            let name = options.server_name.unwrap_or_else(|| bare(&socket.target.host));
            let timeout = millis_or(options.connect_timeout_ms, CONNECT_TIMEOUT);
            socket.stream = Some(connection.dialer.encrypt(stream, &name, config, timeout).await?);
            Ok(())
        }
        Some(encrypted) => {
            socket.stream = Some(encrypted);
            Err(bug("the stream is encrypted already"))
        }
        None => Err(closed(&socket.target)),
    }
}

async fn read(socket: &mut Socket, max: u32, timeout_ms: u32) -> Result<Vec<u8>, ConnectorError> {
    let Socket { stream, target } = socket;
    let stream = stream.as_mut().ok_or_else(|| closed(target))?;
    let mut buffer = vec![0; usize::try_from(max.clamp(1, LARGEST_READ)).unwrap_or(1)];
    match tokio::time::timeout(Duration::from_millis(timeout_ms.into()), stream.read(&mut buffer)).await {
        Ok(Ok(count)) => {
            buffer.truncate(count);
            Ok(buffer)
        }
        // Many servers leave out TLS's farewell: for a guest that is the end as well.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Ok(Err(error)) => Err(transient(format!("{target}: cannot read: {error}"))),
        Err(_) => Err(transient(format!("{target}: no data within {timeout_ms} ms")).with_details(serde_json::json!({"timeout": true}))),
    }
}

fn closed(target: &Target) -> ConnectorError {
    transient(format!("{target}: the stream is closed"))
}
