//! Flows that hand enquiries on and wait for what comes of it, and what they do outside, whatever dies in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::handoff::HandoffPolicy;
use throughline_engine::{HandoffAnswer, HandoffFilter, Paging, RunState};
use throughline_schemas::{Handoff, HandoffState};
use throughline_store::{MemoryDisk, Options, Store};

use crate::flows::{Flowing, emit, opened};

impl Flowing {
    /// The handoffs of all enquiries, oldest first.
    fn handoffs(&self) -> Vec<Handoff> {
        let all = self.world.hub.handoffs(&HandoffFilter::default(), Paging { cursor: None, limit: 50 }).unwrap();
        all.items.into_iter().map(|stored| stored.value).collect()
    }

    async fn accepted_and_completed_by(&self, handoff: &Handoff, by: &str) {
        let answer = |token| HandoffAnswer { by: by.to_owned(), fencing_token: token, acknowledge_briefing: true, why: None };
        let taken = self.world.hub.accept_handoff(handoff.id, answer(handoff.fencing_token)).await.unwrap().value;
        self.world.hub.complete_handoff(handoff.id, answer(taken.fencing_token)).await.unwrap();
    }
}

/// Hands on to a queue, waits, and tells what came of it.
fn hands_on() -> Value {
    json!([
        {"name": "pass", "do": {"handoff": {"kind": "transfer_cold", "to": {"queue": "desk-{{ 1 + 1 }}"}, "note": "{{ enquiry.reason }}",
            "deadline_seconds": 600, "wait": true}}},
        {"name": "fork", "do": {"branch": {"if": "steps.pass.state == 'completed'",
            "then": [emit("taken", "taken", json!({"by": "{{ steps.pass.accepted_by }}"}))],
            "else": [emit("lost", "lost", json!({"why": "{{ steps.pass.outcome }}"}))]}}},
    ])
}

#[tokio::test(start_paused = true)]
async fn a_flow_hands_an_enquiry_on_and_goes_on_when_that_is_over() {
    let disk = MemoryDisk::default();
    let flowing = Flowing::on(Store::inline_on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    flowing.world.hub.start().await.unwrap();
    let flow = flowing.flow("hands on", opened(), None, hands_on()).await;
    flowing.enquiry("ada").await;
    let run = flowing.until(flow, 1, RunState::Waiting).await.remove(0);
    let made = flowing.handoffs().remove(0);
    assert_eq!((made.offered_by.clone(), made.to.as_ref().unwrap().name()), (format!("flow {flow}"), "desk-2"));
    assert_eq!(made.briefing.note.as_deref(), Some("ada"));
    assert_eq!(flowing.emitted(), [] as [Value; 0]);
    // It waits through a restart, and does not offer again.
    flowing.world.hub.shut_down().await.unwrap();
    let flowing = flowing.again(Store::inline_on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    flowing.world.hub.start().await.unwrap();
    flowing.accepted_and_completed_by(&made, "ben").await;
    flowing.until(flow, 1, RunState::Succeeded).await;
    assert_eq!((flowing.handoffs().len(), flowing.emitted()), (1, vec![json!({"type": "taken", "data": {"by": "ben"}})]));
    let steps = flowing.run(flow, run.id).steps.unwrap();
    assert_eq!((&steps[0].input["to"], &steps[0].output["state"]), (&json!({"queue": "desk-2"}), &json!("completed")));

    // Nobody takes the next one.
    flowing.enquiry("bob").await;
    flowing.until(flow, 2, RunState::Succeeded).await;
    assert_eq!(flowing.emitted()[1], json!({"type": "lost", "data": {"why": "nobody accepted it in time"}}));
    assert_eq!(flowing.handoffs().iter().map(|one| one.state).collect::<Vec<_>>(), [HandoffState::Completed, HandoffState::Expired]);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_on_by_hand_meanwhile_lets_the_run_go_on() {
    let flowing = Flowing::new().await;
    flowing.world.hub.set_handoff_policy("default", HandoffPolicy { offer_seconds: 86_400, ..HandoffPolicy::default() }).await.unwrap();
    let mut steps = hands_on();
    steps[0]["do"]["handoff"].as_object_mut().unwrap().remove("deadline_seconds");
    let flow = flowing.flow("hands on", opened(), None, steps).await;
    flowing.enquiry("ada").await;
    flowing.until(flow, 1, RunState::Waiting).await;
    flowing.world.hub.assign_enquiry(flowing.world.enquiries()[0].id, Some("eve".to_owned())).await.unwrap();
    flowing.until(flow, 1, RunState::Succeeded).await;
    assert_eq!(flowing.emitted()[0]["data"]["why"], "the enquiry was given to somebody otherwise");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_doubles_nothing_outside() {
    let steps = || {
        json!([
            {"name": "ring", "do": {"call": {"connection": "mail", "action": "note", "input": {"about": "{{ enquiry.reason }}"}}}},
            {"name": "answer", "do": {"send": {"text": "We have it"}}},
            {"name": "pass", "do": {"handoff": {"kind": "transfer_cold", "to": {"queue": "desk"}}}},
            emit("done", "done", json!({})),
        ])
    };
    for commits in 0..10 {
        let disk = MemoryDisk::default();
        let flowing = Flowing::on(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        flowing.world.hub.start().await.unwrap();
        flowing.mailbox().await;
        let flow = flowing.flow("outside", opened(), None, steps()).await;
        flowing.enquiry("x").await;
        let before = disk.applies();
        for _ in 0..100 {
            if disk.applies() >= before + commits {
                break;
            }
            // A blocking task keeps tokio's clock from leaping.
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        }
        disk.crash();
        let flowing = flowing.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        flowing.world.hub.start().await.unwrap();
        let run = flowing.until(flow, 1, RunState::Succeeded).await.remove(0);
        let (acts, sent) = {
            let state = flowing.world.silo.state();
            (state.acts.clone(), state.sent.clone())
        };
        // The silo may have been asked again, but under the same key: whoever heeds it does it once.
        let effects: BTreeMap<&str, &Value> = acts.iter().map(|(_, input, key)| (key.as_str(), input)).collect();
        assert_eq!(effects, [(format!("{}:0", run.id).as_str(), &json!({"about": "x"}))].into(), "crashed after {commits} commits");
        let messages: std::collections::BTreeSet<_> = sent.iter().map(|(_, key)| key.clone()).collect();
        assert!(messages.len() <= 1, "crashed after {commits} commits: {sent:?}");
        assert_eq!((flowing.handoffs().len(), flowing.emitted().len(), flowing.runs(flow).len()), (1, 1, 1), "{commits}");
        flowing.world.hub.shut_down().await.unwrap();
    }
}
