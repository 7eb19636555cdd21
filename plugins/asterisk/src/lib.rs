//! Connector plugin for Asterisk: calls as they happen over the manager interface (AMI), control over the REST interface (ARI), context
//! from the dial plan over a webhook.
//!
//! `ami` knows bytes and one connection, `call` is the pure assembler and knows neither, `listen` joins the two. BEHAVIOR.md says why the
//! code is as it is.

pub mod ami;
mod ari;
pub mod call;
mod check;
pub mod config;
mod control;
mod listen;
mod number;
mod store;
mod webhook;

use throughline_plugin_sdk::{
    Channel, CheckReport, Connector, Error, ErrorClass, HttpRequest, HttpResponse, Item, Listener, OutboundMessage, Result, Value, Webhook,
    Written,
};

use config::Config;

/// The plugin.
pub struct Asterisk;

impl Connector for Asterisk {
    type Config = Config;

    fn check(config: Config) -> Result<CheckReport> {
        check::check(&config)
    }
}

impl Listener for Asterisk {
    fn listen(config: Config, _checkpoint: Option<Value>) -> Result<()> {
        listen::listen(config)
    }
}

impl Webhook for Asterisk {
    fn receive(config: Config, request: HttpRequest) -> Result<(HttpResponse, Vec<Item>)> {
        webhook::receive(&config, &request)
    }
}

impl Channel for Asterisk {
    fn send(_config: Config, _message: OutboundMessage, _idempotency_key: &str) -> Result<Written> {
        Err(Error::new(ErrorClass::Unsupported, "a PBX carries calls, not messages: use the action `originate`"))
    }

    fn act(config: Config, action: &str, input: Value, idempotency_key: &str) -> Result<Value> {
        control::act(&config, action, input, idempotency_key)
    }
}

throughline_plugin_sdk::export!(Asterisk, manifest = "manifest.json", interfaces = [listener, webhook, channel]);
