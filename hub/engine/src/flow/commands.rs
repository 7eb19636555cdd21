//! Flows as the API asks for them: written, checked, published, started by hand; their runs shown and retried.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use throughline_domain::flow::{FlowSpec, Program, Trigger};
use throughline_schemas::{FlowId, RunId, Timestamp};
use throughline_store::tables::{
    FlowRecord, FlowSchedule, FlowSchedules, FlowVersionRecord, FlowVersions, Flows, PinnedConnection, Row, RunRecord, RunState, RunSteps,
    RunSummary, Runs, RunsByFlow, Tx, forget_rows, leading_id, read, scan_rows,
};

use super::settle::make_due;
use super::views::{FlowPatch, FlowVersionView, FlowView, NewFlow, RunFilter, RunView};
use crate::HubError;
use crate::clock::fresh;
use crate::cloud_event::EventFilter;
use crate::commands::{expect_version, page, page_of, schema_errors};
use crate::error::{FieldError, Result};
use crate::hub::{Hub, PageOf, Paging, Stored};

/// The longest flow, as JSON, in bytes.
const LONGEST_SPEC: usize = 48 * 1024;
/// The longest input of a trigger, as JSON, in bytes.
const LONGEST_INPUT: usize = 16 * 1024;
/// Steps of a run that are shown.
const MOST_STEPS: usize = 10_000;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(FlowSpec).to_value());

impl Hub {
    /// Makes a flow. It does nothing until it is published.
    pub async fn create_flow(&self, new: NewFlow) -> Result<Stored<FlowView>> {
        let spec = check_spec(&new.spec);
        self.check_flow_name(None, &new.name, spec.as_ref().err())?;
        let (id, now) = (FlowId::from_bytes(fresh()), self.now());
        let record = FlowRecord { name: new.name, draft: spec?, published: None, enabled: new.enabled, created_at: now, updated_at: now };
        self.transact(|tx| Ok(tx.put::<Flows>(&id, &record)?)).await?;
        self.flow(id)
    }

    /// One flow.
    pub fn flow(&self, id: FlowId) -> Result<Stored<FlowView>> {
        let row = self.flow_record(id)?;
        Ok(Stored { value: self.show_flow(id, row.value)?, version: row.version })
    }

    /// All flows, in the order they were made.
    pub fn flows(&self, paging: Paging) -> Result<PageOf<Stored<FlowView>>> {
        page_of(page::<Flows>(&self.inner.store, &[], &paging)?, |key, record, version| {
            let Some(id) = leading_id(key).map(FlowId::from_bytes) else { return Ok(None) };
            Ok(Some(Stored { value: self.show_flow(id, record)?, version }))
        })
    }

    /// Changes a flow of the version that was read.
    pub async fn update_flow(&self, id: FlowId, expect: u64, patch: FlowPatch) -> Result<Stored<FlowView>> {
        let spec = patch.spec.as_ref().map(check_spec).transpose()?;
        if let Some(name) = &patch.name {
            self.check_flow_name(Some(id), name, None)?;
        }
        self.transact(|tx| {
            let mut row = tx.get::<Flows>(&id)?.ok_or_else(|| HubError::not_found("flow", id))?;
            expect_version(row.version, expect)?;
            if let Some(name) = &patch.name {
                row.value.name.clone_from(name);
            }
            if let Some(spec) = &spec {
                row.value.draft.clone_from(spec);
            }
            row.value.enabled = patch.enabled.unwrap_or(row.value.enabled);
            row.value.updated_at = self.now();
            Ok(tx.put::<Flows>(&id, &row.value)?)
        })
        .await?;
        self.flows_changed();
        self.flow(id)
    }

