//! The conformance checks, a file for each group. A check is given the plugin and its silos and says what is not as it must be.

mod access;
mod act;
mod channel;
mod hostile;
mod http;
mod listen;
mod manifest;
mod order;
mod read;
mod registration;
mod webhook;
mod write;

use std::path::PathBuf;

use serde_json::Value;
use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::context::Context;
use super::logs::Logs;

/// What is not as it must be.
pub(crate) type Verdict = Result<(), String>;

/// One check.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: for<'a> fn(&'a Context, &'a Extra) -> BoxFuture<'a, Verdict>,
}

/// What some checks look at besides the running plugin.
pub(crate) struct Extra {
    pub(crate) readme: PathBuf,
    /// The manifest as it stands in the component.
    pub(crate) declared: Value,
    pub(crate) logs: Option<Logs>,
}

/// What a plugin must do for a check to mean something. Facts about the plugin only: what a kit leaves out is a failure or a skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Source,
    Sink,
    Webhook,
    Listener,
    Channel,
    Messages,
    Actions,
    Registration,
    Http,
    Secrets,
}

impl Need {
    /// Why there is nothing to check.
    pub(crate) fn missing(self, context: &Context) -> Option<String> {
        let plugin = context.rig.plugin();
        let exports = |interface: &str| (!plugin.exports(interface)).then(|| format!("the plugin exports no {interface}"));
        match self {
            Self::Source => exports("source"),
            Self::Sink => exports("sink"),
            Self::Webhook => exports("webhook"),
            Self::Listener => exports("listener"),
            Self::Channel => exports("channel"),
            Self::Messages => exports("channel").or_else(|| {
                let sends = plugin.manifest.channels.iter().any(|channel| channel.can.iter().any(|can| can == "message"));
                (!sends).then(|| "the manifest declares no channel for messages".to_owned())
            }),
            Self::Actions => {
                exports("channel").or_else(|| plugin.manifest.actions.is_empty().then(|| "the manifest declares no action".to_owned()))
            }
            Self::Registration => (!context.registers()).then(|| "the plugin does not register its webhook itself".to_owned()),
            Self::Http => {
                let speaks = plugin.manifest.capabilities.transports.iter().any(|transport| transport == "http");
                (!speaks).then(|| "the plugin does not ask for HTTP".to_owned())
            }
            Self::Secrets => {
                let needs_none =
                    plugin.manifest.auth.iter().all(|method| matches!(method, throughline_schemas::manifest::AuthMethod::None {}));
                (needs_none && context.plan.secrets.is_empty()).then(|| "the plugin declares no secret".to_owned())
            }
        }
    }
}

/// All checks in the order they are run.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    let groups = [
        manifest::CHECKS,
        access::CHECKS,
        read::CHECKS,
        http::CHECKS,
        write::CHECKS,
        webhook::CHECKS,
        registration::CHECKS,
        listen::CHECKS,
        order::CHECKS,
        channel::CHECKS,
        act::CHECKS,
        // Looks through all that came before.
        hostile::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// What says "try again later" or "something is wrong with this connection": never that there is nothing to read.
pub(crate) const HONEST: &[ErrorClass] = &[ErrorClass::Transient, ErrorClass::Ambiguous, ErrorClass::Auth, ErrorClass::Config];

/// The verdict on something that must have failed with one of these classes.
pub(crate) fn must_fail<T: std::fmt::Debug>(what: &str, result: &Result<T, ConnectorError>, classes: &[ErrorClass]) -> Verdict {
    match result {
        Err(error) if classes.contains(&error.class) => Ok(()),
        Err(error) => Err(format!("{what}: the error's class is not one of {classes:?}: {error}")),
        Ok(value) => Err(format!("{what}: it succeeded: {}", shortened(&format!("{value:?}")))),
    }
}

/// The verdict on something that may fail in any way but by the plugin's own fault.
pub(crate) fn must_be_clean<T: std::fmt::Debug>(what: &str, result: &Result<T, ConnectorError>) -> Verdict {
    match result {
        Err(error) if error.class == ErrorClass::Bug => Err(format!("{what}: {error}")),
        _ => Ok(()),
    }
}

pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What a kit must say so that a check can be run.
pub(crate) fn wanted<T>(part: Option<T>, name: &str, why: &str) -> Result<T, String> {
    part.ok_or_else(|| format!("{why}, so kit.json must have {name:?}, or skip this check with a reason"))
}
