//! PBXs by what differs between them, and manager accounts by what they are told.

use serde_json::{Value, json};
use throughline_plugin_asterisk::config::Config;

/// Whose PBX it is: how it names its trunk and phones, and how its trunk writes numbers.
#[derive(Clone)]
pub struct Site {
    pub trunk: &'static str,
    /// Endpoint, extension, and the agent's name by the configuration.
    pub agents: [(&'static str, &'static str, &'static str); 3],
    /// A customer's number as the trunk writes it, and in E.164.
    pub customer: (&'static str, &'static str),
    pub other_customer: (&'static str, &'static str),
    pub our_number: (&'static str, &'static str),
    pub system_name: Option<&'static str>,
    pub config: fn() -> Value,
}

/// The PBX the recordings come from.
pub fn scratch() -> Site {
    Site {
        trunk: "PJSIP/trunk",
        agents: [("PJSIP/agent1", "1001", "agent1"), ("PJSIP/agent2", "1002", "agent2"), ("PJSIP/agent3", "1003", "agent3")],
        customer: ("+441632960123", "+441632960123"),
        other_customer: ("+441632960202", "+441632960202"),
        our_number: ("+441632960100", "+441632960100"),
        system_name: None,
        config: || json!({"internal_extensions": ["1001", "1002", "1003"]}),
    }
}

/// Another: several carriers, phones named by their hardware, national numbers, five-digit extensions, a system name.
pub fn berlin() -> Site {
    Site {
        trunk: "SIP/carrier-b-out",
        agents: [("PJSIP/0004f2-0007", "30011", "ann"), ("SIP/30012", "30012", "30012"), ("IAX2/branch-3", "30013", "branch-3")],
        customer: ("03023125000", "+493023125000"),
        other_customer: ("0041445551234", "+41445551234"),
        our_number: ("231259", "+4930231259"),
        system_name: Some("berlin-1"),
        config: || {
            json!({"region": "DE", "trunk_endpoints": ["PJSIP/carrier-a", "SIP/carrier-*"], "agent_endpoints": {"PJSIP/0004f2-0007": "ann"},
                "internal_extensions": ["30011", "30012", "30013"], "did_map": {"231259": "+4930231259"}})
        },
    }
}

impl Site {
    pub fn config(&self) -> Config {
        let mut config = json!({"pbx_id": "p", "ami_host": "h", "ami_port": 5038, "ami_username": "u"});
        config.as_object_mut().unwrap().extend((self.config)().as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    pub fn agent(&self, at: usize) -> &'static str {
        self.agents[at].2
    }
}

/// What the manager account is told.
#[derive(Clone, Copy, PartialEq)]
pub struct Account {
    /// `timestampevents`.
    pub times: bool,
    /// Reads `dialplan`, `dtmf`, `cdr` and CEL besides what every account reads.
    pub all_classes: bool,
    /// `channelvars = TL_INTERACTION,…` in manager.conf.
    pub repeats_variables: bool,
}

/// Everything.
pub const FULL: Account = Account { times: true, all_classes: true, repeats_variables: true };
/// Reads `call,agent,user` only.
pub const LEAST: Account = Account { times: true, all_classes: false, repeats_variables: true };
