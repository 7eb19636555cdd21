//! `emit`: hands items over and returns when they are durable, which is the back-pressure and what makes the checkpoint safe.

use throughline_schemas::connector::ConnectorError;

use crate::call::cancelled;
use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, items_from_guest, parse, types};

impl imports::emit::Host for Guest {
    async fn emit(&mut self, items: Vec<types::Item>, checkpoint: Option<String>) -> Result<(), types::Error> {
        self.emit_items(items, checkpoint).await.map_err(|error| self.guest_error(error))
    }
}

impl Guest {
    async fn emit_items(&mut self, items: Vec<types::Item>, checkpoint: Option<String>) -> Result<(), ConnectorError> {
        if self.is_cancelled() {
            return Err(cancelled());
        }
        let connection = self.connection.clone();
        let items = items_from_guest(items, &connection.redactor)?;
        let checkpoint = checkpoint.map(|text| parse("the checkpoint", &text, &connection.redactor)).transpose()?;
        // Once begun it is not cancelled: the answer must be that of the store.
        connection.services.emit(items, checkpoint, self.pending.changes()).await?;
        self.pending.committed(&connection);
        Ok(())
    }
}
