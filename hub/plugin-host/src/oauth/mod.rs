//! OAuth 2.0 (RFC 6749, RFC 6750, PKCE by RFC 7636) for a connection: keeps its access token good, so that no plugin has to.
//!
//! The tokens are secrets with fixed names. A template that asks for `{secret:oauth_access_token}` gets one that is not about to
//! expire; a token that the silo refuses is replaced once. There is one refresh at a time for each connection, and it goes on when the
//! call that asked for it is given up: an answer that is lost may hold the only refresh token that is still good. For the same reason
//! new tokens are stored durably before they are used.
//!
//! It knows no plugin and no browser; who begins the dance and where the user comes back to is the hub's affair.

mod authorize;
mod endpoint;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use throughline_domain::connector::{PluginError, Secret};
use throughline_schemas::connector::{ConnectorError, ErrorClass};
use throughline_schemas::manifest::{AuthMethod, Manifest};
use url::Url;

pub(crate) use authorize::{authorize_url, connect};

use crate::connection::Connection;
use crate::dial::transient;
use crate::grants::{Scheme, Target, filled};
use crate::secret_book::Secrets;
use endpoint::{Refusal, Tokens};

pub(crate) const CLIENT_ID: &str = "oauth_client_id";
pub(crate) const CLIENT_SECRET: &str = "oauth_client_secret";
pub(crate) const REFRESH_TOKEN: &str = "oauth_refresh_token";
pub(crate) const ACCESS_TOKEN: &str = "oauth_access_token";
/// When the access token expires, in milliseconds of the epoch; kept with the tokens so that a restart knows.
pub(crate) const EXPIRES_AT: &str = "oauth_expires_at";

const ACCESS_TOKEN_TEMPLATE: &str = "{secret:oauth_access_token}";
/// So long before it expires a token is replaced: requests take time and clocks differ.
const SKEW_MS: i64 = 60_000;

/// What a connection needs for OAuth, and what it is doing about it.
pub(crate) struct Oauth {
    authorize_url: Url,
    token_url: Url,
    token_target: Target,
    scopes: Vec<String>,
    /// How many refreshes have ended: who waited for one takes its result.
    landed: AtomicU64,
    /// Held while tokens are being had.
    flight: tokio::sync::Mutex<Flight>,
}

struct Flight {
    last: Result<(), ConnectorError>,
    /// Tokens that could not be stored yet. The refresh token they replace may be good for nothing any more.
    unsaved: Option<Tokens>,
    /// The refresh token that the silo does not accept any more.
    refused: Option<Secret>,
    /// Whether this token endpoint wants the client's secret in a header rather than in the form.
    basic: bool,
}

impl Oauth {
    /// What the manifest declares, with the config's values; none if it declares no OAuth or the config leaves a needed field out.
    pub(crate) fn resolve(manifest: &Manifest, config: &Value) -> Result<Option<Self>, PluginError> {
        let declared = manifest.auth.iter().find_map(|method| match method {
            AuthMethod::Oauth2 { authorize_url, token_url, scopes } => Some((authorize_url, token_url, scopes)),
            _ => None,
        });
        let Some((authorize_url, token_url, scopes)) = declared else { return Ok(None) };
        let resolved = |name: &str, template: &str| {
            let url = filled(template, manifest, config).and_then(|url| url.map(|url| web_url(&url)).transpose());
            url.map_err(|detail| PluginError::Grants(format!("OAuth's {name} {template:?}: {detail}")))
        };
        let (Some(authorize_url), Some(token_url)) = (resolved("authorize_url", authorize_url)?, resolved("token_url", token_url)?) else {
            return Ok(None);
        };
        let token_target = Target::of_url(&token_url).map_err(PluginError::Grants)?;
        let flight = Flight { last: Ok(()), unsaved: None, refused: None, basic: false };
        let (landed, flight) = (AtomicU64::new(0), tokio::sync::Mutex::new(flight));
        Ok(Some(Self { authorize_url, token_url, token_target, scopes: scopes.clone(), landed, flight }))
    }
}

fn web_url(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    let target = Target::of_url(&url)?;
    if !matches!(target.scheme, Scheme::Https | Scheme::Http) || !url.username().is_empty() || url.password().is_some() {
        return Err("it must be http or https, without a user".to_owned());
    }
    Ok(url)
}

/// Whether a template asks for the access token.
pub(crate) fn asks_for_token(template: &str) -> bool {
    template.contains(ACCESS_TOKEN_TEMPLATE)
}

/// The secrets that must be kept out of logs: a time of day is none, and would be found in data.
pub(crate) fn without_expiry(secrets: &Secrets) -> Secrets {
    secrets.iter().filter(|(name, _)| *name != EXPIRES_AT).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Sees to it that the access token is there and not about to expire.
pub(crate) async fn ensure_fresh(connection: &Arc<Connection>) -> Result<(), ConnectorError> {
    let standing = standing(&connection.secrets.all(), connection.services.now().as_millis());
    match standing {
        Standing::Good => Ok(()),
        Standing::Missing => Err(not_connected()),
        Standing::Expiring => {
            let outcome = refresh(connection, None).await;
            // A token that is only about to expire is better than none.
            if outcome.as_ref().is_err_and(|error| error.class != ErrorClass::Auth) { Ok(()) } else { outcome }
        }
        Standing::Expired => refresh(connection, None).await,
    }
}

/// Replaces a token that the silo refused; false if there is nothing to replace it with.
pub(crate) async fn replace(connection: &Arc<Connection>, refused: &Secret) -> Result<bool, ConnectorError> {
    if !has(&connection.secrets.all(), REFRESH_TOKEN) && is_current(connection, refused) {
        return Ok(false);
    }
    refresh(connection, Some(refused.clone())).await.map(|()| true)
}

/// Waits for the refresh that is under way, if one is, so that whoever opens the connection next finds its tokens.
pub(crate) async fn settled(connection: &Connection, within: Duration) {
    if let Some(oauth) = &connection.oauth
        && tokio::time::timeout(within, oauth.flight.lock()).await.is_err()
    {
        tracing::warn!(connection = connection.id, "a token refresh is still under way while the connection is closed");
    }
}

/// How it stands with the access token.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Still good, but not for long.
    Expiring,
    /// Not there or no longer good, and there is a refresh token.
    Expired,
    /// Not there, and nothing to get one with.
    Missing,
}

