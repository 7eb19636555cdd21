//! Flows by the clock of a time zone, and how much of their runs is kept.

use std::time::Duration;

use serde_json::json;
use throughline_engine::{Clock, NewFlow, RunState};

use crate::flows::{Flowing, emit};

#[tokio::test(start_paused = true)]
async fn a_flow_starts_at_its_time_of_day_in_its_time_zone() {
    let flowing = Flowing::new().await;
    let cron = json!({"schedule": {"cron": "30 9 * * *", "time_zone": "Asia/Kolkata"}});
    let flow = flowing.flow("morning", cron, None, json!([emit("tell", "morning", json!({"at": "{{ now }}"}))])).await;
    let begun = flowing.clock.now();
    tokio::time::sleep(Duration::from_secs(3 * 24 * 3600)).await;
    flowing.until(flow, 3, RunState::Succeeded).await;
    for (day, run) in flowing.runs(flow).iter().rev().enumerate() {
        let at = run.started_at;
        // 09:30 in Kolkata is 04:00 UTC, all year round.
        let of_day = at.as_millis().rem_euclid(24 * 3_600_000) - 4 * 3_600_000;
        assert!((0..60_000).contains(&of_day), "{at}");
        assert_eq!(at.since(begun).div_euclid(24 * 3_600_000), i64::try_from(day).unwrap(), "once a day: {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_runs_stay_up_to_so_many_bytes() {
    let flowing = Flowing::new().await;
    let each = json!([{"name": "each", "do": {"for_each": {"in": "input.items", "at_most": 50, "steps": [emit("tell", "told", json!({"text": "{{ input.text }}"}))]}}}]);
    let spec = json!({"trigger": {"webhook": {}}, "steps": each, "history": {"days": 3650, "mebibytes": 1}});
    let hub = &flowing.world.hub;
    let flow = hub.create_flow(NewFlow { name: "wordy".to_owned(), spec, enabled: true }).await.unwrap().value.id;
    hub.publish_flow(flow, None, "test").await.unwrap();
    let input = json!({"items": (0..50).collect::<Vec<u32>>(), "text": "x".repeat(1_800)});
    let mut begun = Vec::new();
    for _ in 0..16 {
        begun.push(hub.trigger_flow(flow, input.clone()).await.unwrap().id);
        flowing.until(flow, begun.len(), RunState::Succeeded).await;
    }
    assert_eq!(flowing.runs(flow).len(), 16, "until somebody looks");
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let kept: Vec<_> = flowing.runs(flow).into_iter().map(|run| run.id).collect();
    let journal: usize = kept.iter().map(|id| serde_json::to_string(&flowing.run(flow, *id).steps).unwrap().len()).sum();
    assert!((8..16).contains(&kept.len()) && journal <= 1 << 20, "{} runs of {journal} bytes are kept", kept.len());
    let newest: Vec<_> = begun.iter().rev().take(kept.len()).copied().collect();
    assert_eq!(kept, newest, "those that are kept are the newest");
    let gone = begun.iter().take(16 - kept.len()).filter(|id| hub.run(flow, **id).is_ok()).count();
    assert_eq!(gone, 0, "nothing is left of the others");
}
