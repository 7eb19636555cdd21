//! What a guest may ask of us, one file for each capability. Nothing here panics on what a guest passes.

mod bare;
pub(crate) mod blobs;
mod emit;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod net;
mod secrets;
mod state;
pub(crate) mod wasi;
pub(crate) mod websocket;

use std::time::Duration;

use serde::de::DeserializeOwned;
use throughline_schemas::connector::ConnectorError;
use url::Url;

use crate::call::bug;
use crate::connection::Connection;
use crate::grants::Target;
use crate::guest::Guest;
use crate::secret_book::Secrets;
use crate::template::{Place, render};
use crate::wit::v0_1_0::{error_to_guest, types};

impl Guest {
    /// An error as this guest sees it: its own WIT type, without secrets.
    fn guest_error(&self, error: ConnectorError) -> types::Error {
        error_to_guest(error, &self.connection.redactor)
    }
}

/// Parses an import's `options`; unknown ones are refused, so that a typing error is noticed.
fn parse_options<T: DeserializeOwned + Default>(options: Option<String>) -> Result<T, ConnectorError> {
    match options {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str(&text).map_err(|fault| bug(format!("options: {fault}")).with_field("options")),
    }
}

/// The URL with secrets in its path and query, once its host is found to be granted. Secrets never go into the host: that would tell
/// them to name servers.
fn granted_url(connection: &Connection, secrets: &Secrets, template: &str) -> Result<Url, ConnectorError> {
    let invalid = |fault: url::ParseError| bug(format!("the URL is not valid: {fault}"));
    let (scheme, rest) = template.split_once("://").ok_or_else(|| bug("the URL must be absolute"))?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if scheme.contains('{') || authority.contains(['{', '@']) {
        return Err(bug("the URL's host must be plain: secrets go into headers, path or query, and users into a header"));
    }
    let origin = Url::parse(&format!("{scheme}://{authority}")).map_err(invalid)?;
    connection.dialer.allow(&Target::of_url(&origin).map_err(bug)?)?;
    let rest = render(rest, secrets, Place::Percent)?;
    let mut url = Url::parse(&format!("{scheme}://{authority}{}", rest.text)).map_err(invalid)?;
    url.set_fragment(None);
    Ok(url)
}

fn millis_or(millis: Option<u64>, default: Duration) -> Duration {
    millis.map_or(default, Duration::from_millis)
}
