//! The connection's config: parsed once, checked once, and the questions it answers about addresses ("is this ours?").

use serde::Deserialize;
use throughline_plugin_sdk::Result;
use throughline_plugin_sdk::net::ConnectOptions;

use crate::errors;

/// How a connection to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// TLS from the first byte.
    #[default]
    Tls,
    /// Plain first, then upgraded; refused when the server does not offer the upgrade.
    Starttls,
    /// Not at all: for a server on the same machine or a private wire.
    Plain,
}

/// The connection's config, as the manifest's schema describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The IMAP server's name.
    pub imap_host: String,
    /// Its port.
    pub imap_port: u16,
    /// How the connection to it is protected.
    #[serde(default)]
    pub imap_security: Protection,
    /// The SMTP submission server's name.
    pub smtp_host: String,
    /// Its port.
    pub smtp_port: u16,
    /// How the connection to it is protected.
    #[serde(default)]
    pub smtp_security: Protection,
    /// Whether to log in at the SMTP server.
    #[serde(default = "yes")]
    pub smtp_auth: bool,
    /// The user name for both servers.
    pub username: String,
    /// Our address: the endpoint that customers write to.
    pub address: String,
    /// The sender's name customers see.
    #[serde(default)]
    pub from_name: Option<String>,
    /// The mailbox to read.
    #[serde(default = "inbox")]
    pub mailbox: String,
    /// Where copies of what we send are put; none keeps no copies.
    #[serde(default)]
    pub sent_mailbox: Option<String>,
    /// An additional certificate authority, for servers with a private one.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// Domains whose addresses are colleagues, not customers.
    #[serde(default)]
    pub own_domains: Vec<String>,
    /// What our own mail server calls itself in Authentication-Results; none if its verdicts are not to be believed.
    #[serde(default)]
    pub authserv_id: Option<String>,
}

fn yes() -> bool {
    true
}

fn inbox() -> String {
    "INBOX".to_owned()
}

impl Config {
    /// Checks what a JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        let texts = [
            ("imap_host", self.imap_host.as_str()),
            ("smtp_host", self.smtp_host.as_str()),
            ("username", self.username.as_str()),
            ("mailbox", self.mailbox.as_str()),
            ("sent_mailbox", self.sent_mailbox.as_deref().unwrap_or("-")),
        ];
        for (field, text) in texts {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(errors::config(field, "must not be empty or hold control characters"));
            }
        }
        // The user name stands in a template in which the hub puts the password; braces would be taken for a placeholder.
        if self.username.contains(['{', '}']) {
            return Err(errors::config("username", "must not hold curly brackets"));
        }
        if !is_address(&self.address) {
            return Err(errors::config("address", "is no e-mail address, write for instance support@example.com"));
        }
        Ok(())
    }

    /// Which addresses are ours.
    pub fn own(&self) -> Own {
        let (local, domain) = split_address(&self.address).unwrap_or((&self.address, ""));
        Own {
            local: local.to_lowercase(),
            domain: domain.to_lowercase(),
            domains: self.own_domains.iter().map(|domain| domain.trim().trim_start_matches('@').to_lowercase()).collect(),
            authserv_id: self.authserv_id.as_ref().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
        }
    }

    /// Options for connecting to either server.
    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions { connect_timeout_ms: Some(15_000), ca_pem: self.ca_pem.clone(), server_name: None }
    }
}

/// The prefix of a plus-address suffix that carries a continuity token.
pub const TOKEN_PREFIX: &str = "tl.";

/// Knows which addresses are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    local: String,
    domain: String,
    domains: Vec<String>,
    authserv_id: Option<String>,
}