    /// Ends a flow, its versions and its runs, those under way included.
    pub async fn delete_flow(&self, id: FlowId, expect: u64) -> Result<()> {
        self.transact(|tx| {
            let row = tx.get::<Flows>(&id)?.ok_or_else(|| HubError::not_found("flow", id))?;
            expect_version(row.version, expect)?;
            tx.delete::<Flows>(&id);
            tx.delete::<FlowSchedules>(&id);
            Ok(())
        })
        .await?;
        self.flows_changed();
        forget_rows::<FlowVersions>(&self.inner.store, id.as_bytes(), 50).await?;
        self.inner.flows.versions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(|(flow, _), _| *flow != id);
        self.forget_runs_of(id).await
    }

    /// Makes the draft a version that is never changed again, and has it run; or has an earlier version run again. Runs that have begun
    /// go on with the version they began with.
    pub async fn publish_flow(&self, id: FlowId, earlier: Option<u32>, by: &str) -> Result<Stored<FlowView>> {
        let draft = self.flow_record(id)?.value.draft;
        let program = compiled(&draft)?;
        let pins = if earlier.is_none() { self.pins(&program)? } else { BTreeMap::new() };
        self.transact(|tx| {
            let mut row = tx.get::<Flows>(&id)?.ok_or_else(|| HubError::not_found("flow", id))?;
            if row.value.draft != draft {
                return Err(HubError::conflict("the flow was changed while it was being published; publish it again"));
            }
            let newest = self.newest_version(id)?;
            let version = match earlier {
                Some(version) if (1..=newest).contains(&version) => version,
                Some(version) => {
                    return Err(HubError::invalid("/version", format!("there is no version {version}; the newest is {newest}")));
                }
                None => newest + 1,
            };
            let now = self.now();
            if earlier.is_none() {
                let record = FlowVersionRecord { spec: draft.clone(), pins: pins.clone(), published_at: now, published_by: by.to_owned() };
                if tx.get::<FlowVersions>(&(id, version))?.is_some() {
                    return Err(HubError::Busy);
                }
                tx.put::<FlowVersions>(&(id, version), &record)?;
            }
            match earlier {
                Some(_) => schedule(tx, id, &self.flow_version_live(id, version)?.program, now)?,
                None => schedule(tx, id, &program, now)?,
            }
            row.value.published = Some(version);
            row.value.updated_at = now;
            Ok(tx.put::<Flows>(&id, &row.value)?)
        })
        .await?;
        self.flows_changed();
        self.flow(id)
    }

    /// The published versions, oldest first.
    pub fn flow_versions(&self, id: FlowId, paging: Paging) -> Result<PageOf<FlowVersionView>> {
        self.flow_record(id)?;
        page_of(page::<FlowVersions>(&self.inner.store, id.as_bytes(), &paging)?, |key, record, _| {
            let Some(version) = FlowVersions::version(key) else { return Ok(None) };
            let FlowVersionRecord { spec, pins, published_at, published_by } = record;
            Ok(Some(FlowVersionView { version, spec, pins, published_at, published_by }))
        })
    }

    /// Starts a flow whose trigger is a request.
    pub async fn trigger_flow(&self, id: FlowId, input: Value) -> Result<RunView> {
        let flow = self.flow_record(id)?.value;
        let version = flow.published.ok_or_else(|| HubError::conflict("the flow is not published"))?;
        if !flow.enabled {
            return Err(HubError::conflict("the flow is disabled"));
        }
        let live = self.flow_version_live(id, version)?;
        if !matches!(live.record.spec.trigger, Trigger::Webhook {}) {
            return Err(HubError::conflict("the flow has another trigger; only one with `webhook` is started by a request"));
        }
        if !input.is_object() || input.to_string().len() > LONGEST_INPUT {
            return Err(HubError::invalid("", format!("send a JSON object of at most {LONGEST_INPUT} bytes")));
        }
        let subject = super::facts::Subject { input: input.clone(), ..Default::default() };
        if !self.meets_condition(&live, &subject) {
            return Err(HubError::conflict("the flow's condition is not met by this input"));
        }
        let run = self.start_run(&live, input).await?;
        self.run(id, run)
    }

