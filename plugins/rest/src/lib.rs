//! The connector for any JSON-over-HTTP system, without code: its config says how the system authenticates, lists, pages, writes, posts
//! webhooks and complains, and this crate does as it says. It knows no vendor.
//!
//! Entry points: [`Rest`] and its traits below; `walk` reads, `write` writes, `webhook` receives; `classify` decides what an answer means.
//! BEHAVIOR.md tells the traps that made the code what it is.

mod check;
mod classify;
mod client;
pub mod config;
mod get;
mod mapping;
mod pointer;
mod record;
mod template;
#[cfg(test)]
mod tests;
mod time;
mod url;
mod walk;
mod webhook;
mod write;

use throughline_plugin_sdk::{
    CheckReport, Connector, Found, HttpRequest, HttpResponse, Item, Op, Outcome, Page, Result, Sink, Source, Value, Webhook,
};

pub use config::Config;

/// The connector.
pub struct Rest;

impl Connector for Rest {
    type Config = Config;

    fn check(config: Config) -> Result<CheckReport> {
        check::check(&config.checked()?)
    }
}

impl Source for Rest {
    fn read(config: Config, entity: &str, cursor: Option<Value>, want: u32) -> Result<Page> {
        walk::read(&config.checked()?, entity, cursor, want)
    }

    fn get(config: Config, entity: &str, keys: Vec<String>) -> Result<Vec<Found>> {
        let config = config.checked()?;
        get::get(client::Client::new(&config), entity, walk::entity(&config, entity)?, &keys)
    }
}

impl Sink for Rest {
    fn write(config: Config, entity: &str, ops: Vec<Op>) -> Result<Vec<Outcome>> {
        let config = config.checked()?;
        write::write(client::Client::new(&config), entity, walk::entity(&config, entity)?, &ops)
    }
}

impl Webhook for Rest {
    fn receive(config: Config, request: HttpRequest) -> Result<(HttpResponse, Vec<Item>)> {
        webhook::receive(&config.checked()?, &request)
    }

    fn ensure(config: Config, url: &str) -> Result<Value> {
        webhook::ensure(&config.checked()?, url)
    }

    fn list(config: Config) -> Result<Value> {
        webhook::list(&config.checked()?)
    }

    fn remove(config: Config) -> Result<()> {
        webhook::remove(&config.checked()?)
    }
}

throughline_plugin_sdk::export!(Rest, manifest = "manifest.json", interfaces = [source, sink, webhook]);