impl Own {
    /// Whether this is what our own mail server calls itself.
    pub fn is_our_server(&self, authserv_id: &str) -> bool {
        self.authserv_id.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(authserv_id))
    }

    /// Whether this is the endpoint, with or without a plus-suffix.
    pub fn is_endpoint(&self, address: &str) -> bool {
        let Some((local, domain)) = split_address(address) else { return false };
        let base = local.split('+').next().unwrap_or(local);
        domain.eq_ignore_ascii_case(&self.domain) && (base.to_lowercase() == self.local || local.to_lowercase() == self.local)
    }

    /// Whether this is the endpoint or an address at one of our domains.
    pub fn is_ours(&self, address: &str) -> bool {
        self.is_endpoint(address) || split_address(address).is_some_and(|(_, domain)| self.is_own_domain(domain))
    }

    /// Whether a domain is among those the admin called ours. The endpoint's own domain is not, unless named: it may be a
    /// mail provider's, shared with customers.
    pub fn is_own_domain(&self, domain: &str) -> bool {
        self.domains.contains(&domain.to_lowercase())
    }

    /// The endpoint's address, lower case.
    pub fn endpoint(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }

    /// The domain of the endpoint.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The continuity token in a plus-address of ours, as presented.
    pub fn token<'a>(&self, address: &'a str) -> Option<&'a str> {
        let (local, _) = split_address(address)?;
        let (_, suffix) = local.split_once('+')?;
        let prefix = suffix.get(..TOKEN_PREFIX.len())?;
        let token = suffix.get(TOKEN_PREFIX.len()..)?;
        let fits = prefix.eq_ignore_ascii_case(TOKEN_PREFIX) && !token.is_empty() && self.is_endpoint(address);
        fits.then_some(token)
    }
}

/// Local part and domain.
pub fn split_address(address: &str) -> Option<(&str, &str)> {
    let (local, domain) = address.rsplit_once('@')?;
    (!local.is_empty() && !domain.is_empty()).then_some((local, domain))
}

/// Whether this can stand as an address between angle brackets: two parts, no white space, brackets or control characters.
pub fn is_address(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '\\' | '"');
    text.len() <= 320 && split_address(text).is_some_and(|(local, _)| !local.contains('@')) && !text.contains(forbidden)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> Config {
        serde_json::from_value(serde_json::json!({
            "imap_host": "127.0.0.1", "imap_port": 143, "imap_security": "plain",
            "smtp_host": "127.0.0.1", "smtp_port": 25, "smtp_security": "plain",
            "username": "agent@mail.test", "address": "Agent@mail.test", "own_domains": ["@Shop.test"]
        }))
        .unwrap()
    }

    #[test]
    fn defaults_and_unknown_fields() {
        let config = config();
        assert_eq!((config.mailbox.as_str(), config.smtp_auth), ("INBOX", true));
        let wrong = serde_json::from_str::<Config>(r#"{"imap_hots": "x"}"#).unwrap_err();
        assert!(wrong.to_string().contains("imap_hots"), "{wrong}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 4] = [
            ("username", |c| c.username = "a{secret:password}".into()),
            ("address", |c| c.address = "no address".into()),
            ("mailbox", |c| c.mailbox = "INBOX\r\na1 DELETE INBOX".into()),
            ("imap_host", |c| c.imap_host = String::new()),
        ];
        for (field, spoil) in cases {
            let mut config = config();
            spoil(&mut config);
            assert_eq!(config.validate().unwrap_err().field.as_deref(), Some(field));
        }
        assert!(config().validate().is_ok());
    }

    #[test]
    fn which_addresses_are_ours() {
        let own = config().own();
        for (address, endpoint, ours) in [
            ("agent@mail.test", true, true),
            ("AGENT@MAIL.TEST", true, true),
            ("agent+anything@mail.test", true, true),
            ("other@mail.test", false, false),
            ("boss@shop.test", false, true),
            ("boss@evil-shop.test", false, false),
            ("agent@mail.test.evil", false, false),
            ("agent", false, false),
            ("", false, false),
        ] {
            assert_eq!((own.is_endpoint(address), own.is_ours(address)), (endpoint, ours), "{address}");
        }
    }

    #[test]
    fn tokens_only_from_our_own_plus_address() {
        let own = config().own();
        for (address, token) in [
            ("agent+tl.abc234@mail.test", Some("abc234")),
            ("Agent+TL.abc234@mail.test", Some("abc234")),
            ("agent+tl.@mail.test", None),
            ("agent+news@mail.test", None),
            ("other+tl.abc234@mail.test", None),
            ("agent+é@mail.test", None),
            ("agent@mail.test", None),
        ] {
            assert_eq!(own.token(address), token, "{address}");
        }
    }
}
