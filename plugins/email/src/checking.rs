//! Are config and password good?

use throughline_plugin_sdk::{CheckReport, Result};

use crate::config::{Config, Protection};
use crate::imap::session::Session as Imap;
use crate::smtp::session::Session as Smtp;

/// Logs in at both servers and opens the mailboxes.
pub(crate) fn check(config: &Config) -> Result<CheckReport> {
    let mut warnings = Vec::new();
    let mut imap = Imap::open(config)?;
    if let Some(sent) = &config.sent_mailbox {
        imap.examine("sent_mailbox", sent)?;
    }
    imap.examine("mailbox", &config.mailbox)?;
    if !imap.can("IDLE") {
        warnings.push("the IMAP server does not announce new mail (no IDLE); it is asked every 30 seconds".to_owned());
    }
    if !imap.can("CONDSTORE") {
        warnings.push("the IMAP server does not count changes (no CONDSTORE); new mail is found all the same".to_owned());
    }
    for (name, protection) in [("IMAP", config.imap_security), ("SMTP", config.smtp_security)] {
        if protection == Protection::Plain {
            warnings.push(format!("the {name} connection is not encrypted: the password crosses the network as it is"));
        }
    }
    Smtp::open(config)?.quit();
    Ok(CheckReport {
        account_id: format!("{}@{}", config.username.to_lowercase(), config.imap_host.to_lowercase()),
        account_name: config.address.clone(),
        missing_scopes: Vec::new(),
        warnings,
        entities: Vec::new(),
    })
}
