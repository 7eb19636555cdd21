//! The HTTP client of one connection: kept-alive connections, each opened by the [`Dialer`], so none goes to an unchecked address.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use throughline_schemas::connector::ConnectorError;
use tokio_rustls::rustls::ClientConfig;
use tower_service::Service;
use url::Url;

use super::unknown_outcome;
use crate::call::bug;
use crate::dial::{CONNECT_TIMEOUT, Dialer, Stream};
use crate::grants::Target;

const IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 2;
/// A connection needs one, or two while an authority is being replaced.
const MOST_CLIENTS: usize = 4;

type HttpClient = Client<Connector, Full<Bytes>>;

/// One client for each set of trusted authorities.
pub(crate) struct Clients {
    dialer: Arc<Dialer>,
    by_authority: Mutex<BTreeMap<Option<String>, HttpClient>>,
}

impl Clients {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, by_authority: Mutex::new(BTreeMap::new()) }
    }

    /// Sends one request. The caller has asked the grants; the address is checked when a connection is opened for it.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        ca_pem: Option<&str>,
        safe: bool,
    ) -> Result<Response<Incoming>, ConnectorError> {
        let client = self.client(ca_pem)?;
        client.request(request).await.map_err(|error| classified(&error, safe))
    }

    fn client(&self, ca_pem: Option<&str>) -> Result<HttpClient, ConnectorError> {
        let mut clients = self.by_authority.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = ca_pem.map(ToOwned::to_owned);
        if let Some(client) = clients.get(&authority) {
            return Ok(client.clone());
        }
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        let connector = Connector { dialer: self.dialer.clone(), tls: self.dialer.trust.config(ca_pem)? };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        clients.insert(authority, client.clone());
        Ok(client)
    }
}

fn classified(error: &hyper_util::client::legacy::Error, safe: bool) -> ConnectorError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    let mut message = error.to_string();
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<ConnectorError>() {
            return ours.clone();
        }
        message = cause.to_string();
        source = cause.source();
    }
    unknown_outcome(format!("the request failed: {message}"), safe || error.is_connect())
}

#[derive(Clone)]
struct Connector {
    dialer: Arc<Dialer>,
    tls: Arc<ClientConfig>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectorError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { dialer, tls } = self.clone();
        Box::pin(async move {
            let target = Url::parse(&uri.to_string()).map_err(|error| error.to_string()).and_then(|url| Target::of_url(&url));
            let stream = dialer.open(&target.map_err(bug)?, tls, CONNECT_TIMEOUT).await?;
            Ok(TokioIo::new(stream))
        })
    }
}
