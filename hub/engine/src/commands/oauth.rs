//! The OAuth 2.0 dance as far as it is the hub's: who may come back, with what, and what becomes of the connection then.
//!
//! Nothing is kept between the two halves: the state that goes out and comes back is signed, bound to its connection and short-lived,
//! and PKCE's verifier is derived from it. The tokens themselves are the plugin host's affair.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use throughline_domain::connector::Secret;
use throughline_schemas::manifest::AuthMethod;
use throughline_schemas::{ConnectionId, Timestamp};
use throughline_store::tables::{Connections, read};

use crate::HubError;
use crate::clock::random;
use crate::error::Result;
use crate::hub::Hub;
use crate::sealed::MasterKey;

/// How long a user may take to consent.
const LIFETIME_MS: i64 = 10 * 60 * 1000;

impl Hub {
    /// Begins the dance: where an admin's browser is to go so that a user of the silo consents to this connection.
    pub fn oauth_begin(&self, id: ConnectionId, redirect_uri: &str) -> Result<String> {
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let connector = match self.open_now(id) {
            Some(connector) => connector,
            None => self.open_connector(id, &row.value)?,
        };
        let manifest = &connector.plugin().manifest;
        if !manifest.auth.iter().any(|method| matches!(method, AuthMethod::Oauth2 { .. })) {
            return Err(HubError::conflict(format!("the plugin {} does not use OAuth 2.0; set its secrets instead", manifest.name)));
        }
        let ticket = Ticket { connection: id, expires_at: self.now().plus_millis(LIFETIME_MS), nonce: random() };
        let key = &self.inner.options.master_key;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(ticket.verifier(key)));
        Ok(connector.oauth_url(redirect_uri, &ticket.seal(key), &challenge)?)
    }

    /// Ends the dance: exchanges the code that came back for tokens and starts the connection with them, unless an admin paused it.
    /// Returns which connection it was.
    pub async fn oauth_finish(&self, state: &str, code: &str, redirect_uri: &str) -> Result<ConnectionId> {
        let key = &self.inner.options.master_key;
        let ticket = Ticket::open(key, state, self.now()).map_err(|detail| HubError::invalid("/state", detail))?;
        self.use_up(&ticket)?;
        let id = ticket.connection;
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let connector = match self.open_now(id) {
            Some(connector) => connector,
            None => self.open_connector(id, &row.value)?,
        };
        connector.oauth_connect(Secret::new(code), Secret::new(ticket.verifier(key)), redirect_uri.to_owned()).await?;
        let _lifecycle = self.lifecycle(id).await;
        self.refuse_other_account(id).await?;
        if !row.value.paused || row.value.paused_because.is_some() {
            self.set_paused(id, false, None).await?;
            // One that waits for its next attempt is to try now.
            self.stop_connection(id).await;
            self.start_connection(id).await?;
        }
        Ok(id)
    }

    /// Durably replaces secrets of a connection that still exists.
    pub(crate) async fn store_secrets(&self, id: ConnectionId, secrets: BTreeMap<String, Secret>) -> Result<()> {
        let secrets = secrets.into_iter().map(|(name, value)| (name, Some(value.expose().to_owned()))).collect();
        self.transact(|tx| {
            tx.get::<Connections>(&id)?.ok_or_else(|| HubError::not_found("connection", id))?;
            self.put_secrets(tx, id, &secrets)
        })
        .await
    }

    /// A connection must not go on with somebody else's account. A check that fails for another reason is tried again when it runs.
    async fn refuse_other_account(&self, id: ConnectionId) -> Result<()> {
        match self.check_connection(id).await {
            Err(HubError::Conflict { detail }) => {
                self.set_paused(id, true, Some(detail.clone())).await?;
                self.stop_connection(id).await;
                Err(HubError::Conflict { detail })
            }
            Err(error) => {
                tracing::warn!(connection = %id, %error, "the check after connecting failed");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn use_up(&self, ticket: &Ticket) -> Result<()> {
        let now = self.now();
        let mut used = self.inner.oauth_used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, expires_at| *expires_at > now);
        match used.insert(ticket.nonce, ticket.expires_at) {
            Some(_) => Err(HubError::invalid("/state", "this consent was used already; begin again if the connection is not connected")),
            None => Ok(()),
        }
    }
}

/// What goes out as `state` and comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    connection: ConnectionId,
    expires_at: Timestamp,
    nonce: [u8; 16],
}

