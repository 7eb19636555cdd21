//! Ends: asked for, forced, and by callers who lost interest.

use std::time::{Duration, Instant};

use serde_json::json;
use throughline_schemas::connector::ErrorClass;

use crate::support::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_call_and_a_listener_end_at_once_when_told_to() {
    let rig = Rig::with(|options| options.limits.grace = Duration::from_secs(120)).await;
    let connection = rig.connect(json!({}));
    let (call, listener) = (connection.connector.clone(), connection.connector.clone());
    let call = tokio::spawn(async move { call.read("sleep", Some(&json!(60_000)), 1).await });
    let listener = tokio::spawn(async move { listener.listen(None).await });
    rig.eventually_alive(2).await;
    // Half of the grace period is an age, even here: it was not needed.
    tokio::time::timeout(Duration::from_secs(60), connection.connector.stop()).await.expect("no grace period was needed");
    assert_eq!(call.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
    assert_eq!(listener.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_listener_is_dropped_after_the_grace_period() {
    let rig = Rig::with(|options| options.limits.grace = Duration::from_secs(1)).await;
    let connection = rig.connect(json!({"mode": "listen-deaf"}));
    let listener = connection.connector.clone();
    let listener = tokio::spawn(async move { listener.listen(None).await });
    rig.eventually_alive(1).await;
    let began = Instant::now();
    rig.while_another_is_served(connection.connector.stop()).await;
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    assert_eq!(listener.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
    assert_eq!(connection.read("calls", &json!(null)).await.unwrap(), json!(1), "a stopped connector can be used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_costs_its_instance_and_nothing_else() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    assert_eq!(connection.read("calls", &json!(null)).await.unwrap(), json!(1));
    assert!(tokio::time::timeout(Duration::from_millis(30), connection.read("sleep", &json!(60_000))).await.is_err());
    assert_eq!(connection.read("calls", &json!(null)).await.unwrap(), json!(1), "a fresh instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_serialised_and_a_second_listener_is_refused() {
    let rig = Rig::new().await;
    let connection = rig.connect(json!({}));
    let cursor = json!(20);
    let calls = (0..5).map(|_| connection.connector.read("sleep", Some(&cursor), 1));
    let began = Instant::now();
    for call in calls.map(|call| async { call.await.unwrap() }).collect::<Vec<_>>() {
        call.await;
    }
    assert!(began.elapsed() >= Duration::from_millis(100));
    let listener = connection.connector.clone();
    let listening = tokio::spawn(async move { listener.listen(None).await });
    rig.eventually_alive(2).await;
    assert_eq!(connection.connector.listen(None).await.unwrap_err().class, ErrorClass::Conflict);
    connection.connector.stop().await;
    listening.await.unwrap().unwrap_err();
}
