//! How far a connection's walks have come, and reading anew from the beginning.

use serde_json::json;
use throughline_schemas::{Change, ChangeKind, ConnectionId};
use throughline_store::tables::{Connections, Cursors, read, scan_rows, trailing_name};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::supervisor::LISTEN_CURSOR;
use crate::views::CursorView;

impl Hub {
    /// Where a connection's walks go on.
    pub fn connection_cursors(&self, id: ConnectionId) -> Result<Vec<CursorView>> {
        self.connection(id)?;
        let page = scan_rows::<Cursors>(&self.inner.store, id.as_bytes(), None, 1000)?;
        let views = page.rows.into_iter().map(|(key, row)| CursorView {
            entity: trailing_name(&key).unwrap_or_default(),
            cursor: row.value.cursor,
            at: row.value.at,
        });
        Ok(views.collect())
    }

    /// Forgets how far an entity was read (or `listen`, how far was listened): the next walk begins at the beginning. What is read
    /// again is known by its key and version, so that nothing comes twice; what the silo lost stays until a full listing lacks it.
    pub async fn reset_cursor(&self, id: ConnectionId, entity: &str) -> Result<()> {
        let _lifecycle = self.lifecycle(id).await;
        let row = read::<Connections>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("connection", id))?;
        let key = (id, entity.to_owned());
        if read::<Cursors>(&self.inner.store, &key)?.is_none() {
            // Nothing was read of it yet, which is what is wanted; a name that means nothing is a slip.
            return if self.has_cursor(id, entity)? { Ok(()) } else { Err(HubError::not_found("cursor", entity)) };
        }
        // A walk under way would commit its cursor after ours.
        self.stop_connection(id).await;
        let data = json!({ "connection": id, "cursor_reset": entity });
        let reset = self.transact(|tx| {
            tx.delete::<Cursors>(&key);
            Ok(tx.log(&Change { data: data.clone(), ..Change::new(ChangeKind::ConnectionChanged, self.now()) })?)
        });
        let reset = reset.await;
        if !row.value.paused {
            self.start_connection(id).await?;
        }
        reset
    }

    fn has_cursor(&self, id: ConnectionId, entity: &str) -> Result<bool> {
        let context = self.connection_context(id)?;
        Ok(entity == LISTEN_CURSOR || context.entities.contains_key(entity))
    }
}
