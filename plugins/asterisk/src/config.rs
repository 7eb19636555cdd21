//! The connection's config, and what follows from it: which endpoint is a trunk and which an agent, how numbers are read.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::call::{Policy, Role};
use crate::number;

/// How to reach a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// With TLS: the default, for AMI carries the secret and every caller's number.
    #[default]
    Tls,
    /// Without: loopback or a private network only.
    Plain,
}

/// A connection's config, as the manifest's schema describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names this PBX: unique ids are unique only within one.
    pub pbx_id: String,
    /// Where the manager interface listens.
    pub ami_host: String,
    /// Its port: 5038 plain, 5039 with TLS by custom.
    pub ami_port: u16,
    /// With or without TLS.
    #[serde(default)]
    pub ami_security: Security,
    /// A private authority for its certificate, in PEM.
    #[serde(default)]
    pub ami_ca_pem: Option<String>,
    /// The manager account; its secret is `ami_secret`.
    pub ami_username: String,
    /// The base of ARI, for instance `https://pbx.example.com:8089/ari`; without it the connection only listens.
    #[serde(default)]
    pub ari_url: Option<String>,
    /// The ARI user; its password is the secret `ari_password`.
    #[serde(default)]
    pub ari_username: Option<String>,
    /// The Stasis application that answered calls are handed to.
    #[serde(default)]
    pub ari_app: Option<String>,
    /// Endpoints that lead outside; `*` stands for any text.
    #[serde(default = "default_trunks")]
    pub trunk_endpoints: Vec<String>,
    /// Endpoint to the agent's name. Endpoints that are neither trunk nor listed are agents named as the endpoint.
    #[serde(default)]
    pub agent_endpoints: BTreeMap<String, String>,
    /// Extensions of our own, never a customer's number.
    #[serde(default)]
    pub internal_extensions: Vec<String>,
    /// The country whose national numbers the trunks write.
    #[serde(default = "default_region")]
    pub region: String,
    /// What was dialled to our number in E.164, for trunks that deliver short or internal forms.
    #[serde(default)]
    pub did_map: BTreeMap<String, String>,
    /// Names of `UserEvent`s that carry context; empty: all that name a channel.
    #[serde(default)]
    pub user_events: Vec<String>,
    /// Click-to-call: the dial plan context that dials the customer.
    #[serde(default)]
    pub click_to_call: ClickToCall,
    /// The dial plan context that calls are transferred into; without it there are no transfers.
    #[serde(default)]
    pub transfer_context: Option<String>,
    /// Two keys further apart than this begin a new input where the dial plan does not tell.
    #[serde(default = "default_digit_gap")]
    pub digit_gap_ms: u32,
}

/// How an outbound call is placed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickToCall {
    /// The context the agent's leg continues in.
    pub context: String,
    /// The extension there: `{number}` is the customer's number.
    pub extension: String,
    /// The number shown while the agent's phone rings, and in `caller id`.
    pub caller_id: Option<String>,
    /// How long the agent's phone rings, in seconds.
    pub timeout_seconds: u32,
}

impl Default for ClickToCall {
    fn default() -> Self {
        Self { context: "click2call".to_owned(), extension: "{number}".to_owned(), caller_id: None, timeout_seconds: 30 }
    }
}

fn default_trunks() -> Vec<String> {
    vec!["PJSIP/trunk".to_owned()]
}
fn default_region() -> String {
    "GB".to_owned()
}
fn default_digit_gap() -> u32 {
    900
}

impl Policy for Config {
    fn role(&self, channel: &str) -> Role {
        let channel = channel.strip_prefix("AsyncGoto/").unwrap_or(channel);
        if channel.starts_with("Local/") {
            return Role::Local;
        }
        let endpoint = channel.rsplit_once('-').map_or(channel, |(endpoint, _)| endpoint);
        if self.trunk_endpoints.iter().any(|pattern| matches(pattern, endpoint)) {
            return Role::External;
        }
        if let Some(name) = self.agent_endpoints.get(endpoint) {
            return Role::Agent(name.clone());
        }
        match endpoint.split_once('/') {
            Some(("PJSIP" | "SIP" | "IAX2" | "SCCP", name)) if !name.is_empty() => Role::Agent(name.to_owned()),
            _ => Role::Other,
        }
    }

