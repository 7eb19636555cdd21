//! Published versions, compiled once and kept.

use std::sync::{Arc, PoisonError};

use throughline_domain::flow::{FieldRecord, Program, Trigger};
use throughline_schemas::{Change, ChangeKind, ChangeOrigin, FlowId};
use throughline_store::tables::{FlowRecord, FlowVersionRecord, FlowVersions, Flows, leading_id, read, scan_rows};

use crate::HubError;
use crate::cloud_event::EventFilter;
use crate::error::Result;
use crate::hub::Hub;

/// Compiled versions that are kept; beyond it they are compiled again.
const KEPT: usize = 1000;

/// A published version, ready to run.
pub(super) struct Live {
    pub(super) id: FlowId,
    pub(super) version: u32,
    pub(super) record: FlowVersionRecord,
    pub(super) program: Program,
    filter: EventFilter,
}

impl Live {
    pub(super) fn new(id: FlowId, version: u32, record: FlowVersionRecord) -> Result<Self> {
        let program = Program::compile(&record.spec).map_err(|errors| {
            let first = errors.into_iter().next().map(|error| format!("{}: {}", error.pointer, error.detail)).unwrap_or_default();
            HubError::Internal(format!("version {version} of {id} cannot be compiled any more: {first}"))
        })?;
        let kinds: &[String] = if let Trigger::Change(kinds) = &record.spec.trigger { kinds } else { &[] };
        let filter = EventFilter::parse(kinds.iter().map(String::as_str)).unwrap_or_default();
        Ok(Self { id, version, record, program, filter })
    }

    /// Whether a change is what starts it; its condition is not looked at.
    pub(super) fn is_started_by(&self, change: &Change) -> bool {
        if change.origin == Some(ChangeOrigin::Backfill) && !self.record.spec.backfill {
            return false;
        }
        match &self.record.spec.trigger {
            Trigger::Change(_) => self.filter.wants(change.kind),
            Trigger::Field { of, names } => {
                let kind = match of {
                    FieldRecord::Profile => ChangeKind::ProfileUpdated,
                    FieldRecord::Enquiry => ChangeKind::EnquiryUpdated,
                };
                let changed = change.data.get("fields").and_then(serde_json::Value::as_array);
                change.kind == kind
                    && changed.is_some_and(|changed| {
                        changed.iter().filter_map(|name| name.as_str()).any(|name| names.iter().any(|wanted| wanted == name))
                    })
            }
            Trigger::Schedule(_) | Trigger::Webhook {} => false,
        }
    }
}

impl Hub {
    pub(super) fn all_flows(&self) -> Result<Vec<(FlowId, FlowRecord)>> {
        let page = scan_rows::<Flows>(&self.inner.store, &[], None, usize::MAX)?;
        Ok(page.rows.into_iter().filter_map(|(key, row)| Some((FlowId::from_bytes(leading_id(&key)?), row.value))).collect())
    }

    /// What triggers start now.
    pub(super) fn enabled_flows(&self) -> Result<Arc<Vec<Arc<Live>>>> {
        if let Some(known) = &*self.inner.flows.enabled.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(known));
        }
        let mut live = Vec::new();
        for (id, flow) in self.all_flows()? {
            let Some(version) = flow.published.filter(|_| flow.enabled) else { continue };
            match self.flow_version_live(id, version) {
                Ok(version) => live.push(version),
                Err(error) => tracing::error!(flow = %id, %error, "a published flow cannot be run"),
            }
        }
        let live = Arc::new(live);
        *self.inner.flows.enabled.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&live));
        Ok(live)
    }

    /// One version, compiled.
    pub(super) fn flow_version_live(&self, id: FlowId, version: u32) -> Result<Arc<Live>> {
        let versions = || self.inner.flows.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions().get(&(id, version)) {
            return Ok(Arc::clone(known));
        }
        let row = read::<FlowVersions>(&self.inner.store, &(id, version))?;
        let record = row.ok_or_else(|| HubError::not_found("version", format!("{version} of flow {id}")))?.value;
        let live = Arc::new(Live::new(id, version, record)?);
        let mut versions = versions();
        if versions.len() >= KEPT {
            versions.clear();
        }
        versions.insert((id, version), Arc::clone(&live));
        Ok(live)
    }
}
