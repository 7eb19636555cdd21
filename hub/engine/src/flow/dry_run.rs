//! What a flow would have done upon what really happened. Nothing is written, sent or called.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use throughline_domain::flow::{Act, Advance, Evaluate, Machine};
use throughline_schemas::{Change, FlowId, RunId, Timestamp};
use throughline_store::tables::FlowVersionRecord;

use super::facts::{Facts, Subject};
use super::live::Live;
use super::steps::kept_input;
use super::views::{DryRun, DryRunDifference, DryRunEntry, DryRunReport, DryRunStep};
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

const USUAL: usize = 100;
const MOST: usize = 500;
/// Steps shown of one run.
const MOST_STEPS: usize = 50;

impl Hub {
    /// Runs a flow dry over the newest changes. Records are seen as they are now, not as they were then.
    pub fn dry_run_flow(&self, id: FlowId, dry: &DryRun) -> Result<DryRunReport> {
        let last = dry.last.unwrap_or(USUAL);
        if !(1..=MOST).contains(&last) {
            return Err(HubError::invalid("/last", format!("from 1 to {MOST} changes")));
        }
        let this = self.version_or_draft(id, dry.version)?;
        let changes = self.newest_changes(last)?;
        let mut report = self.dry_run(&this, &changes)?;
        if let Some(against) = dry.against {
            let against = self.version_or_draft(id, Some(against))?;
            let other = self.dry_run(&against, &changes)?;
            report.differences = Some(differences(&report.entries, other.entries));
        }
        Ok(report)
    }

    fn version_or_draft(&self, id: FlowId, version: Option<u32>) -> Result<Arc<Live>> {
        if let Some(version) = version {
            return self.flow_version_live(id, version);
        }
        let flow = self.flow_record(id)?.value;
        let record =
            FlowVersionRecord { spec: flow.draft, pins: BTreeMap::new(), published_at: Timestamp::default(), published_by: String::new() };
        Ok(Arc::new(Live::new(id, 0, record)?))
    }

    /// The newest changes of the log, oldest first. Numbers may have gaps, so more and more of it is read.
    fn newest_changes(&self, last: usize) -> Result<Vec<(u64, Change)>> {
        let head = self.head();
        let mut reach = last as u64 * 2;
        loop {
            let from = head.saturating_sub(reach);
            let mut changes = Vec::new();
            let mut after = from;
            loop {
                let page = self.changes(after, 1024)?;
                let Some((newest, _)) = page.last() else { break };
                after = *newest;
                changes.extend(page);
                // Only the end of a long stretch is wanted.
                if changes.len() > 4 * MOST {
                    changes.drain(..changes.len() - 2 * MOST);
                }
            }
            if changes.len() >= last || from == 0 {
                return Ok(changes.split_off(changes.len().saturating_sub(last)));
            }
            reach = reach.saturating_mul(4);
        }
    }

    fn dry_run(&self, flow: &Live, changes: &[(u64, Change)]) -> Result<DryRunReport> {
        let mut report = DryRunReport { changes: changes.len(), triggered: 0, started: 0, entries: Vec::new(), differences: None };
        for (sequence, change) in changes.iter().filter(|(_, change)| flow.is_started_by(change)) {
            report.triggered += 1;
            let flow_view = json!({ "id": flow.id, "version": flow.version, "run_id": RunId::from_bytes([0; 16]) });
            let subject = Subject { sequence: Some(*sequence), change: Some(change.clone()), input: Value::Null, flow: flow_view };
            let entry =
                DryRunEntry { event_id: sequence.to_string(), event_type: change.kind.as_str().to_owned(), steps: Vec::new(), error: None };
            match self.dry_condition(flow, &subject) {
                Ok(false) => {}
                Ok(true) => {
                    report.started += 1;
                    report.entries.push(self.dry_steps(flow, &subject, entry)?);
                }
                Err(error) => report.entries.push(DryRunEntry { error: Some(error), ..entry }),
            }
        }
        Ok(report)
    }

    fn dry_condition(&self, flow: &Live, subject: &Subject) -> std::result::Result<bool, String> {
        let Some(condition) = &flow.program.condition else { return Ok(true) };
        match Facts::new(self, subject).evaluate(&Machine::default(), condition) {
            Ok(Value::Bool(met)) => Ok(met),
            Ok(other) => Err(format!("the condition comes to {other}, neither true nor false")),
            Err(error) => Err(format!("the condition: {error}")),
        }
    }

    fn dry_steps(&self, flow: &Live, subject: &Subject, mut entry: DryRunEntry) -> Result<DryRunEntry> {
        let redactor = self.flow_redactor(subject)?;
        let mut machine = Machine::default();
        let mut facts = Facts::new(self, subject);
        while entry.steps.len() < MOST_STEPS {
            let todo = match machine.advance(&flow.program, &mut facts) {
                Ok(Advance::Done) => return Ok(entry),
                Ok(Advance::Do(todo)) => todo,
                Err(failure) => {
                    entry.error = Some(redactor.text(&failure.0));
                    return Ok(entry);
                }
            };
            facts.within(&todo.items);
            let input = match todo.act.template() {
                Some(template) => template.render(&mut |expression| facts.evaluate(&machine, expression)),
                None => Ok(Value::Null),
            };
            let input = match input {
                Ok(input) => input,
                Err(error) => {
                    entry.error = Some(format!("{}: {}", todo.name, redactor.text(&error)));
                    return Ok(entry);
                }
            };
            let shown =
                if let Act::Wait(seconds) = todo.act { json!({ "seconds": seconds }) } else { kept_input(&redactor, &todo.act, &input) };
            entry.steps.push(DryRunStep { name: todo.name.clone(), r#do: todo.act.name().to_owned(), input: shown });
            machine.did(todo, &json!({}));
        }
        entry.error = Some(format!("more than {MOST_STEPS} steps; the others are not shown"));
        Ok(entry)
    }
}

/// Entries that are not in both, or not the same.
fn differences(this: &[DryRunEntry], other: Vec<DryRunEntry>) -> Vec<DryRunDifference> {
    let mut both: BTreeMap<u64, (Option<DryRunEntry>, Option<DryRunEntry>)> = BTreeMap::new();
    let place = |entry: &DryRunEntry| entry.event_id.parse().unwrap_or(0);
    for entry in this {
        both.entry(place(entry)).or_default().0 = Some(entry.clone());
    }
    for entry in other {
        let at = place(&entry);
        both.entry(at).or_default().1 = Some(entry);
    }
    let differ = both.into_iter().filter(|(_, (this, other))| this != other);
    differ.map(|(sequence, (this, other))| DryRunDifference { event_id: sequence.to_string(), this, other }).collect()
}
