//! The kit: real components in the real host, under the real limits, against stand-ins of their silos, offline.
//!
//! [`replay`] plays what a PBX sent and says which calls came of it. [`test`] runs the conformance checks of `checks/` on a plugin, against
//! silos that its `kit/` folder scripts. It knows the contract of a connector and no vendor; what a plugin's silo says is in that folder.

mod checks;
mod context;
mod desk;
mod logs;
mod manager;
mod plan;
mod recording;
mod replay;
mod report;
mod rig;
mod runner;
mod silo;
mod trial;

use throughline_domain::connector::PluginError;

pub use logs::Logs;
pub use recording::RecordingError;
pub use replay::{ReplayError, Replayed, replay};
pub use report::{Line, Outcome, Report};
pub use rig::default_cache;
pub use runner::{Subject, test};
pub use trial::{Ask, Trial, TrialError, try_out};

/// Why the kit cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The component cannot be run.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The kit's files are not as they must be.
    #[error("{file}: {detail}")]
    Kit {
        /// Which file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The machine failed us.
    #[error("the kit's silos do not start: {0}")]
    Silo(#[from] std::io::Error),
}

/// The manifest as it stands in a component.
fn manifest_of(component: &[u8]) -> Result<serde_json::Value, KitError> {
    let manifest = crate::manifest::inspect(component)?.manifest;
    serde_json::to_value(manifest).map_err(|error| PluginError::Internal(error.to_string()).into())
}
