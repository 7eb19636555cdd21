//! Opens connections for guests: asks the grants, resolves the name once, judges each address, connects to exactly what it judged,
//! and speaks TLS. The only way from a guest to the network; HTTP, streams and WebSockets all come through here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use throughline_domain::connector::{BoxFuture, PluginError};
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Host;

use crate::address::{Reach, reach};
use crate::grants::{Reachable, Target, bare};

/// How long connecting, TLS included, may take unless the guest says otherwise.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Turns a host name into addresses.
pub trait Resolver: Send + Sync {
    /// All addresses of the name.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// The roots a connection trusts, and TLS settings made of them.
#[derive(Clone)]
pub(crate) struct Trust {
    roots: RootCertStore,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The public authorities, and these.
    pub(crate) fn new(extra_ca_pem: Option<&str>) -> Result<Self, PluginError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = extra_ca_pem {
            add_pem(&mut roots, pem).map_err(|error| PluginError::Internal(format!("extra certificate authorities: {error}")))?;
        }
        let config = client_config(&roots).map_err(PluginError::Internal)?;
        Ok(Self { roots, config })
    }

    /// These settings, with one more authority if the guest names one.
    pub(crate) fn config(&self, ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, ConnectorError> {
        let Some(pem) = ca_pem else { return Ok(self.config.clone()) };
        let mut roots = self.roots.clone();
        let config = add_pem(&mut roots, pem).and_then(|()| client_config(&roots));
        config.map_err(|error| ConnectorError::new(ErrorClass::Config, format!("ca_pem: {error}")).with_field("ca_pem"))
    }
}

fn add_pem(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("not PEM certificates: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        added += 1;
    }
    if added == 0 { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}

fn client_config(roots: &RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots.clone()).with_no_client_auth()))
}

/// Opens what one connection may open.
pub(crate) struct Dialer {
    pub(crate) reachable: Reachable,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) trust: Trust,
    /// For the log: which connection, which plugin.
    pub(crate) connection: String,
    pub(crate) plugin: String,
}

impl Dialer {
    /// Refuses what is not granted, and logs the grant that would allow it.
    pub(crate) fn allow(&self, target: &Target) -> Result<(), ConnectorError> {
        if self.reachable.allows(target) {
            return Ok(());
        }
        Err(self.denied(target, "it is not granted", &self.reachable.missing_grant(target)))
    }

    fn denied(&self, target: &Target, why: &str, grant: &str) -> ConnectorError {
        tracing::warn!(connection = self.connection, plugin = self.plugin, %target, grant, "denied to the connector: {why}");
        ConnectorError::new(ErrorClass::Permission, format!("{target} may not be reached: {why}"))
            .with_details(serde_json::json!({"denied": target.to_string(), "grant": grant}))
    }

    /// Connects to a granted target, without TLS.
    pub(crate) async fn connect(&self, target: &Target, timeout: Duration) -> Result<TcpStream, ConnectorError> {
        self.allow(target)?;
        match tokio::time::timeout(timeout, self.connect_checked(target)).await {
            Ok(result) => result,
            Err(_) => Err(transient(format!("{target}: not connected within {} ms", timeout.as_millis()))),
        }
    }

    async fn connect_checked(&self, target: &Target) -> Result<TcpStream, ConnectorError> {
        let mut last = None;
        for address in self.addresses(target).await? {
            match TcpStream::connect(SocketAddr::new(address, target.port)).await {
                Ok(stream) => {
                    // Connectors exchange short lines and requests: waiting to fill packets only adds delay.
                    stream.set_nodelay(true).map_err(|error| transient(format!("{target}: {error}")))?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        let reason = last.map_or_else(|| "the name has no address".to_owned(), |error| error.to_string());
        Err(transient(format!("{target}: cannot connect: {reason}")))
    }

    /// The target's addresses that may be reached. One lookup: what is judged here is what is connected to.
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, ConnectorError> {
        let name = bare(&target.host);
        let all = match target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain(_) => {
                self.resolver.resolve(&name).await.map_err(|error| transient(format!("{target}: the name cannot be resolved: {error}")))?
            }
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in all {
            match self.judge(&name, address) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some((why, address)),
            }
        }
        match refused {
            Some((why, address)) if allowed.is_empty() => Err(self.denied_address(target, &name, why, address)),
            _ => Ok(allowed),
        }
    }

    fn judge(&self, name: &str, address: IpAddr) -> Result<(), &'static str> {
        let named = || self.reachable.allows_private(&address.to_string());
        match reach(address) {
            Reach::Public => Ok(()),
            Reach::Private(_) if self.reachable.allows_private(name) || named() => Ok(()),
            Reach::Metadata if named() => Ok(()),
            Reach::Private(why) | Reach::Never(why) => Err(why),
            Reach::Metadata => Err("a metadata service's address"),
        }
    }

    fn denied_address(&self, target: &Target, name: &str, why: &str, address: IpAddr) -> ConnectorError {
        let grant = match reach(address) {
            Reach::Never(_) => "none: such an address is never reached".to_owned(),
            Reach::Metadata => format!("grants.private_hosts: {:?}", address.to_string()),
            _ => format!("grants.private_hosts: {name:?}"),
        };
        // The address itself stays out of the error: a guest must not map our network by asking.
        self.denied(target, &format!("it leads to {why}"), &grant)
    }

    /// TLS over an open stream; the certificate must be good for `name`.
    pub(crate) async fn encrypt(
        &self,
        stream: TcpStream,
        name: &str,
        config: Arc<ClientConfig>,
        timeout: Duration,
    ) -> Result<Stream, ConnectorError> {
        let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(bare)
            .map_err(|_| ConnectorError::new(ErrorClass::Config, format!("{name:?} is not a name a certificate can be checked for")))?;
        match tokio::time::timeout(timeout, TlsConnector::from(config).connect(server, stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(tls_error(name, &error)),
            Err(_) => Err(transient(format!("{name}: no TLS within {} ms", timeout.as_millis()))),
        }
    }

    /// Connects, with TLS where the scheme says so.
    pub(crate) async fn open(&self, target: &Target, config: Arc<ClientConfig>, timeout: Duration) -> Result<Stream, ConnectorError> {
        let stream = self.connect(target, timeout).await?;
        if target.scheme.is_encrypted() {
            return self.encrypt(stream, &bare(&target.host), config, timeout).await;
        }
        Ok(Stream::Plain(stream))
    }
}

/// A failure that another attempt may not meet.
pub(crate) fn transient(message: String) -> ConnectorError {
    ConnectorError::new(ErrorClass::Transient, message)
}

fn tls_error(name: &str, error: &io::Error) -> ConnectorError {
    use tokio_rustls::rustls::Error as Tls;
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    match cause {
        Some(Tls::InvalidCertificate(why)) => {
            let message =
                format!("{name}: its certificate is not trusted ({why:?}); if it has a private authority, give that authority's PEM");
            ConnectorError::new(ErrorClass::Config, message)
        }
        Some(Tls::InvalidMessage(_)) => {
            ConnectorError::new(ErrorClass::Config, format!("{name}: it does not speak TLS on this port; use STARTTLS or another port"))
        }
        Some(cause) => ConnectorError::new(ErrorClass::Config, format!("{name}: TLS failed: {cause}")),
        None => transient(format!("{name}: TLS failed: {error}")),
    }
}

/// An open stream, with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
