//! The change log, read from outside.

use serde_json::{Value, json};
use throughline_schemas::{Change, ChangeKind};
use throughline_store::envelope;

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

impl Hub {
    /// Changes after a place in the log, oldest first. Only durable ones.
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<(u64, Change)>> {
        let entries = self.inner.store.read_log(after, limit)?;
        let decode = |bytes: &[u8]| envelope::decode::<Change>(1, bytes).map_err(|error| HubError::Internal(error.to_string()));
        entries.into_iter().map(|entry| Ok((entry.sequence, decode(&entry.value)?))).collect()
    }

    /// The last durable entry of the log.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.inner.store.durable_head()
    }

    /// Resolves when the log has gone past this place.
    pub async fn changed(&self, after: u64) {
        let mut watch = self.inner.store.watch();
        // Commits without an entry move the head too: only an entry is a change.
        let mut looked = after;
        loop {
            let head = self.head();
            if head > looked {
                // If the log cannot be read, whoever waits finds out by reading it.
                if self.inner.store.read_log(looked, 1).is_ok_and(|entries| entries.is_empty()) {
                    looked = head;
                } else {
                    return;
                }
            }
            // A watch that ends means that the store is closed: there will be no more changes.
            if watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What an agent's screen should show when a phone rings: everything known, in one piece.
    #[must_use]
    pub fn screen_pop(&self, change: &Change) -> Option<Value> {
        if change.kind != ChangeKind::CallRinging {
            return None;
        }
        let root = self.root(change.profile_id?).ok()??;
        let context = self.context(root).ok()?;
        let enquiry = change.enquiry_id.and_then(|id| self.enquiry(id).ok()).map(|stored| stored.value);
        let handoff = enquiry.as_ref().and_then(|enquiry| self.open_handoff(enquiry).ok().flatten());
        // Read now, not when it was offered: what was said meanwhile belongs to it.
        let note = handoff.as_ref().and_then(|handoff| handoff.briefing.note.clone());
        let briefing = enquiry.as_ref().and_then(|enquiry| self.briefing_for_agent(enquiry, note).ok());
        Some(json!({
            "profile": context.profile,
            "display_name": context.profile.display_name(),
            "enquiry": enquiry,
            "enquiries": context.enquiries,
            "handoff": handoff,
            "briefing": briefing,
            "recent": context.recent,
        }))
    }
}
