//! Sends outbound webhooks, under the same rules of what may be reached as plugins: public addresses, and private ones only on hosts that
//! the admin named. A name is resolved once for each connection, and what was judged is what is connected to. Redirects are not followed.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use throughline_domain::connector::{BoxFuture, PluginError};
use throughline_domain::outbound::{Answered, Post, PostError, Poster};
use throughline_schemas::connector::ErrorClass;
use url::Url;

use crate::budgets::retry_after;
use crate::dial::{Dialer, Resolver, Trust};
use crate::grants::{Reachable, Target, bare};
use crate::imports::http::Clients;

const USER_AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));
/// The longest URL.
const LONGEST_URL: usize = 2000;

/// Posts to webhooks.
pub struct Outbound {
    clients: Clients,
    reachable: Reachable,
}

impl Outbound {
    /// Trusts the public authorities and `extra_ca_pem`; `private_hosts` are names and addresses that may be private, loopback or
    /// link-local, and may be spoken to without TLS.
    ///
    /// # Errors
    /// If a host is no host, or the PEM is none.
    pub fn new(extra_ca_pem: Option<&str>, private_hosts: &[String], resolver: Arc<dyn Resolver>) -> Result<Arc<Self>, PluginError> {
        let reachable = Reachable::anywhere(private_hosts)?;
        let dialer = Dialer {
            reachable: reachable.clone(),
            resolver,
            trust: Trust::new(extra_ca_pem)?,
            connection: "webhooks".to_owned(),
            plugin: String::new(),
        };
        Ok(Arc::new(Self { clients: Clients::new(Arc::new(dialer)), reachable }))
    }

    fn checked(&self, url: &str) -> Result<Url, String> {
        if url.len() > LONGEST_URL {
            return Err(format!("a URL of at most {LONGEST_URL} bytes is needed"));
        }
        let url = Url::parse(url).map_err(|error| format!("this is no URL: {error}; write https://host/path"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("leave user and password out of the URL; what we send is signed".to_owned());
        }
        let host = || Target::of_url(&url).map(|target| bare(&target.host));
        match url.scheme() {
            "https" => host().map(|_| ())?,
            "http" if self.reachable.allows_private(&host()?) => {}
            "http" => {
                return Err(
                    "it must be https; plain http only to a host under [webhooks] private_hosts in the hub's configuration".to_owned()
                );
            }
            other => return Err(format!("the scheme {other:?} cannot be posted to; write https://host/path")),
        }
        Ok(url)
    }

    async fn send(&self, post: Post) -> Result<Answered, PostError> {
        let url = self.checked(&post.url).map_err(PostError::Refused)?;
        let mut request = Request::builder().method(Method::POST).uri(url.as_str()).header(header::USER_AGENT, USER_AGENT);
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(post.body))).map_err(|error| PostError::Refused(error.to_string()))?;
        let response = self.clients.send(request, None, false).await.map_err(|error| match error.class {
            ErrorClass::Permission => PostError::Refused(format!(
                "{}; if it is yours, name the host under [webhooks] private_hosts in the hub's configuration",
                error.message
            )),
            _ => PostError::Failed(error.message),
        })?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let asked = retry_after(response.headers(), i64::try_from(now_ms).unwrap_or(i64::MAX));
        let retry_after_ms = asked.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        Ok(Answered { status: response.status().as_u16(), retry_after_ms })
    }
}

impl Poster for Outbound {
    fn check(&self, url: &str) -> Result<(), String> {
        self.checked(url).map(drop)
    }

    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answered, PostError>> {
        Box::pin(self.send(post))
    }
}
