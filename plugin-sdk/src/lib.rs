//! What a connector plugin is written with: a trait for each thing it can do, one macro, and safe calls to everything the hub offers.
//!
//! A plugin compiles twice. For `wasm32-unknown-unknown` the calls below go to the hub that runs it; natively, for `cargo test`, they go
//! to the [`testing`] host of the same thread. This crate knows no silo, no wasmtime and nothing of what the hub does with the answers.
//!
//! ```text
//! struct Shop;
//! impl Connector for Shop { … }
//! impl Source for Shop { … }
//! throughline_plugin_sdk::export!(Shop, manifest = "manifest.json", interfaces = [source]);
//! ```

pub use serde_json::{Value, json};
pub use throughline_schemas as schemas;
pub use throughline_schemas::connector::{
    CheckReport, ConnectorError as Error, ErrorClass, Found, HttpRequest, HttpResponse, Item, ItemKind, Op, OpKind, OutboundMessage,
    Outcome, Page, Written,
};

/// What every call returns: a value, or a failure with the class that the hub's retry policy goes by.
pub type Result<T> = std::result::Result<T, Error>;

pub mod blobs;
pub mod clock;
mod connector;
pub mod control;
pub mod emit;
mod export;
pub mod http;
pub mod log;
pub mod net;
pub mod random;
pub mod secrets;
pub mod state;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// The hub's side of every import: the real one in a guest, the test host of this thread natively.
#[cfg(target_arch = "wasm32")]
use guest::imports as sys;
#[cfg(not(target_arch = "wasm32"))]
use testing::imports as sys;

pub use connector::{Channel, Connector, Listener, Sink, Source, Webhook};

/// Natively only: what [`export!`] needs for its checks.
#[doc(hidden)]
pub mod private {
    pub use crate::connector::config;
    pub use throughline_schemas::manifest::Manifest;
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorClass::Unsupported, format!("this connector has no {what}")))
}