    /// A flow's runs, newest first.
    pub fn runs(&self, id: FlowId, filter: RunFilter, paging: Paging) -> Result<PageOf<RunView>> {
        self.flow_record(id)?;
        page_of(page::<RunsByFlow>(&self.inner.store, id.as_bytes(), &paging)?, |key, summary, _| {
            let run = RunsByFlow::run(key).filter(|_| filter.state.is_none_or(|state| state == summary.state));
            let row = run.map(|run| Ok::<_, HubError>((run, read::<Runs>(&self.inner.store, &run)?))).transpose()?;
            Ok(row.and_then(|(run, row)| Some(show_run(run, row?.value))))
        })
    }

    /// One run, with what each step was given and gave.
    pub fn run(&self, flow: FlowId, id: RunId) -> Result<RunView> {
        let row = self.run_record(flow, id)?;
        let steps = scan_rows::<RunSteps>(&self.inner.store, id.as_bytes(), None, MOST_STEPS)?;
        let steps = steps.rows.into_iter().map(|(_, row)| row.value).collect();
        Ok(RunView { steps: Some(steps), ..show_run(id, row.value) })
    }

    /// Has a failed run go on from the step that failed.
    pub async fn retry_run(&self, flow: FlowId, id: RunId) -> Result<RunView> {
        self.run_record(flow, id)?;
        self.transact(|tx| {
            let mut run = tx.get::<Runs>(&id)?.ok_or_else(|| HubError::not_found("run", id))?.value;
            if run.state != RunState::Failed {
                return Err(HubError::conflict("only a run that has failed can be retried"));
            }
            if run.depth > throughline_domain::flow::MAX_DEPTH {
                return Err(HubError::conflict("this run was not started because flows caused each other in a row; it cannot be retried"));
            }
            run.state = RunState::Running;
            run.machine.attempts = 0;
            run.error = None;
            run.finished_at = None;
            tx.put::<RunsByFlow>(&(flow, id), &RunSummary { state: run.state, finished_at: None, bytes: run.bytes })?;
            make_due(tx, id, &mut run, self.now())?;
            Ok(tx.put::<Runs>(&id, &run)?)
        })
        .await?;
        self.inner.flows.due.notify_one();
        self.run(flow, id)
    }

    pub(super) fn flow_record(&self, id: FlowId) -> Result<Row<FlowRecord>> {
        read::<Flows>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("flow", id))
    }

    fn run_record(&self, flow: FlowId, id: RunId) -> Result<Row<RunRecord>> {
        let row = read::<Runs>(&self.inner.store, &id)?.filter(|row| row.value.flow_id == flow);
        row.ok_or_else(|| HubError::not_found("run", id))
    }

    fn newest_version(&self, id: FlowId) -> Result<u32> {
        let page = scan_rows::<FlowVersions>(&self.inner.store, id.as_bytes(), None, usize::MAX)?;
        Ok(page.rows.last().and_then(|(key, _)| FlowVersions::version(key)).unwrap_or(0))
    }

    /// The connections that a program calls, as they are now.
    fn pins(&self, program: &Program) -> Result<BTreeMap<String, PinnedConnection>> {
        let known = self.all_connections()?;
        let mut pins = BTreeMap::new();
        for name in &program.connections {
            let Some((id, record)) = known.iter().find(|(_, record)| record.name == *name) else {
                return Err(HubError::invalid("/spec", format!("there is no connection called {name:?}, which a step calls")));
            };
            let pin = PinnedConnection { connection_id: *id, plugin: record.plugin.clone(), plugin_version: record.plugin_version.clone() };
            pins.insert(name.clone(), pin);
        }
        Ok(pins)
    }

    fn check_flow_name(&self, own: Option<FlowId>, name: &str, others: Option<&HubError>) -> Result<()> {
        let mut errors = Vec::new();
        if name.trim().is_empty() || name.len() > 100 {
            errors.push(FieldError { pointer: "/name".to_owned(), detail: "a name of 1 to 100 characters is needed".to_owned() });
        }
        if self.all_flows()?.iter().any(|(id, other)| Some(*id) != own && other.name == name) {
            errors.push(FieldError { pointer: "/name".to_owned(), detail: format!("another flow is called {name:?} already") });
        }
        if let Some(HubError::Invalid { errors: others }) = others {
            errors.extend(others.clone());
        }
        if errors.is_empty() { Ok(()) } else { Err(HubError::Invalid { errors }) }
    }

    fn show_flow(&self, id: FlowId, record: FlowRecord) -> Result<FlowView> {
        let published = match record.published {
            Some(version) => read::<FlowVersions>(&self.inner.store, &(id, version))?.map(|row| row.value.spec),
            None => None,
        };
        let errors = self.inner.flows.condition_errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let condition_error = errors.get(&id).map(|(at, error)| format!("{at}: {error}"));
        Ok(FlowView {
            id,
            name: record.name,
            has_unpublished_changes: published.as_ref() != Some(&record.draft),
            spec: record.draft,
            published: record.published,
            enabled: record.enabled,
            condition_error,
            created_at: record.created_at,
            updated_at: record.updated_at,
        })
    }
}

