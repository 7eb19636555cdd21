//! Reads an entity page by page, from the stored cursor on, again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::sync::deletion;
use throughline_schemas::Timestamp;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, Page};
use throughline_schemas::manifest::{Canonical, Deletes};
use throughline_schemas::sync::Link;
use throughline_store::tables::{Cursors, Links, read, scan_rows};

use super::{Patience, Task};
use crate::ingest::IngestBatch;
use crate::services::to_connector_error;

/// How many items are asked for at once.
const PAGE: u32 = 200;

pub(super) async fn run(mut task: Task, entity: String, canonical: Canonical, every: Duration) {
    if canonical == Canonical::Enquiry {
        // What refers to persons is read when they are known, as far as one attempt can tell.
        let mut persons = task.persons_to_walk.listen();
        if task.unless_stopped(async move { persons.until(|left| *left == 0).await }).await.is_none() {
            return;
        }
    }
    let mut first = canonical == Canonical::Profile;
    let mut patience = Patience::default();
    loop {
        task.poll_now.skip();
        let Some(polled) = task.unless_stopped(walk(&task, &entity)).await else { return };
        if std::mem::take(&mut first) {
            task.persons_to_walk.modify(|left| *left = left.saturating_sub(1));
        }
        match polled {
            Ok(()) => {
                patience.renew();
                task.health.worked(task.hub.now());
                let (mut poll_now, walks, entity) = (task.poll_now.clone(), std::sync::Arc::clone(&task.walks), entity.clone());
                let wait = async move {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(every) => {}
                        () = poll_now.changed() => {}
                        () = walks.wished(&entity) => {}
                    }
                };
                if task.unless_stopped(wait).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(connection = %task.id, %entity, %error, "reading failed; it will be tried again");
                if !task.back_off(&error, &mut patience).await {
                    return;
                }
            }
        }
    }
}

/// One walk over all pages there are now.
async fn walk(task: &Task, entity: &str) -> Result<(), ConnectorError> {
    let store = &task.hub.inner.store;
    let began = task.hub.now();
    let stored = read::<Cursors>(store, &(task.id, entity.to_owned())).map_err(|error| to_connector_error(&error.into()))?;
    let mut cursor = stored.map(|row| row.value.cursor);
    let lists = finds_deletes(task, entity)?;
    let mut seen = BTreeSet::new();
    let mut deletions = Deletions::default();
    loop {
        let called = task.connector.read(entity, cursor.as_ref(), PAGE).await?;
        let Page { items, next, checkpoint, details } = called.value;
        if lists {
            seen.extend(items.iter().map(|item| item.key.clone()));
        }
        let items = deletions.let_through(task, entity, items).await?;
        let batch = IngestBatch { items, cursor: Some((entity.to_owned(), checkpoint)), state: called.state };
        task.hub.ingest(task.id, batch).await.map_err(|error| to_connector_error(&error))?;
        let Some(next) = next else {
            task.walks.walked(entity, began);
            return match details.as_ref().filter(|_| lists).and_then(|details| complete_listing(details, seen)) {
                Some(listed) => mark_missing(task, entity, &listed, began).await,
                None => Ok(()),
            };
        };
        if cursor.as_ref() == Some(&next) {
            let detail = format!("reading {entity} does not get on: the next page is the same as this one");
            return Err(ConnectorError::new(ErrorClass::Bug, detail));
        }
        cursor = Some(next);
    }
}

fn finds_deletes(task: &Task, entity: &str) -> Result<bool, ConnectorError> {
    let context = task.hub.connection_context(task.id).map_err(|error| to_connector_error(&error))?;
    Ok(context.entities.get(entity).is_some_and(|entity| entity.deletes == Deletes::FullList))
}

/// All keys there are, if the plugin vouches for it: those it names itself, or those of this walk.
fn complete_listing(details: &Value, seen: BTreeSet<String>) -> Option<BTreeSet<String>> {
    if details.get("complete_listing") != Some(&Value::Bool(true)) {
        return None;
    }
    match details.get("keys").and_then(Value::as_array) {
        Some(keys) => Some(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        None => Some(seen),
    }
}

/// What a complete listing did not show any more is deleted, unless it came to be while the listing went on.
async fn mark_missing(task: &Task, entity: &str, listed: &BTreeSet<String>, began: Timestamp) -> Result<(), ConnectorError> {
    let mut missing = Vec::new();
    let count = each_link(task, entity, |link| {
        if link.seen_at < began && !listed.contains(&link.key) {
            missing.push(link.key);
        }
    })?;
    if deletion::is_held(missing.len(), count) {
        let because = format!("a full listing of {entity} lacks {} of {count} records", missing.len());
        return hold(task, entity, &missing, because).await;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let deleted = |key| Item { kind: ItemKind::Deleted, entity: entity.to_owned(), key, version: None, at_ms: None, data: json!({}) };
    let items = missing.into_iter().map(deleted).collect();
    task.hub.ingest(task.id, IngestBatch { items, ..IngestBatch::default() }).await.map_err(|error| to_connector_error(&error))?;
    Ok(())
}

/// How many records of an entity the silo is known to have, each shown to `look`.
fn each_link(task: &Task, entity: &str, mut look: impl FnMut(Link)) -> Result<usize, ConnectorError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = scan_rows::<Links>(&task.hub.inner.store, task.id.as_bytes(), after.as_deref(), 500)
            .map_err(|error| to_connector_error(&error.into()))?;
        for link in page.rows.into_iter().map(|(_, row)| row.value).filter(|link| link.entity == entity && link.deleted_at.is_none()) {
            count += 1;
            look(link);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(count),
        }
    }
}

async fn hold(task: &Task, entity: &str, keys: &[String], because: String) -> Result<(), ConnectorError> {
    task.hub.hold_deletes(task.id, entity, keys, because).await.map_err(|error| to_connector_error(&error))
}

/// The deletions that one walk has told of.
#[derive(Default)]
struct Deletions {
    told: usize,
    known: Option<usize>,
    held: Vec<String>,
}

impl Deletions {
    /// Gives what may be taken in now; from where there are too many deletions on, they are held. What was let through before stays
    /// within what is believed unseen.
    async fn let_through(&mut self, task: &Task, entity: &str, items: Vec<Item>) -> Result<Vec<Item>, ConnectorError> {
        let told = items.iter().filter(|item| item.kind == ItemKind::Deleted).count();
        self.told += told;
        if told == 0 || !deletion::is_held(self.told, 0) {
            return Ok(items);
        }
        let known = match self.known {
            Some(known) => known,
            None => *self.known.insert(each_link(task, entity, drop)?),
        };
        if !deletion::is_held(self.told, known) {
            return Ok(items);
        }
        let (deleted, others): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.kind == ItemKind::Deleted);
        // One that the same page shows alive was made anew.
        let alive: BTreeSet<&String> = others.iter().map(|item| &item.key).collect();
        self.held.extend(deleted.into_iter().map(|item| item.key).filter(|key| !alive.contains(key)));
        let because = format!("{entity}: {} of {known} records were deleted at once", self.told);
        hold(task, entity, &self.held, because).await?;
        Ok(others)
    }
}
