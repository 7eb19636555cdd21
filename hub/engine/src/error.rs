//! What can go wrong with a command given to the hub, as the caller may act on it.

use std::fmt;

use throughline_domain::connector::PluginError;
use throughline_schemas::ProfileId;
use throughline_schemas::connector::ConnectorError;
use throughline_store::port::StoreError;
use throughline_store::tables::TableError;

/// A result of the hub.
pub type Result<T> = std::result::Result<T, HubError>;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct FieldError {
    /// JSON pointer into the request.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Why the hub did not do what it was asked. Nothing was applied unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum HubError {
    /// There is no such thing.
    NotFound {
        /// `profile`, `connection`, …
        kind: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The request breaks a rule; every broken field is named.
    Invalid {
        /// Field by field.
        errors: Vec<FieldError>,
    },
    /// It contradicts what is there.
    Conflict {
        /// How, and the remedy.
        detail: String,
    },
    /// Whoever asks held the enquiry, or was offered it, and somebody else got hold of it meanwhile.
    Fenced {
        /// How it stands.
        detail: String,
    },
    /// The version given is not the current one.
    Stale {
        /// The current version.
        actual: u64,
    },
    /// The profile was merged.
    Merged {
        /// Into which.
        into: ProfileId,
    },
    /// Too much is waiting; try again.
    Busy,
    /// No room on the disk.
    Full {
        /// How much is left and needed.
        detail: String,
    },
    /// Larger than can be kept.
    TooLarge {
        /// What, and the limit.
        detail: String,
    },
    /// The connector could not.
    Connector(ConnectorError),
    /// The plugin cannot be installed or opened.
    Plugin(PluginError),
    /// The store failed.
    Store(StoreError),
    /// The hub's own fault.
    Internal(String),
}

impl HubError {
    /// Nothing of this kind has this id.
    pub fn not_found(kind: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
    /// One field is wrong.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { errors: vec![FieldError { pointer: pointer.into(), detail: detail.into() }] }
    }
    /// It contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict { detail: detail.into() }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { kind, id } => write!(f, "there is no {kind} {id}"),
            Self::Invalid { errors } => {
                let parts: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
                f.write_str(&parts.join("; "))
            }
            Self::Conflict { detail }
            | Self::Fenced { detail }
            | Self::Full { detail }
            | Self::TooLarge { detail }
            | Self::Internal(detail) => f.write_str(detail),
            Self::Stale { actual } => write!(f, "it has changed meanwhile and is at version {actual} now; read it again"),
            Self::Merged { into } => write!(f, "this profile was merged into {into}"),
            Self::Busy => f.write_str("the hub is busy; try again"),
            Self::Connector(error) => error.fmt(f),
            Self::Plugin(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HubError {}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            StoreError::Full { .. } => Self::Full { detail: error.to_string() },
            StoreError::TooLarge { .. } => Self::TooLarge { detail: error.to_string() },
            other => Self::Store(other),
        }
    }
}

impl From<TableError> for HubError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Store(error) => error.into(),
            TableError::TooLarge { .. } => Self::TooLarge { detail: error.to_string() },
            TableError::Conflict => Self::Busy,
            TableError::Row { .. } => Self::Internal(error.to_string()),
        }
    }
}

impl From<ConnectorError> for HubError {
    fn from(error: ConnectorError) -> Self {
        Self::Connector(error)
    }
}

impl From<PluginError> for HubError {
    fn from(error: PluginError) -> Self {
        Self::Plugin(error)
    }
}
