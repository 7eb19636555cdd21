//! A silo's post or page is a hint; the record, read back, is the fact. Reads back what nothing else shows to be one.

use std::collections::BTreeMap;

use serde_json::json;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found, Item, ItemKind};
use throughline_store::tables::{Links, read};

use super::{ConnectionContext, Report, Trust};
use crate::error::Result;
use crate::hub::Hub;

impl Hub {
    /// Replaces hints by what the silo says when it is asked. What cannot be asked for is believed as it is.
    pub(super) async fn read_back(
        &self,
        context: &ConnectionContext,
        reports: &mut [Report],
        hints: &[(usize, Option<u64>)],
    ) -> Result<()> {
        let Some(connector) = self.open_now(context.id) else {
            hints.iter().for_each(|(place, _)| reports[*place].trust = Trust::Fact);
            return Ok(());
        };
        let mut by_entity: BTreeMap<String, Vec<(usize, Option<u64>)>> = BTreeMap::new();
        for hint in hints {
            by_entity.entry(reports[hint.0].item.entity.clone()).or_default().push(*hint);
        }
        for (entity, hints) in by_entity {
            let keys: Vec<String> = hints.iter().map(|(place, _)| reports[*place].item.key.clone()).collect();
            let found = match connector.get(&entity, &keys).await {
                Ok(found) => found,
                Err(error) if error.class == ErrorClass::Unsupported => {
                    hints.iter().for_each(|(place, _)| reports[*place].trust = Trust::Fact);
                    continue;
                }
                Err(error) => return Err(to_be_tried_again(error).into()),
            };
            // A connector that answers for fewer keys than it was asked says nothing of the others.
            for ((place, link), found) in hints.iter().zip(found) {
                let report = &mut reports[*place];
                report.item = item_of(&report.item, found);
                report.trust = Trust::ReadAt(*link);
            }
            for (place, _) in hints {
                if reports[place].trust == Trust::Hint {
                    reports[place].trust = Trust::Fact;
                }
            }
        }
        Ok(())
    }

    /// Reads records of a connection back and takes them in as facts; answers which of them are there.
    pub(crate) async fn look_at(
        &self,
        context: &ConnectionContext,
        connector: &dyn throughline_domain::connector::Connector,
        entity: &str,
        keys: &[String],
    ) -> std::result::Result<Vec<Found>, ConnectorError> {
        let version = |key: &String| {
            let row = read::<Links>(&self.inner.store, &(context.id, entity.to_owned(), key.clone()));
            row.map(|row| row.map(|row| row.version)).map_err(|error| crate::services::to_connector_error(&error.into()))
        };
        let links = keys.iter().map(version).collect::<std::result::Result<Vec<_>, ConnectorError>>()?;
        let found = connector.get(entity, keys).await?;
        let mut reports = Vec::new();
        for ((key, link), found) in keys.iter().zip(links).zip(&found) {
            let asked =
                Item { kind: ItemKind::Record, entity: entity.to_owned(), key: key.clone(), version: None, at_ms: None, data: json!({}) };
            reports.push(Report { item: item_of(&asked, found.clone()), trust: Trust::ReadAt(link), refused: None });
        }
        self.take_in(context, reports).await.map_err(|error| crate::services::to_connector_error(&error))?;
        Ok(found)
    }
}

/// What came of asking for a record, as news.
fn item_of(asked: &Item, found: Found) -> Item {
    let news = |kind, data| Item { kind, version: None, at_ms: None, data, ..asked.clone() };
    match found {
        Found::Record(item) => Item { entity: asked.entity.clone(), key: asked.key.clone(), ..item },
        Found::Gone => news(ItemKind::Deleted, json!({})),
        Found::MovedTo(into) => news(ItemKind::Merged, json!({ "into": into })),
    }
}

/// Whatever kept us from reading it, the news is not at fault: whoever brought it brings it again.
fn to_be_tried_again(error: ConnectorError) -> ConnectorError {
    match error.class {
        ErrorClass::InvalidRecord | ErrorClass::Gone | ErrorClass::Ambiguous | ErrorClass::Conflict => {
            ConnectorError { class: ErrorClass::Transient, ..error }
        }
        _ => error,
    }
}
