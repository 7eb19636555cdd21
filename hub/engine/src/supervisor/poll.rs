//! Reads an entity page by page, from the stored cursor on, again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, Page};
use throughline_schemas::manifest::Deletes;
use throughline_store::tables::{Cursors, Links, read, scan_rows};

use super::Task;
use crate::ingest::IngestBatch;
use crate::services::to_connector_error;

/// How many items are asked for at once.
const PAGE: u32 = 200;
/// A listing that would mark more records deleted than the larger of these is held back: a silo that answers half a list must not
/// empty the hub's links.
const DELETES_AT_LEAST: usize = 20;
const DELETES_SHARE: usize = 20;

pub(super) async fn run(task: Task, entity: String, every: Duration) {
    loop {
        let Some(polled) = task.unless_stopped(walk(&task, &entity)).await else { return };
        match polled {
            Ok(()) => {
                task.health.worked(task.hub.now());
                let wait = async {
                    tokio::select! {
                        () = tokio::time::sleep(every) => {}
                        () = task.poll_now.notified() => {}
                    }
                };
                if task.unless_stopped(wait).await.is_none() {
                    return;
                }
            }
            Err(error) if error.class == ErrorClass::Cancelled => return,
            Err(error) => {
                tracing::warn!(connection = %task.id, %entity, %error, "reading failed; it will be tried again");
                if !task.back_off(&error).await {
                    return;
                }
            }
        }
    }
}

/// One walk over all pages there are now.
async fn walk(task: &Task, entity: &str) -> Result<(), ConnectorError> {
    let store = &task.hub.inner.store;
    let stored = read::<Cursors>(store, &(task.id, entity.to_owned())).map_err(|error| to_connector_error(&error.into()))?;
    let mut cursor = stored.map(|row| row.value.cursor);
    let mut seen = BTreeSet::new();
    loop {
        let called = task.connector.read(entity, cursor.as_ref(), PAGE).await?;
        let Page { items, next, checkpoint, details } = called.value;
        seen.extend(items.iter().map(|item| item.key.clone()));
        let batch = IngestBatch { items, cursor: Some((entity.to_owned(), checkpoint)), state: called.state };
        task.hub.ingest(task.id, batch).await.map_err(|error| to_connector_error(&error))?;
        if next.is_none() {
            let complete = details.as_ref().and_then(|details| details.get("complete_listing")) == Some(&Value::Bool(true));
            return if complete { mark_missing(task, entity, &seen).await } else { Ok(()) };
        }
        cursor = next;
    }
}

/// What a complete listing did not show any more is deleted.
async fn mark_missing(task: &Task, entity: &str, seen: &BTreeSet<String>) -> Result<(), ConnectorError> {
    let context = task.hub.connection_context(task.id).map_err(|error| to_connector_error(&error))?;
    if context.entities.get(entity).is_none_or(|entity| entity.deletes != Deletes::FullList) {
        return Ok(());
    }
    let page = scan_rows::<Links>(&task.hub.inner.store, task.id.as_bytes(), None, usize::MAX)
        .map_err(|error| to_connector_error(&error.into()))?;
    let links: Vec<_> =
        page.rows.into_iter().map(|(_, row)| row.value).filter(|link| link.entity == entity && link.deleted_at.is_none()).collect();
    let missing: Vec<_> = links.iter().filter(|link| !seen.contains(&link.key)).collect();
    if missing.len() > DELETES_AT_LEAST.max(links.len() / DELETES_SHARE) {
        let detail = format!("a full listing of {entity} lacks {} of {} records; deletions are held back", missing.len(), links.len());
        tracing::error!(connection = %task.id, "{detail}");
        return Err(ConnectorError::new(ErrorClass::Config, detail));
    }
    let items: Vec<Item> = missing
        .into_iter()
        .map(|link| Item {
            kind: ItemKind::Deleted,
            entity: entity.to_owned(),
            key: link.key.clone(),
            version: None,
            at_ms: None,
            data: json!({}),
        })
        .collect();
    if items.is_empty() {
        return Ok(());
    }
    task.hub.ingest(task.id, IngestBatch { items, ..IngestBatch::default() }).await.map_err(|error| to_connector_error(&error))?;
    Ok(())
}
