//! What leaves the hub as outbound webhooks: how they are signed, when they are tried again, and the port that sends them.
//!
//! By the Standard Webhooks specification 1.0 (<https://www.standardwebhooks.com>). Nothing here sends anything: the plugin host, which
//! has the rules of what may be reached and a TLS stack, implements [`Poster`]; the engine keeps what is still to be sent.

pub mod retry;
pub mod signature;

use std::fmt;

use crate::connector::BoxFuture;

/// One request to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Headers besides the length and the host.
    pub headers: Vec<(&'static str, String)>,
    /// The body, exactly as it was signed.
    pub body: Vec<u8>,
}

/// What an endpoint answered. Its body is not read: it may say anything about anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// How long it asks to be left alone, in milliseconds, if it does.
    pub retry_after_ms: Option<u64>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostError {
    /// The hub does not go there: the address is private, or the URL is none.
    Refused(String),
    /// It could not be reached, or did not answer in time.
    Failed(String),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(detail) | Self::Failed(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for PostError {}

/// Sends requests out of the hub. A name is resolved once for a connection, and the address that was judged is the one connected to.
/// Redirects are not followed.
pub trait Poster: Send + Sync {
    /// Whether a URL is one that can be posted to at all; says why not. Nothing is resolved.
    fn check(&self, url: &str) -> Result<(), String>;
    /// Posts, and waits for the status.
    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answered, PostError>>;
}
