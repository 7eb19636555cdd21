//! Webhooks as our PocketBase signs them: HMAC-SHA256 over time and body.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::hub::{Answer, Client};

/// A signed request, to be posted once or again and again.
#[derive(Debug, Clone)]
pub struct Signed {
    body: Vec<u8>,
    timestamp: String,
    signature: String,
}

impl Signed {
    /// Signs a body as of now.
    pub fn now(body: &Value, secret: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
        Self::at(body, secret, now)
    }

    /// Signs a body as of a time, in seconds since the Unix epoch.
    pub fn at(body: &Value, secret: &str, seconds: u64) -> Self {
        let (body, timestamp) = (body.to_string(), seconds.to_string());
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(format!("{timestamp}.{body}").as_bytes());
        let mut signature = "sha256=".to_owned();
        for byte in mac.finalize().into_bytes() {
            let _ = write!(signature, "{byte:02x}");
        }
        Self { body: body.into_bytes(), timestamp, signature }
    }

    /// The same signature under another body, as somebody would who cannot sign.
    #[must_use]
    pub fn with_body(&self, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..self.clone() }
    }

    /// Posts it to a connection's hook.
    pub fn post(&self, client: &Client, connection: &str) -> Result<Answer> {
        let headers =
            [("content-type", "application/json"), ("x-timestamp", self.timestamp.as_str()), ("x-signature", self.signature.as_str())];
        client.request("POST", &format!("/hooks/{connection}/records"), &headers, Some(&self.body))
    }
}
