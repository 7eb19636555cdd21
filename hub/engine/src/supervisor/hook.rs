//! Sees to it that a connection's silo knows where to post: registers the hub's address when the connection starts, again with
//! growing pauses while that fails.
//!
//! A registration that fails does not stop the connection: it is polled and written to as before, and its health says what is wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use throughline_domain::connector::Connector;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::Task;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::IngestBatch;
use crate::views::{HookState, HookView};

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long a silo may take to forget us when its connection is deleted.
const FAREWELL: Duration = Duration::from_secs(15);

/// One connection's registration, as far as this run of the hub knows.
#[derive(Debug, Default)]
pub(crate) struct Hook {
    /// Held while the silo is spoken to about it: two that register at once would both find nothing there.
    turn: tokio::sync::Mutex<()>,
    /// A plain mutex: held for a clone or an assignment, never across an await.
    known: Mutex<Option<HookView>>,
}

impl Hook {
    pub(crate) fn view(&self) -> Option<HookView> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, view: HookView) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }
}

impl Hub {
    /// The address a connection's silo posts to; none unless the hub knows where it is reached from outside.
    pub(crate) fn hook_url(&self, id: ConnectionId) -> Option<String> {
        let base = self.inner.options.public_url.as_deref()?;
        Some(format!("{}/hooks/{id}", base.trim_end_matches('/')))
    }

    /// Registers our address at the silo, once; what comes of it is kept in `hook`.
    pub(crate) async fn register_hook(&self, id: ConnectionId, connector: &dyn Connector, hook: &Hook) -> Result<HookView> {
        let _turn = hook.turn.lock().await;
        let Some(url) = self.hook_url(id) else {
            hook.note(HookView::new(HookState::NoPublicUrl, None, self.now()));
            return Ok(HookView::new(HookState::NoPublicUrl, None, self.now()));
        };
        let ended = connector.webhook_ensure(&url).await;
        let view = match ended {
            Ok(called) => {
                self.ingest(id, IngestBatch { state: called.state, ..IngestBatch::default() }).await?;
                HookView { registration: Some(called.value), ..HookView::new(HookState::Registered, Some(url), self.now()) }
            }
            Err(error) if error.class == ErrorClass::Unsupported => HookView::new(HookState::ByHand, Some(url), self.now()),
            Err(error) => HookView { error: Some(error), ..HookView::new(HookState::Failed, Some(url), self.now()) },
        };
        hook.note(view.clone());
        Ok(view)
    }

    /// Takes our registration back. What the plugin kept of it goes as well.
    pub(crate) async fn withdraw_hook(&self, id: ConnectionId, connector: &dyn Connector, hook: &Hook) -> Result<()> {
        let _turn = hook.turn.lock().await;
        let called = connector.webhook_remove().await?;
        self.ingest(id, IngestBatch { state: called.state, ..IngestBatch::default() }).await?;
        hook.note(HookView::new(HookState::Removed, None, self.now()));
        Ok(())
    }

    /// Takes leave of the silo of a connection that is about to be deleted. That it does not answer keeps nobody from deleting.
    pub(crate) async fn take_leave(&self, id: ConnectionId, connector: &dyn Connector) {
        if !connector.plugin().exports("webhook") {
            return;
        }
        let ended = tokio::time::timeout(FAREWELL, connector.webhook_remove()).await;
        let error = match ended {
            Ok(Ok(_)) => return,
            Ok(Err(error)) if error.class == ErrorClass::Unsupported => return,
            Ok(Err(error)) => error,
            Err(_) => ConnectorError::new(ErrorClass::Transient, format!("the silo did not answer within {} s", FAREWELL.as_secs())),
        };
        tracing::warn!(connection = %id, %error, "the connection's webhook could not be removed at its silo: remove it there by hand");
    }
}

/// Registers until it has worked, or cannot.
pub(super) async fn run(task: Task) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(registered) = task.unless_stopped(task.hub.register_hook(task.id, &*task.connector, &task.hook)).await else { return };
        match registered {
            Ok(HookView { state: HookState::Failed, error, .. }) => {
                let detail = error.map(|error| error.message).unwrap_or_default();
                tracing::warn!(connection = %task.id, detail, "the silo does not know yet where to post; it will be told again");
            }
            Ok(_) => return,
            Err(error) => tracing::warn!(connection = %task.id, %error, "the webhook's registration could not be kept"),
        }
        if task.unless_stopped(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
