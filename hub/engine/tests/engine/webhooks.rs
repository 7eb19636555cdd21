//! Endpoints are told of changes: signed, in order, at least once, again when they fail, and not for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{Clock, HubError, NewWebhook, Paging, Replay, WebhookMade, WebhookOutcome, WebhookPatch, WebhookView};
use throughline_schemas::WebhookId;
use throughline_store::{MemoryDisk, Options, Store};

use crate::desk::{Answer, Desk, Leaping};
use crate::support::{World, mail};

/// Looks until something is given up: over a week, as the paused clock has it.
const STEPS: u32 = 12_000;

/// Looks come closer together at first.
fn longer(step: u32) -> Duration {
    Duration::from_millis(10 + u64::from(step) * 10)
}

struct Told {
    world: World,
    desk: Arc<Desk>,
    clock: Arc<Leaping>,
}

impl Told {
    fn on(store: Store) -> Self {
        let clock = Leaping::new();
        let desk = Desk::new(clock.clone());
        let (poster, now) = (desk.clone(), clock.clone());
        let world = World::on_as(store, |mut options| {
            options.poster = Some(poster);
            options.clock = now;
            options
        });
        Self { world, desk, clock }
    }

    fn new() -> Self {
        Self::on(Store::in_memory(Options::new(|| 0)).unwrap())
    }

    /// The same endpoint and clock, and a hub on what a crash left.
    fn again(&self, store: Store) -> Self {
        let (poster, now) = (self.desk.clone(), self.clock.clone());
        let world = self.world.again_as(store, |mut options| {
            options.poster = Some(poster);
            options.clock = now;
            options
        });
        Self { world, desk: self.desk.clone(), clock: self.clock.clone() }
    }

    async fn webhook(&self, more: Value) -> WebhookMade {
        let mut new = json!({"name": "desk", "url": "https://desk.test/hook", "types": ["enquiry.opened"]});
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.world.hub.create_webhook(serde_json::from_value::<NewWebhook>(new).unwrap()).await.unwrap()
    }

    /// Opens an enquiry for each of the names.
    async fn enquiries(&self, names: &[&str]) {
        let connection = match self.world.hub.connections(Paging { cursor: None, limit: 1 }).unwrap().items.first() {
            Some(connection) => connection.value.id,
            None => self.world.connect("mail", json!({})).await,
        };
        for name in names {
            self.world.take(connection, vec![mail(name, &format!("{name}@example.com"), name, self.clock.now())]).await;
        }
    }

    /// Waits until so many messages have arrived.
    async fn arrived(&self, count: usize) {
        for step in 0..STEPS {
            if self.desk.received().len() >= count {
                return;
            }
            tokio::time::sleep(longer(step)).await;
        }
        panic!("{} of {count} arrived", self.desk.received().len());
    }

    fn view(&self, id: WebhookId) -> WebhookView {
        self.world.hub.webhook(id).unwrap().value
    }

    async fn until(&self, id: WebhookId, so: impl Fn(&WebhookView) -> bool) {
        for step in 0..STEPS {
            if so(&self.view(id)) {
                return;
            }
            tokio::time::sleep(longer(step)).await;
        }
        panic!("{:?}", self.view(id));
    }

    async fn change(&self, id: WebhookId, patch: Value) -> WebhookView {
        let version = self.world.hub.webhook(id).unwrap().version;
        let patch: WebhookPatch = serde_json::from_value(patch).unwrap();
        self.world.hub.update_webhook(id, version, patch).await.unwrap().value
    }

