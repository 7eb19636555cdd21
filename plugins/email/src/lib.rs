//! The `email` connector: a mailbox read over IMAP, mail sent over SMTP.
//!
//! Entry points: [`Email`] and what it implements. `imap` and `smtp` know the protocols, `mail` what a mail means, `reading` and
//! `sending` put them together. The protocol and mail parts do no input or output of their own and know no hub; nothing here
//! knows customers, enquiries or what is done with a mail. See `BEHAVIOR.md` for the traps of real servers.

mod checking;
pub mod config;
mod cursor;
mod errors;
mod imap;
pub mod mail;
mod peer;
mod reading;
mod sending;
mod smtp;

use throughline_plugin_sdk::{Channel, CheckReport, Connector, Found, Listener, OutboundMessage, Page, Result, Source, Value, Written};

pub use config::Config;

/// The connector.
pub struct Email;

impl Connector for Email {
    type Config = Config;

    fn check(config: Config) -> Result<CheckReport> {
        config.validate()?;
        checking::check(&config)
    }
}

impl Source for Email {
    fn read(config: Config, entity: &str, cursor: Option<Value>, want: u32) -> Result<Page> {
        config.validate()?;
        reading::read(&config, entity, cursor, want)
    }

    fn get(config: Config, entity: &str, keys: Vec<String>) -> Result<Vec<Found>> {
        config.validate()?;
        reading::get(&config, entity, &keys)
    }
}

impl Listener for Email {
    fn listen(config: Config, checkpoint: Option<Value>) -> Result<()> {
        config.validate()?;
        reading::listen(&config, checkpoint)
    }
}

impl Channel for Email {
    fn send(config: Config, message: OutboundMessage, idempotency_key: &str) -> Result<Written> {
        config.validate()?;
        sending::send(&config, &message, idempotency_key)
    }
}

throughline_plugin_sdk::export!(Email, manifest = "manifest.json", interfaces = [source, listener, channel]);