const ID: usize = 16;
const TIME: usize = 8;
const BODY: usize = ID + TIME + 16;

impl Ticket {
    fn body(&self) -> Vec<u8> {
        [self.connection.as_bytes().as_slice(), &self.expires_at.as_millis().to_be_bytes(), &self.nonce].concat()
    }

    fn seal(&self, key: &MasterKey) -> String {
        let body = self.body();
        URL_SAFE_NO_PAD.encode([body.as_slice(), &key.mac("oauth state", &body)].concat())
    }

    /// PKCE's verifier (RFC 7636): nobody without the hub's key can know it.
    fn verifier(&self, key: &MasterKey) -> String {
        URL_SAFE_NO_PAD.encode(key.mac("oauth verifier", &self.body()))
    }

    fn open(key: &MasterKey, state: &str, now: Timestamp) -> std::result::Result<Self, &'static str> {
        const NOT_OURS: &str = "this did not come from a consent that this hub asked for; begin again";
        let bytes = URL_SAFE_NO_PAD.decode(state).map_err(|_| NOT_OURS)?;
        let (body, tag) = bytes.split_at_checked(BODY).ok_or(NOT_OURS)?;
        // Compared under a key, so that the time it takes tells nothing.
        if key.mac("oauth state compared", tag) != key.mac("oauth state compared", &key.mac("oauth state", body)) {
            return Err(NOT_OURS);
        }
        let ticket = Self::parse(body).ok_or(NOT_OURS)?;
        if ticket.expires_at <= now { Err("the consent took longer than ten minutes; begin again") } else { Ok(ticket) }
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (id, rest) = body.split_first_chunk::<ID>()?;
        let (time, nonce) = rest.split_first_chunk::<TIME>()?;
        let expires_at = Timestamp::from_millis(i64::from_be_bytes(*time));
        Some(Self { connection: ConnectionId::from_bytes(*id), expires_at, nonce: nonce.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket { connection: ConnectionId::from_bytes([7; 16]), expires_at: Timestamp::from_millis(1000), nonce: [9; 16] }
    }

    #[test]
    fn a_state_comes_back_as_it_went_out_until_it_expires() {
        let key = MasterKey::new([1; 32]);
        let state = ticket().seal(&key);
        assert_eq!(Ticket::open(&key, &state, Timestamp::from_millis(999)), Ok(ticket()));
        assert!(Ticket::open(&key, &state, Timestamp::from_millis(1000)).unwrap_err().contains("ten minutes"));
        assert!(state.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{state}");
    }

    #[test]
    fn a_state_that_is_not_ours_is_refused() {
        let key = MasterKey::new([1; 32]);
        let other = Ticket { connection: ConnectionId::from_bytes([8; 16]), ..ticket() };
        let spliced = URL_SAFE_NO_PAD.encode([other.body().as_slice(), &key.mac("oauth state", &ticket().body())].concat());
        let foreign = ticket().seal(&MasterKey::new([2; 32]));
        let truncated = ticket().seal(&key)[..90].to_owned();
        for state in [spliced, foreign, truncated, String::new(), "not base64!".to_owned()] {
            assert!(Ticket::open(&key, &state, Timestamp::from_millis(0)).is_err(), "{state}");
        }
    }

    #[test]
    fn the_verifier_is_as_long_as_pkce_wants_and_differs_by_consent() {
        let key = MasterKey::new([1; 32]);
        let again = Ticket { nonce: [8; 16], ..ticket() };
        assert_eq!(ticket().verifier(&key).len(), 43);
        assert_ne!(ticket().verifier(&key), again.verifier(&key));
    }
}
