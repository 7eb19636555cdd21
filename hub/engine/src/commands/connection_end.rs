//! The end of a connection: everything that is about it alone goes with it, a piece at a time, itself last.

use throughline_domain::handoff::Step;
use throughline_schemas::{Change, ChangeKind, ConnectionId, Evidence, HandoffId};
use throughline_store::tables::{
    Conflicts, Connections, ConversationKeys, Cursors, DeadLetters, Deliveries, DispatchCursors, HandoffDeadlines, Handoffs, Inbox, Links,
    LinksByCanonical, OpenConflicts, PluginState, Secrets, Tx, forget_rows, read, scan_rows,
};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

/// Rows removed in one commit.
const AT_ONCE: usize = 200;

impl Hub {
    /// Removes a connection that is stopped.
    pub(super) async fn forget(&self, id: ConnectionId) -> Result<()> {
        let (store, prefix) = (&self.inner.store, id.as_bytes());
        self.fail_handoffs_of(id).await?;
        self.forget_links(id).await?;
        self.forget_conflicts(id).await?;
        self.forget_letters(id).await?;
        self.forget_plans(id).await?;
        forget_rows::<Deliveries>(store, prefix, AT_ONCE).await?;
        forget_rows::<Inbox>(store, prefix, AT_ONCE).await?;
        forget_rows::<ConversationKeys>(store, prefix, AT_ONCE).await?;
        forget_rows::<Cursors>(store, prefix, AT_ONCE).await?;
        forget_rows::<PluginState>(store, prefix, AT_ONCE).await?;
        forget_rows::<Secrets>(store, prefix, AT_ONCE).await?;
        let data = serde_json::json!({ "connection": id });
        self.transact(|tx| {
            tx.delete::<DispatchCursors>(&id);
            tx.delete::<Connections>(&id);
            Ok(tx.log(&Change { data: data.clone(), ..Change::new(ChangeKind::ConnectionChanged, self.now()) })?)
        })
        .await?;
        self.forget_context(id);
        // What was offered until this moment.
        self.fail_handoffs_of(id).await
    }

    /// Handoffs that this connection was to carry out come to nothing now, not at their deadline.
    async fn fail_handoffs_of(&self, id: ConnectionId) -> Result<()> {
        let mut after = None;
        loop {
            let page = scan_rows::<HandoffDeadlines>(&self.inner.store, &[], after.as_deref(), AT_ONCE)?;
            for (_, handoff) in page.rows.iter().filter_map(|(key, _)| HandoffDeadlines::due(key)) {
                let meeting = read::<Handoffs>(&self.inner.store, &handoff)?.and_then(|row| row.value.meeting);
                if meeting.is_some_and(|meeting| meeting.connection_id == id) {
                    self.fail_without_connection(handoff).await?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn fail_without_connection(&self, handoff: HandoffId) -> Result<()> {
        let step = Step::Fail { why: "the connection that was to carry it out was deleted".to_owned() };
        let failed = self.transact(|tx| {
            let why = Evidence { rule: "connection deleted".to_owned(), detail: "it cannot be carried out any more".to_owned() };
            self.take_step(&mut self.people(tx), handoff, &step, None, why).map(drop)
        });
        match failed.await {
            // It was over before, or its enquiry is gone.
            Err(HubError::Conflict { .. } | HubError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn forget_links(&self, id: ConnectionId) -> Result<()> {
        loop {
            let links = scan_rows::<Links>(&self.inner.store, id.as_bytes(), None, AT_ONCE)?.rows;
            if links.is_empty() {
                return Ok(());
            }
            let mut tx = Tx::new(&self.inner.store);
            for (_, row) in links {
                let link = row.value;
                if let Some(bytes) = crate::ingest::canonical_bytes(&link.canonical_id) {
                    tx.delete::<LinksByCanonical>(&(bytes, id, link.entity.clone()));
                }
                tx.delete::<Links>(&(id, link.entity, link.key));
            }
            tx.commit().await?;
        }
    }

    async fn forget_conflicts(&self, id: ConnectionId) -> Result<()> {
        let mut after = None;
        loop {
            let page = scan_rows::<Conflicts>(&self.inner.store, &[], after.as_deref(), AT_ONCE)?;
            let mut tx = Tx::new(&self.inner.store);
            page.rows.iter().filter(|(_, row)| row.value.connection_id == id).for_each(|(_, row)| tx.delete::<Conflicts>(&row.value.id));
            if !tx.is_empty() {
                tx.commit().await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        forget_rows::<OpenConflicts>(&self.inner.store, id.as_bytes(), AT_ONCE).await?;
        Ok(())
    }

    async fn forget_letters(&self, id: ConnectionId) -> Result<()> {
        let mut after = None;
        loop {
            let page = scan_rows::<DeadLetters>(&self.inner.store, &[], after.as_deref(), AT_ONCE)?;
            let mut tx = Tx::new(&self.inner.store);
            page.rows.iter().filter(|(_, row)| row.value.connection_id == id).for_each(|(_, row)| tx.delete::<DeadLetters>(&row.value.id));
            if !tx.is_empty() {
                tx.commit().await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