/// A schedule begins to count when it is published.
fn schedule(tx: &mut Tx, id: FlowId, program: &Program, now: Timestamp) -> Result<()> {
    match &program.timing {
        Some(timing) => tx.put::<FlowSchedules>(&id, &FlowSchedule { next_at: timing.next_after(now) })?,
        None => tx.delete::<FlowSchedules>(&id),
    }
    Ok(())
}

fn show_run(id: RunId, run: RunRecord) -> RunView {
    let goes_on = matches!(run.state, RunState::Running | RunState::Waiting);
    RunView {
        id,
        flow_id: run.flow_id,
        version: run.version,
        state: run.state,
        depth: run.depth,
        event_id: run.sequence.map(|sequence| sequence.to_string()),
        event_type: run.change.map(|change| change.kind.as_str().to_owned()),
        due: goes_on.then_some(run.due),
        error: run.error,
        started_at: run.started_at,
        finished_at: run.finished_at,
        steps: None,
    }
}

/// Reads and checks a flow: its form, its names, its expressions. Every mistake has a pointer that begins with `/spec`.
fn check_spec(value: &Value) -> Result<FlowSpec> {
    let size = value.to_string().len();
    if size > LONGEST_SPEC {
        return Err(HubError::invalid("/spec", format!("a flow has at most {LONGEST_SPEC} bytes as JSON; this has {size}")));
    }
    let spec: FlowSpec = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = pointer(error.path());
        HubError::invalid(format!("/spec{path}"), error.into_inner().to_string())
    })?;
    let errors = schema_errors(&SCHEMA, value, "/spec");
    if !errors.is_empty() {
        return Err(HubError::Invalid { errors });
    }
    if let Trigger::Change(kinds) = &spec.trigger
        && let Err((index, name)) = EventFilter::parse(kinds.iter().map(String::as_str))
    {
        let detail = format!("there is no kind of change {name:?}; write for instance `enquiry.opened` or `enquiry.*`");
        return Err(HubError::invalid(format!("/spec/trigger/change/{index}"), detail));
    }
    compiled(&spec)?;
    Ok(spec)
}

fn compiled(spec: &FlowSpec) -> Result<Program> {
    Program::compile(spec).map_err(|errors| HubError::Invalid {
        errors: errors.into_iter().map(|error| FieldError { pointer: format!("/spec{}", error.pointer), detail: error.detail }).collect(),
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let text = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        // Steps and triggers are written as a map with one key: the variant's name.
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    };
    path.iter().filter_map(text).map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}
