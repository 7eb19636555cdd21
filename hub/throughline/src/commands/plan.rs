//! `throughline plan`: large runs that wait for somebody's word; and `connection backfill`, which begins one.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use throughline_schemas::PlanId;
use throughline_schemas::plan::{Plan, PlanSample};

use super::connection::{COLLECTION, find};
use crate::arguments::{Remote, ResetCursor};
use crate::client::Client;
use crate::output;

/// What can be asked of plans.
#[derive(Debug, Subcommand)]
pub(crate) enum Plans {
    /// List them; those that wait by default.
    List {
        /// `reading`, `waiting`, `applying`, `done`, `cancelled`, `failed` or `all`.
        #[arg(long, default_value = "waiting")]
        state: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one: how many records are created, linked, changed, disputed, deleted or skipped, and some of each.
    Show {
        /// The plan's id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Have exactly this plan carried out.
    Approve {
        /// The plan's id.
        id: String,
        /// Its hash, as `show` gave it: what you looked at is what is done.
        hash: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Do nothing more of it. What was done stays.
    Cancel {
        /// The plan's id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(crate) fn run(command: Plans, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Plans::List { state, remote } => list(&state, &remote, json),
        Plans::Show { id, remote } => {
            let plan: Plan = Client::new(&remote)?.get(&path(&id, "")?, &[])?;
            shown(&plan, json)
        }
        Plans::Approve { id, hash, remote } => {
            let plan: Plan = Client::new(&remote)?.post(&path(&id, "/approve")?, &json!({ "hash": hash }))?;
            shown(&plan, json)
        }
        Plans::Cancel { id, remote } => {
            let plan: Plan = Client::new(&remote)?.post(&path(&id, "/cancel")?, &json!({}))?;
            shown(&plan, json)
        }
    }
}

/// Begins to read an entity into a plan.
pub(crate) fn backfill(what: &ResetCursor, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&what.remote)?;
    let found = find(&client, &what.connection)?;
    let path = format!("{COLLECTION}/{}/backfill", found.value.id);
    let plan: Plan = client.post(&path, &json!({ "entity": what.entity }))?;
    output::print(json, &plan, || format!("{} is being read into {}.\nNext: throughline plan show {}", what.entity, plan.id, plan.id))?;
    Ok(ExitCode::SUCCESS)
}

fn list(state: &str, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let filter: &[(&str, &str)] = if state == "all" { &[] } else { &[("state", state)] };
    let plans: Vec<Plan> = Client::new(remote)?.list("/v1/plans", filter, usize::MAX)?;
    output::print(json, &plans, || {
        if plans.is_empty() {
            return "None.".to_owned();
        }
        plans.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn shown(plan: &Plan, json: bool) -> anyhow::Result<ExitCode> {
    output::print(json, plan, || text(plan))?;
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str, verb: &str) -> anyhow::Result<String> {
    let id: PlanId = id.parse().map_err(|_| anyhow::anyhow!("{id:?} is no plan's id; `plan list` shows them"))?;
    Ok(format!("/v1/plans/{id}{verb}"))
}

fn line(plan: &Plan) -> String {
    let counts: Vec<String> = plan.counts.iter().map(|(action, count)| format!("{count} {}", word(action))).collect();
    format!("{}  {}  {}  {}  {}", plan.id, word(&plan.state), word(&plan.kind), plan.entity, counts.join(", "))
}

fn text(plan: &Plan) -> String {
    let mut lines = vec![line(plan)];
    lines.extend(plan.because.iter().map(|because| format!("    {}", output::one_line(because, 300))));
    lines.extend(plan.samples.iter().map(sample));
    if plan.done > 0 {
        let (done, steps) = (plan.done, plan.steps);
        let told = format!("{} done, {} had changed since, {} failed", plan.applied, plan.changed, plan.failed);
        lines.push(format!("{done} of {steps} steps: {told}"));
    }
    if plan.state == throughline_schemas::plan::PlanState::Waiting {
        lines.push(format!("Next: throughline plan approve {} {}", plan.id, plan.hash));
    }
    lines.join("\n")
}

fn sample(sample: &PlanSample) -> String {
    let effect = &sample.effect;
    let value = |value: &serde_json::Value| output::one_line(&output::plain(value), 40);
    let changes = effect.changes.iter().map(|change| format!("{}: {} -> {}", change.field, value(&change.before), value(&change.after)));
    let ours = effect.canonical_id.iter().cloned();
    let more: Vec<String> = ours.chain(changes).chain(effect.detail.iter().cloned()).collect();
    format!("    {} {}  {}", word(&effect.action), sample.key, more.join("; "))
}

fn word(value: &impl serde::Serialize) -> String {
    output::plain(&json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_done_is_shown_with_the_command_that_approves_it() {
        let plan: Plan = serde_json::from_value(json!({
            "id": "pln_00000000000000000000000007", "connection_id": "cnx_00000000000000000000000001", "entity": "contact",
            "kind": "backfill", "state": "waiting", "hash": "00ff", "counts": {"create": 2, "skip": 1}, "steps": 2,
            "samples": [{"key": "42", "action": "update", "canonical_id": "pro_00000000000000000000000001",
                         "changes": [{"field": "company", "before": null, "after": "Engines"}]}],
            "created_at": "2026-11-21T12:00:00.000Z",
        }))
        .unwrap();
        let shown = text(&plan);
        assert!(shown.contains("2 create, 1 skip") && shown.contains("company: ") && shown.contains("-> Engines"), "{shown}");
        assert!(shown.ends_with("plan approve pln_00000000000000000000000007 00ff"), "{shown}");
    }
}
