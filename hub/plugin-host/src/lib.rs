//! Runs plugins: WebAssembly components built against our own WIT world, denied everything by default.
//!
//! The only crate that knows wasmtime. It implements the domain's connector port ([`PluginHost`], [`Connector`]): a [`Host`] keeps
//! installed plugins (read, checked for whom they are from and what they are, and compiled ahead at install, never on the request path); each connection runs in at most two
//! instances, one for calls and one for listening, each owned by one task on the host's *own* tokio runtime, so that a spinning
//! guest delays no one else.
//!
//! What a guest can reach is in [`imports`](self): HTTP, streams and WebSockets towards granted hosts only, with the address checked
//! that is then connected to; secrets by name, never by value. What it may use up is in [`Limits`]. What goes wrong in a guest ends
//! that guest's instance and nothing else.
//!
//! It knows nothing of schedules, retries, breakers, cursors or storage: those are the engine's and the store's.
//!
//! [`PluginHost`]: throughline_domain::connector::PluginHost
//! [`Connector`]: throughline_domain::connector::Connector

mod address;
#[doc(hidden)]
pub mod bench_support;
mod bucket;
mod budgets;
mod call;
mod compiled;
mod connection;
mod connector;
mod dial;
mod embed;
mod engine;
mod grants;
mod guest;
mod host;
mod imports;
mod instance;
mod keys;
pub mod kit;
mod manifest;
mod oauth;
mod options;
mod outbound;
mod plugin_files;
mod redact;
mod secret_book;
mod signature;
mod supervise;
mod surface;
mod template;
mod trust;
mod usage;
mod wit;

pub use dial::{Resolver, SystemResolver};
pub use embed::embed;
pub use host::Host;
pub use keys::{KeyError, PublicKey, SigningKey};
pub use manifest::{Inspection, inspect, inspect_with};
pub use options::{HostOptions, Limits};
pub use outbound::Outbound;
pub use signature::{sign, signer};
pub use trust::{PluginTrust, TrustedKey, Unsigned};
