//! How long a durable step of a flow takes: its effect, its journal entry and the run's next state, on the disk before the next begins.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use throughline_engine::Hub;
use throughline_schemas::{ChangeKind, FlowId};

use crate::in_process::InProcess;
use crate::measure::Durations;
use crate::report::Part;

/// Steps of one run.
const STEPS: usize = 200;
/// Runs side by side.
const RUNS: usize = 16;
/// What has not come after this time does not come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> anyhow::Result<Part> {
    let mut part = Part::new("flows");
    let world = InProcess::start()?;
    world.hub.start().await?;
    let flow = flow(&world.hub).await?;
    // The first run compiles and warms up.
    run(&world.hub, flow, 1).await?;
    let (mut steps, _) = run(&world.hub, flow, 1).await?;
    let p50 = steps.percentile_ms(0.5);
    part.figure("a durable step of a run that is alone, p50", p50, "ms");
    part.figure("a durable step of a run that is alone, p99", steps.percentile_ms(0.99), "ms");
    let (steps, took) = run(&world.hub, flow, RUNS).await?;
    part.figure(format!("durable steps of {RUNS} runs side by side"), steps.len() as f64 / took.as_secs_f64(), "/s");
    part.at_most("durable flow step p50", p50, 2.0, "ms");
    world.end().await?;
    Ok(part)
}

async fn flow(hub: &Hub) -> anyhow::Result<FlowId> {
    let emit = json!({ "name": "tick", "do": { "emit": { "type": "tick", "data": { "item": "{{ item }}" } } } });
    let each = json!({ "name": "each", "do": { "for_each": { "in": "input.items", "at_most": STEPS, "steps": [emit] } } });
    let spec = json!({ "trigger": { "webhook": {} }, "steps": [each] });
    let made = hub.create_flow(serde_json::from_value(json!({ "name": "ticks", "spec": spec }))?).await?;
    hub.publish_flow(made.value.id, None, "bench").await?;
    Ok(made.value.id)
}

/// Starts so many runs; gives the time between one step's event and the next, and how long all took.
async fn run(hub: &Hub, flow: FlowId, runs: usize) -> anyhow::Result<(Durations, Duration)> {
    let items: Vec<usize> = (0..STEPS).collect();
    let mut seen = hub.head();
    let began = Instant::now();
    for _ in 0..runs {
        hub.trigger_flow(flow, json!({ "items": items })).await?;
    }
    let (mut steps, mut last) = (Durations::default(), Instant::now());
    while steps.len() < STEPS * runs {
        tokio::time::timeout(PATIENCE, hub.changed(seen)).await.context("a run of a flow does not go on")?;
        let mut arrived = 0;
        for (sequence, change) in hub.changes(seen, 1024)? {
            seen = sequence;
            arrived += u32::from(change.kind == ChangeKind::FlowEmitted);
            ensure!(change.kind != ChangeKind::FlowFailed, "a run failed: {}", change.data);
        }
        // Steps that were seen at once took equally long.
        if arrived > 0 {
            let each = last.elapsed() / arrived;
            (0..arrived).for_each(|_| steps.push(each));
            last = Instant::now();
        }
    }
    Ok((steps, began.elapsed()))
}
