//! A call to a guest and its answer, independent of the WIT version that carries them.

use std::time::Duration;

use serde_json::Value;
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, Outcome, Page, Written,
};

use crate::options::Limits;
use crate::supervise::{Budget, Overrun};

/// What is asked of a guest. JSON that it gets as text is text already.
#[derive(Debug)]
pub(crate) enum Call {
    Check,
    Options { field: String, query: String },
    Migrate { what: String, from_version: String, value: String },
    Read { entity: String, cursor: Option<String>, want: u32 },
    Get { entity: String, keys: Vec<String> },
    Write { entity: String, ops: Vec<Op> },
    Webhook { request: HttpRequest },
    WebhookEnsure { url: String },
    WebhookList,
    WebhookRemove,
    Listen { checkpoint: Option<String> },
    Send { message: String, idempotency_key: String },
    Act { action: String, input: String, idempotency_key: String },
}

/// What a guest answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Check(CheckReport),
    Json(Value),
    Page(Page),
    Found(Vec<Found>),
    Outcomes(Vec<Outcome>),
    Webhook(HttpResponse, Vec<Item>),
    Written(Written),
    Done,
}

impl Call {
    /// Its name for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Options { .. } => "options",
            Self::Migrate { .. } => "migrate",
            Self::Read { .. } => "read",
            Self::Get { .. } => "get",
            Self::Write { .. } => "write",
            Self::Webhook { .. } => "webhook",
            Self::WebhookEnsure { .. } => "webhook ensure",
            Self::WebhookList => "webhook list",
            Self::WebhookRemove => "webhook remove",
            Self::Listen { .. } => "listen",
            Self::Send { .. } => "send",
            Self::Act { .. } => "act",
        }
    }

    /// Whether what it changes in the state is kept when it ends well. A listener passes its changes on with what it emits.
    pub(crate) fn keeps_state(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::Webhook { .. }
                | Self::WebhookEnsure { .. }
                | Self::WebhookRemove
                | Self::Send { .. }
                | Self::Act { .. }
        )
    }

    /// Whether the silo may have changed when the call fails half-way.
    fn has_effect(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Send { .. } | Self::Act { .. })
    }

    /// What it may use up.
    pub(crate) fn budget(&self, limits: &Limits) -> Budget {
        let call = |wall| Budget { wall: Some(wall), cpu: limits.call_cpu, window: None };
        match self {
            Self::Listen { .. } => Budget { wall: None, cpu: limits.listen_cpu_per_minute, window: Some(Duration::from_secs(60)) },
            Self::Read { .. } | Self::Get { .. } | Self::Write { .. } | Self::Send { .. } | Self::Act { .. } => call(limits.long_call),
            _ => call(limits.short_call),
        }
    }

    /// The error for a call that went beyond its budget.
    pub(crate) fn overrun(&self, overrun: Overrun) -> ConnectorError {
        let name = self.name();
        match overrun {
            Overrun::Cpu(limit) if matches!(self, Self::Listen { .. }) => {
                bug(format!("{name} ran longer than {} of CPU time within a minute", in_words(limit)))
            }
            Overrun::Cpu(limit) => bug(format!("{name} ran longer than {} of CPU time", in_words(limit))),
            Overrun::Ran(limit) => bug(format!("{name} ran longer than {}", in_words(limit))),
            Overrun::Waited(limit) => {
                let class = if self.has_effect() { ErrorClass::Ambiguous } else { ErrorClass::Transient };
                ConnectorError::new(class, format!("{name} waited longer than {} for the silo", in_words(limit)))
            }
        }
    }
}

fn in_words(limit: Duration) -> String {
    if limit.subsec_millis() == 0 { format!("{} s", limit.as_secs()) } else { format!("{} ms", limit.as_millis()) }
}

/// The plugin's own fault.
pub(crate) fn bug(message: impl Into<String>) -> ConnectorError {
    ConnectorError::new(ErrorClass::Bug, message)
}

/// The hub wants the call to end.
pub(crate) fn cancelled() -> ConnectorError {
    ConnectorError::new(ErrorClass::Cancelled, "the hub asked for the end of the call")
}
