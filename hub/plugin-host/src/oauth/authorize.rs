//! The dance: where the user is sent to consent, and what the code is exchanged for that comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use throughline_domain::connector::Secret;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::endpoint::{self, Refusal};
use super::{CLIENT_ID, Oauth, keep, text};
use crate::connection::Connection;

/// Where the user consents. `challenge` is PKCE's, by S256.
pub(crate) fn authorize_url(connection: &Connection, redirect_uri: &str, state: &str, challenge: &str) -> Result<String, ConnectorError> {
    let oauth = of(connection)?;
    let secrets = connection.secrets.all();
    let client_id = text(&secrets, CLIENT_ID).ok_or_else(|| {
        let remedy = format!("set the secret {CLIENT_ID:?}, and {:?} if the silo gave you one, first", super::CLIENT_SECRET);
        ConnectorError::new(ErrorClass::Config, remedy).with_field(format!("/secrets/{CLIENT_ID}"))
    })?;
    let mut url = oauth.authorize_url.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("state", state)
        .append_pair("code_challenge", challenge)
        .append_pair("code_challenge_method", "S256");
    if !oauth.scopes.is_empty() {
        query.append_pair("scope", &oauth.scopes.join(" "));
    }
    drop(query);
    Ok(url.into())
}

/// Exchanges the code for tokens, and stores them.
pub(crate) async fn connect(
    connection: Arc<Connection>,
    code: Secret,
    verifier: Secret,
    redirect_uri: String,
) -> Result<(), ConnectorError> {
    let oauth = of(&connection)?;
    // Should the endpoint repeat them in an error.
    let learned = connection.redactor.learn([code.clone(), verifier.clone()]);
    learned.map_err(|error| ConnectorError::new(ErrorClass::Bug, error.to_string()))?;
    let mut flight = oauth.flight.lock().await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", verifier.expose()),
    ];
    let tokens = endpoint::ask(&connection, oauth, &mut flight.basic, &form).await.map_err(|refusal| match refusal {
        Refusal::Grant => ConnectorError::new(ErrorClass::Auth, "the silo does not accept the code (invalid_grant): connect again"),
        Refusal::Other(error) => connection.redactor.error(error),
    })?;
    flight.unsaved = None;
    let kept = keep(&connection, &mut flight, tokens).await;
    flight.last.clone_from(&kept);
    oauth.landed.fetch_add(1, Ordering::Release);
    kept
}

fn of(connection: &Connection) -> Result<&Oauth, ConnectorError> {
    let missing = "the plugin declares no OAuth, or the config lacks a field that its authorize_url or token_url needs";
    connection.oauth.as_ref().ok_or_else(|| ConnectorError::new(ErrorClass::Unsupported, missing))
}
