//! Recorded calls through the real hub: on the right timeline, as the recording expects them, with the screen pop on time.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::asterisk;
use throughline_tests::systems::asterisk::{ReplayedPbx, recording};
use throughline_tests::wait::{PATIENCE, eventually};

/// Whose number calls in every one of them.
const CALLER: &str = "phone:+441632960123";
/// What a recording expects of a call and the hub shows under the same name.
const SAME: [&str; 9] = ["agents", "queue", "answered", "outcome", "digits", "transfers", "holds", "ended_by", "kind"];

/// The calls that a recording's `expected.jsonl` lists.
fn expected(name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(recording(name).join("expected.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The calls on the caller's timeline, oldest first, by connection.
fn calls(stage: &Stage) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut calls: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in stage.client.timeline(CALLER)?.into_iter().rev().filter(|item| item["channel"] == "phone") {
        calls.entry(item["connection_id"].as_str().context("it came through a connection")?.to_owned()).or_default().push(item);
    }
    Ok(calls)
}

fn ended(calls: &[Value]) -> usize {
    calls.iter().filter(|call| call["content"]["phase"] == "ended").count()
}

#[test]
fn recorded_calls_come_out_as_they_were() {
    Stage::play(&["asterisk"], |stage| {
        let names =
            ["s01-inbound-queue-answered", "s02-inbound-queue-abandoned", "s09-blind-transfer-refer", "s30-two-calls-same-customer"];
        let pops = stage.client.events("call.ringing")?;
        let mut running = Vec::new();
        for name in names {
            let pbx = ReplayedPbx::start(&recording(name))?;
            let mut connection = asterisk(&pbx);
            connection["name"] = name.into();
            // Each is a PBX of its own, or their calls could be taken for one another's.
            connection["config"]["pbx_id"] = name[..3].into();
            running.push((name, stage.connect(&connection)?, pbx));
        }
        for (_, id, pbx) in &running {
            stage.until_health(id, "healthy")?;
            pbx.play();
        }
        for (name, id, _) in &running {
            let wanted = expected(name)?;
            let found =
                eventually(&format!("the calls of {name}"), || Ok(calls(stage)?.remove(id).filter(|calls| ended(calls) >= wanted.len())))
                    .with_context(|| format!("{:?}", calls(stage)))?;
            ensure!(found.len() == wanted.len(), "{name}: {} calls instead of {}: {found:?}", found.len(), wanted.len());
            for (call, wanted) in found.iter().zip(&wanted) {
                same(name, call, wanted)?;
            }
        }
        // Every one of the six calls rang at an agent; the transferred one may have rung twice.
        let mut popped = std::collections::BTreeSet::new();
        while popped.len() < 6 {
            let (_, event) = pops.recv_timeout(PATIENCE).with_context(|| format!("screen pops came for {popped:?} only"))?;
            let data = &event["data"];
            ensure!(data.get("context").unwrap_or(data).to_string().contains("+441632960123"), "the screen pop names the caller: {event}");
            popped.insert(event["data"]["interaction_id"].as_str().unwrap_or_default().to_owned());
        }
        ensure!(stage.is_ready()?, "the hub is ready");
        Ok(())
    });
}

fn same(name: &str, call: &Value, wanted: &Value) -> Result<()> {
    ensure!(call["direction"] == wanted["direction"] && call["endpoint"] == wanted["endpoint"], "{name}: {call}\nshould be {wanted}");
    for field in SAME {
        let (found, wanted) = (&call["content"][field], &wanted[field]);
        // What is empty is not shown.
        let empty = found.is_null() && (wanted.is_null() || wanted == &Value::Array(Vec::new()) || wanted == 0 || wanted == false);
        ensure!(found == wanted || empty, "{name}: {field} is {found} instead of {wanted} in {call}");
    }
    Ok(())
}

#[test]
fn a_stream_cut_in_mid_event_is_taken_up_again() {
    Stage::play(&["asterisk"], |stage| {
        let pbx = ReplayedPbx::start_breaking_off(&recording("s01-inbound-queue-answered"), &recording("s02-inbound-queue-abandoned"))?;
        let id = stage.connect(&asterisk(&pbx))?;
        stage.until_health(&id, "healthy")?;
        pbx.play();
        let wanted = expected("s02-inbound-queue-abandoned")?.remove(0);
        let found = eventually("the call that came after the cut", || {
            let calls = calls(stage)?.remove(&id).unwrap_or_default();
            // The one that was cut is given up, because the PBX does not know it any more.
            let all_ended = ended(&calls) == calls.len();
            let after = calls.iter().find(|call| all_ended && call["content"]["outcome"] == wanted["outcome"]).cloned();
            Ok(after.map(|after| (calls, after)))
        })?;
        let (calls, after) = found;
        same("after the cut", &after, &wanted)?;
        ensure!(calls.len() <= 2, "the call that was cut is there once at most: {calls:?}");
        stage.until_health(&id, "healthy")?;
        ensure!(stage.hub.log().contains("listener ended"), "the cut is in the log");
        ensure!(stage.is_ready()?, "the hub is ready");
        Ok(())
    });
}
