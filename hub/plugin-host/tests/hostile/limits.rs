//! Deeds that use up too much or end badly.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_schemas::connector::ErrorClass;

use crate::support::{Connected, Rig};

async fn impatient() -> Rig {
    Rig::with(|options| {
        // What others of this machine take from a guest's thread counts as its own: little enough to end soon, too much for honest calls.
        options.limits.call_cpu = Duration::from_secs(1);
        options.limits.listen_cpu_per_minute = Duration::from_secs(1);
    })
    .await
}

async fn contained(rig: &Rig, deed: &str, cursor: Value, words: &str) {
    let connection: Connected = rig.connect(json!({}));
    rig.beside_another(connection.is_contained(deed, cursor, words)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_instance_only() {
    let rig = Rig::new().await;
    contained(&rig, "trap", json!(null), "unreachable").await;
    contained(&rig, "overflow-stack", json!(null), "read trapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_reported_with_its_words() {
    contained(&Rig::new().await, "panic", json!(null), "panicked: on purpose").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_in_a_call_is_ended() {
    let rig = impatient().await;
    let connection = rig.connect(json!({}));
    rig.while_another_is_served(connection.is_contained("spin", json!(null), "read ran longer than 1 s of CPU time")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended_by_the_wall_clock_too() {
    let rig = Rig::with(|options| options.limits.long_call = Duration::from_secs(1)).await;
    let connection = rig.connect(json!({}));
    rig.while_another_is_served(connection.is_contained("spin", json!(null), "read ran longer than 1 s")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_in_a_listener_is_ended_and_calls_go_on_beside_it() {
    let rig = impatient().await;
    let connection = rig.connect(json!({"mode": "listen-spin"}));
    let error = rig.while_another_is_served(connection.connector.listen(None)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Bug);
    assert!(error.message.contains("listen ran longer than 1 s of CPU time within a minute"), "{error}");
    assert_eq!(connection.read("calls", &json!(null)).await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_too_long_is_no_bug_of_the_plugin() {
    // Most of it must be waiting, on a busy machine too.
    let rig = Rig::with(|options| options.limits.long_call = Duration::from_secs(1)).await;
    let connection = rig.connect(json!({}));
    let error = connection.read("sleep", &json!(60_000)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    let error = connection.connector.act("sleep", &json!(60_000), "key").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ambiguous, "an action may have had its effect: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn eating_memory_is_reported_as_what_it_is() {
    contained(&Rig::new().await, "memory", json!(null), "memory limit of 64 MiB reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_return_value_is_refused() {
    let rig = Rig::with(|options| options.limits.output_bytes = 1024 * 1024).await;
    contained(&rig, "huge", json!(3 * 1024 * 1024), "handed over more than 1048576 bytes").await;
    assert!(rig.connect(json!({})).read("huge", &json!(100_000)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_has_its_limit_over_calls() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    let error = connection.read("state", &json!({"big": 1024 * 1024})).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Bug);
    assert!(error.message.contains("the limit is 1048576"), "{error}");
    assert!(connection.page("state", &json!({"big": 1000})).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_answers_are_the_plugins_fault() {
    let rig = Rig::new().await;
    let error = rig.connect(json!({})).page("garbage", &json!(null)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Bug);
    let error = rig.connect(json!({"mode": "bad-report"})).connector.check().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Bug);
    let keys = ["a".to_owned(), "swallowed".to_owned()];
    let error = rig.connect(json!({})).connector.get("thing", &keys).await.unwrap_err();
    assert!(error.message.contains("1 keys of 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_makes_wait_and_does_not_fail() {
    let rig = Rig::with(|options| options.max_instances = 1).await;
    let first = rig.connect(json!({}));
    first.read("calls", &json!(null)).await.unwrap();
    let second = rig.connect(json!({}));
    let mut waiting = std::pin::pin!(second.read("calls", &json!(null)));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "the only place is taken");
    first.connector.stop().await;
    assert_eq!(waiting.await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_spinning_guests_leave_the_hub_its_own_clock() {
    let rig = impatient().await;
    let spinning: Vec<_> = (0..4).map(|_| rig.connect(json!({}))).collect();
    let spin = async {
        let (a, b, c, d) = tokio::join!(
            spinning[0].read("spin", &json!(null)),
            spinning[1].read("spin", &json!(null)),
            spinning[2].read("spin", &json!(null)),
            spinning[3].read("spin", &json!(null)),
        );
        [a, b, c, d].into_iter().for_each(|result| assert_eq!(result.unwrap_err().class, ErrorClass::Bug));
    };
    rig.while_another_is_served(spin).await;
}