    fn number(&self, raw: &str) -> Option<String> {
        if number::is_withheld(raw) || self.internal_extensions.iter().any(|extension| extension == raw) {
            return None;
        }
        number::to_e164(raw, &self.region)
    }

    fn our_number(&self, dialled: &str) -> String {
        self.did_map.get(dialled).cloned().or_else(|| number::to_e164(dialled, &self.region)).unwrap_or_else(|| dialled.to_owned())
    }

    fn shown_number(&self, shown: &str) -> Option<String> {
        self.did_map.get(shown).cloned().or_else(|| self.number(shown))
    }

    fn is_internal(&self, extension: &str) -> bool {
        self.internal_extensions.iter().any(|own| own == extension)
    }

    fn takes_user_event(&self, name: &str) -> bool {
        self.user_events.is_empty() || self.user_events.iter().any(|taken| taken == name)
    }

    fn digit_gap_ms(&self) -> i64 {
        i64::from(self.digit_gap_ms)
    }
}

impl Config {
    /// A call's key: unique ids are unique only within one PBX.
    #[must_use]
    pub fn key(&self, call: &str) -> String {
        format!("{}:{call}", self.pbx_id)
    }

    /// The endpoint of an agent, for originating to it.
    #[must_use]
    pub fn endpoint_of(&self, agent: &str) -> String {
        let listed = self.agent_endpoints.iter().find(|(_, name)| name.as_str() == agent).map(|(endpoint, _)| endpoint.clone());
        listed.unwrap_or_else(|| format!("PJSIP/{agent}"))
    }
}

/// Whether `text` fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: serde_json::Value) -> Config {
        let mut base = serde_json::json!({"pbx_id": "p", "ami_host": "h", "ami_port": 5038, "ami_username": "u"});
        base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(base).unwrap()
    }

    #[test]
    fn endpoints_are_trunks_agents_or_neither() {
        let config = config(serde_json::json!({
            "trunk_endpoints": ["PJSIP/trunk", "PJSIP/carrier-*", "DAHDI/*"],
            "agent_endpoints": {"PJSIP/0007-desk": "ann"},
        }));
        let table = [
            ("PJSIP/trunk-0000001b", Role::External),
            ("PJSIP/trunk2-0000001b", Role::Agent("trunk2".to_owned())),
            ("PJSIP/carrier-a-0000001b", Role::External),
            ("DAHDI/i1/01632960123-7", Role::External),
            ("PJSIP/agent1-0000001b", Role::Agent("agent1".to_owned())),
            ("PJSIP/0007-desk-0000001b", Role::Agent("ann".to_owned())),
            ("AsyncGoto/PJSIP/trunk-00000001", Role::External),
            ("Local/1001@agents-00000001;1", Role::Local),
            ("CBAnn/room-00000001;1", Role::Other),
            ("PJSIP/-00000001", Role::Other),
            ("", Role::Other),
        ];
        for (channel, role) in table {
            assert_eq!(config.role(channel), role, "{channel}");
        }
    }

    #[test]
    fn an_agent_is_called_at_the_listed_endpoint() {
        let config = config(serde_json::json!({"agent_endpoints": {"PJSIP/0007": "ann"}}));
        assert_eq!(config.endpoint_of("ann"), "PJSIP/0007");
        assert_eq!(config.endpoint_of("bob"), "PJSIP/bob");
    }

    #[test]
    fn our_numbers_may_be_mapped() {
        let config = config(serde_json::json!({"did_map": {"100": "+441632960100"}, "internal_extensions": ["01632960999"]}));
        assert_eq!(config.our_number("100"), "+441632960100");
        assert_eq!(config.our_number("01632960101"), "+441632960101");
        assert_eq!(config.our_number("s"), "s");
        assert_eq!(config.number("01632960999"), None);
    }
}