fn standing(secrets: &Secrets, now_ms: i64) -> Standing {
    let can_refresh = has(secrets, REFRESH_TOKEN);
    if !has(secrets, ACCESS_TOKEN) {
        return if can_refresh { Standing::Expired } else { Standing::Missing };
    }
    let expires_at = secrets.get(EXPIRES_AT).and_then(|at| at.expose().parse::<i64>().ok());
    match expires_at {
        // Without a refresh token only the silo can say that this one is not good any more.
        Some(at) if can_refresh && at <= now_ms => Standing::Expired,
        Some(at) if can_refresh && at.saturating_sub(SKEW_MS) <= now_ms => Standing::Expiring,
        _ => Standing::Good,
    }
}

fn has(secrets: &Secrets, name: &str) -> bool {
    secrets.get(name).is_some_and(|value| !value.expose().is_empty())
}

fn is_current(connection: &Connection, token: &Secret) -> bool {
    connection.secrets.all().get(ACCESS_TOKEN) == Some(token)
}

/// Has the tokens refreshed, by the refresh under way if there is one. With a `refused` token it is done only if that one is still
/// the current one, else only if the current one is stale.
async fn refresh(connection: &Arc<Connection>, refused: Option<Secret>) -> Result<(), ConnectorError> {
    let Some(oauth) = &connection.oauth else { return Err(not_connected()) };
    let landed = oauth.landed.load(Ordering::Acquire);
    let connection = connection.clone();
    let work = async move {
        let Some(oauth) = &connection.oauth else { return Err(not_connected()) };
        let mut flight = oauth.flight.lock().await;
        if oauth.landed.load(Ordering::Acquire) != landed {
            return flight.last.clone();
        }
        let needed = match &refused {
            Some(refused) => is_current(&connection, refused),
            None => standing(&connection.secrets.all(), connection.services.now().as_millis()) != Standing::Good,
        };
        if !needed {
            return Ok(());
        }
        let outcome = renew(&connection, oauth, &mut flight).await;
        flight.last.clone_from(&outcome);
        oauth.landed.fetch_add(1, Ordering::Release);
        outcome
    };
    // A task of its own: the call that began it may be given up, the answer must not be.
    tokio::spawn(work).await.unwrap_or_else(|_| Err(transient("the token refresh was broken off".to_owned())))
}

async fn renew(connection: &Connection, oauth: &Oauth, flight: &mut Flight) -> Result<(), ConnectorError> {
    if let Some(tokens) = flight.unsaved.take() {
        return keep(connection, flight, tokens).await;
    }
    let secrets = connection.secrets.all();
    let refresh_token = secrets.get(REFRESH_TOKEN).ok_or_else(not_connected)?;
    if flight.refused.as_ref() == Some(refresh_token) {
        return Err(connect_again());
    }
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
    match endpoint::ask(connection, oauth, &mut flight.basic, &form).await {
        Ok(tokens) => {
            tracing::info!(connection = connection.id, rotated = tokens.contains_key(REFRESH_TOKEN), "the access token was refreshed");
            keep(connection, flight, tokens).await
        }
        Err(Refusal::Grant) => {
            flight.refused = Some(refresh_token.clone());
            Err(connect_again())
        }
        Err(Refusal::Other(error)) => Err(connection.redactor.error(error)),
    }
}

/// Stores new tokens durably, then lets them be used.
async fn keep(connection: &Connection, flight: &mut Flight, tokens: Tokens) -> Result<(), ConnectorError> {
    let learned = connection.redactor.learn(without_expiry(&tokens).into_values());
    learned.map_err(|error| ConnectorError::new(ErrorClass::Bug, error.to_string()))?;
    if let Err(error) = connection.services.store_secrets(tokens.clone()).await {
        flight.unsaved = Some(tokens);
        return Err(error);
    }
    flight.refused = None;
    connection.secrets.update(tokens);
    Ok(())
}

fn not_connected() -> ConnectorError {
    let remedy = "the connection has no OAuth tokens: connect it, or set the secret oauth_refresh_token";
    ConnectorError::new(ErrorClass::Auth, remedy).with_field(ACCESS_TOKEN)
}

fn connect_again() -> ConnectorError {
    let remedy = "the silo does not accept the connection's refresh token any more (invalid_grant): connect again";
    ConnectorError::new(ErrorClass::Auth, remedy).with_field(REFRESH_TOKEN)
}

/// The value under a name, as text.
fn text<'s>(secrets: &'s BTreeMap<String, Secret>, name: &str) -> Option<&'s str> {
    secrets.get(name).map(Secret::expose).filter(|value| !value.is_empty())
}