    fn attempts(&self, id: WebhookId) -> Vec<throughline_engine::WebhookAttemptView> {
        self.world.hub.webhook_attempts(id, Paging { cursor: None, limit: 200 }).unwrap().items
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_from_now_on_arrives_signed_in_order_and_once() {
    let told = Told::new();
    told.enquiries(&["before"]).await;
    let made = told.webhook(json!({})).await;
    told.enquiries(&["a", "b", "c"]).await;
    told.arrived(3).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let received = told.desk.received().clone();
    assert_eq!(received.len(), 3, "{received:?}");
    let reasons: Vec<String> = received
        .iter()
        .map(|one| told.world.hub.enquiry(one.event["data"]["enquiry_id"].as_str().unwrap().parse().unwrap()).unwrap().value.reason)
        .collect();
    assert_eq!(reasons, ["a", "b", "c"]);
    for one in &received {
        assert!(one.is_signed_with(&made.secret));
        assert_eq!((&one.event["specversion"], one.kind()), (&json!("1.0"), "enquiry.opened"));
        assert_eq!(one.id, format!("evt_{}", one.event["id"].as_str().unwrap()));
    }
    // A message arrives before that is noted.
    told.until(made.view.id, |_| told.attempts(made.view.id).len() == 3).await;
    let attempts = told.attempts(made.view.id);
    assert!(attempts.iter().all(|attempt| attempt.outcome == WebhookOutcome::Delivered && attempt.status == Some(204)));
    assert_eq!(attempts.iter().map(|attempt| &attempt.event_id).collect::<Vec<_>>(), [&received[2].id, &received[1].id, &received[0].id]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_by_the_schedule_and_holds_up_no_other_event() {
    let told = Told::new();
    let made = told.webhook(json!({})).await;
    told.desk.will_answer([Answer::Status(500), Answer::Status(204), Answer::Status(500), Answer::Status(200)]);
    told.enquiries(&["a", "b"]).await;
    told.arrived(4).await;
    told.until(made.view.id, |view| view.waiting == 0).await;
    let received = told.desk.received().clone();
    assert_eq!(received[0].id, received[2].id);
    assert_ne!(received[0].id, received[1].id, "the second event did not wait for the first");
    let waited = |one: usize, other: usize| received[other].at.since(received[one].at);
    assert!((5_000..6_000).contains(&waited(0, 2)), "{}", waited(0, 2));
    assert!((300_000..331_000).contains(&waited(2, 3)), "{}", waited(2, 3));
    assert!(received.iter().all(|one| one.is_signed_with(&made.secret)), "each attempt is signed for its own time");
    assert_eq!(told.view(made.view.id).last_success, Some(received[3].at));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_dead_for_days_is_disabled_and_that_is_an_event() {
    let told = Told::new();
    let made = told.webhook(json!({})).await;
    let other = told.webhook(json!({"name": "watch", "types": ["webhook.*"]})).await;
    told.desk.always_answers(Some(Answer::Nothing));
    told.enquiries(&["a"]).await;
    told.until(made.view.id, |view| !view.enabled).await;
    let attempts = told.attempts(made.view.id);
    assert_eq!(attempts.len(), 10);
    let days = attempts[0].at.since(attempts[9].at);
    assert!((272_105_000..=299_400_000).contains(&days), "75 h 35 min 5 s, and a tenth of it: {days}");
    assert!(attempts[0].error.as_deref().unwrap().contains("refused"));
    assert!(told.view(made.view.id).disabled_because.unwrap().contains("10 attempts"));
    told.desk.always_answers(None);
    told.until(other.view.id, |view| view.last_success.is_some()).await;
    let news = told.desk.received().last().unwrap().clone();
    assert_eq!((news.kind(), &news.event["data"]["data"]["webhook"]), ("webhook.disabled", &json!(made.view.id)));
    // Enabled again, it goes on where it stopped: with what it was not told, and what happened meanwhile.
    let before = told.desk.received().len();
    told.enquiries(&["b"]).await;
    told.change(made.view.id, json!({"enabled": true})).await;
    told.arrived(before + 2).await;
    assert_eq!(told.desk.kinds()[before..], ["enquiry.opened", "enquiry.opened"]);
}

#[tokio::test(start_paused = true)]
async fn gone_disables_at_once() {
    let told = Told::new();
    let made = told.webhook(json!({})).await;
    told.desk.will_answer([Answer::Status(410)]);
    told.enquiries(&["a", "b"]).await;
    told.until(made.view.id, |view| !view.enabled).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(told.desk.received().len(), 1);
    assert!(told.view(made.view.id).disabled_because.unwrap().contains("410"));
    // Skipping what was missed begins with what comes now.
    told.change(made.view.id, json!({"enabled": true, "skip_missed": true})).await;
    told.enquiries(&["c"]).await;
    told.arrived(2).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(told.desk.received().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_for_patience_gets_it() {
    let told = Told::new();
    told.webhook(json!({})).await;
    told.desk.will_answer([Answer::Patience(1800)]);
    told.enquiries(&["a", "b"]).await;
    told.arrived(3).await;
    let received = told.desk.received().clone();
    assert!(received[1].at.since(received[0].at) >= 1_800_000, "nothing at all is sent meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_signs_beside_the_new_one_for_its_time() {
    let told = Told::new();
    let made = told.webhook(json!({"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"})).await;
    let rotated = told.world.hub.rotate_webhook_secret(made.view.id, None, 3600).await.unwrap();
    told.enquiries(&["a"]).await;
    told.arrived(1).await;
    let first = told.desk.received()[0].clone();
    assert!(first.is_signed_with(&made.secret) && first.is_signed_with(&rotated.secret));
    tokio::time::sleep(Duration::from_secs(3601)).await;
    told.enquiries(&["b"]).await;
    told.arrived(2).await;
    let second = told.desk.received()[1].clone();
    assert!(!second.is_signed_with(&made.secret) && second.is_signed_with(&rotated.secret));
    assert_eq!(told.view(made.view.id).secrets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_again_by_name_and_by_range_under_their_ids() {
    let told = Told::new();
    let made = told.webhook(json!({})).await;
    let id = made.view.id;
    told.enquiries(&["a", "b", "c"]).await;
    told.arrived(3).await;
    let ids: Vec<String> = told.desk.received().iter().map(|one| one.id.clone()).collect();
    let again = Replay { events: vec![ids[1].clone()], ..Replay::default() };
    assert_eq!(told.world.hub.replay_webhook(id, again).await.unwrap().queued, 1);
    told.arrived(4).await;
    let until = ids[1].strip_prefix("evt_").unwrap().parse().unwrap();
    let range = Replay { after: Some(0), until: Some(until), ..Replay::default() };
    assert_eq!(told.world.hub.replay_webhook(id, range).await.unwrap().queued, 2);
    told.arrived(6).await;
    let all: Vec<String> = told.desk.received().iter().map(|one| one.id.clone()).collect();
    assert_eq!(all[3..], [ids[1].clone(), ids[0].clone(), ids[1].clone()]);
    for wrong in [Replay::default(), Replay { events: vec!["evt_999999".into()], ..Replay::default() }] {
        assert!(matches!(told.world.hub.replay_webhook(id, wrong).await, Err(HubError::Invalid { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_webhook_leaves_nothing_and_wrong_ones_are_refused_field_by_field() {
    let told = Told::new();
    let made = told.webhook(json!({})).await;
    let wrong = json!({"name": "desk", "url": "ftp://x", "types": ["enquiry.opened", "enquiry.eaten"], "at_once": 0});
    let error = told.world.hub.create_webhook(serde_json::from_value(wrong).unwrap()).await.unwrap_err();
    let HubError::Invalid { errors } = error else { panic!("{error}") };
    assert_eq!(errors.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(), ["/name", "/url", "/types/1", "/at_once"]);
    told.desk.always_answers(Some(Answer::Status(500)));
    told.enquiries(&["a"]).await;
    told.until(made.view.id, |view| view.waiting == 1).await;
    let version = told.world.hub.webhook(made.view.id).unwrap().version;
    told.world.hub.delete_webhook(made.view.id, version).await.unwrap();
    let tried = told.desk.received().len();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(told.desk.received().len(), tried);
    assert!(matches!(told.world.hub.webhook(made.view.id), Err(HubError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_loses_no_event() {
    for commits in 0..8 {
        let disk = MemoryDisk::default();
        let told = Told::on(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        let made = told.webhook(json!({})).await;
        told.desk.will_answer([Answer::Status(204), Answer::Status(500), Answer::Nothing]);
        told.enquiries(&["a", "b", "c", "d"]).await;
        let before = disk.applies();
        for _ in 0..200 {
            if disk.applies() >= before + commits {
                break;
            }
            // A blocking task keeps tokio's clock from leaping.
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        }
        disk.crash();
        let told = told.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
        told.world.hub.start().await.unwrap();
        let opened = told.world.hub.changes(0, 1000).unwrap();
        let opened = opened.iter().filter(|(_, change)| change.kind.as_str() == "enquiry.opened");
        let wanted: BTreeSet<String> = opened.map(|(sequence, _)| format!("evt_{sequence}")).collect();
        assert_eq!(wanted.len(), 4);
        let arrived = || told.desk.received().iter().map(|one| one.id.clone()).collect::<BTreeSet<String>>();
        for step in 0..STEPS {
            if arrived() == wanted && told.view(made.view.id).waiting == 0 {
                break;
            }
            tokio::time::sleep(longer(step)).await;
        }
        assert_eq!((arrived(), told.view(made.view.id).waiting), (wanted, 0), "crashed after {commits} commits");
    }
}
