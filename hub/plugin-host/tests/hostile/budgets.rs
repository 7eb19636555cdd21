//! Rate budgets hold whatever the plugin does: they are spent, waited for and closed by the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_schemas::connector::ErrorClass;

use crate::network::{ok, serve};
use crate::support::{Connected, Rig};

/// A connection of a plugin with this one budget, and the answer of the silo it leads to.
async fn limited(rig: &Rig, budget: Value, answer: impl Fn(String) -> String + Send + Sync + 'static) -> (Connected, String) {
    let port = serve(answer).await;
    let connection = rig.connect_as(port, |manifest| manifest["rate_budgets"] = json!([budget])).await;
    (connection, format!("http://silo.example:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_happens_in_the_request_and_all_instances_spend_one_budget() {
    let rig = Rig::new().await;
    let budget = json!({"name": "all", "scope": "account", "requests": 4, "per_seconds": 1});
    let (connection, base) = limited(&rig, budget, |_| ok("yes")).await;
    let request = json!({"url": format!("{base}/")});
    let began = Instant::now();
    for _ in 0..3 {
        let (read, act) = tokio::join!(connection.read("fetch", &request), connection.connector.act("fetch", &request, "key"));
        assert_eq!((&read.unwrap()["status"], &act.unwrap().value["status"]), (&json!(200), &json!(200)));
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "six requests at four a second: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_the_hubs_and_only_matching_requests_are_counted() {
    let rig = Rig::new().await;
    let budget = json!({
        "name": "search", "scope": "connection", "matching": ["http://{config.host}:{config.port}/search"],
        "requests": 1, "per_seconds": 100,
    });
    let seen = Arc::new(AtomicU32::new(0));
    let counter = seen.clone();
    let answer = move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        ok("yes")
    };
    let (connection, base) = limited(&rig, budget, answer).await;
    let fetch = async |path: &str| connection.read("fetch", &json!({"url": format!("{base}{path}")})).await;
    fetch("/search?q=1").await.unwrap();
    let error = fetch("/search?q=2").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::RateLimited);
    assert!((90_000..=100_000).contains(&error.retry_after_ms.unwrap()), "{error:?}");
    fetch("/contacts").await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2, "the refused request was not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_asks_for_patience_closes_the_budget() {
    let rig = Rig::new().await;
    let budget = json!({"name": "all", "scope": "connection", "requests": 100, "per_seconds": 1, "headers": ["x-ratelimit-remaining"]});
    let busy = |_| "HTTP/1.1 429 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (connection, base) = limited(&rig, budget.clone(), busy).await;
    let request = json!({"url": format!("{base}/")});
    assert_eq!(connection.read("fetch", &request).await.unwrap()["status"], json!(429), "the plugin sees what was answered");
    let error = connection.read("fetch", &request).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::RateLimited);
    assert!((50_000..=60_000).contains(&error.retry_after_ms.unwrap()), "{error:?}");

    // The tests' hub stands still at this second, from which the reset is reckoned.
    let last = |_| "HTTP/1.1 200 OK\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1700000030\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (connection, base) = limited(&rig, budget, last).await;
    let request = json!({"url": format!("{base}/")});
    connection.read("fetch", &request).await.unwrap();
    let wait = connection.read("fetch", &request).await.unwrap_err().retry_after_ms.unwrap();
    assert!((20_000..=30_000).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_the_hub_says_so() {
    let rig = Rig::new().await;
    let budget = json!({"name": "all", "scope": "connection", "requests": 1, "per_seconds": 4});
    let (connection, base) = limited(&rig, budget, |_| ok("yes")).await;
    let request = json!({"url": format!("{base}/")});
    connection.read("fetch", &request).await.unwrap();
    let waiting = connection.connector.read("fetch", Some(&request), 1);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "it waits for its turn");
    connection.connector.stop().await;
    // Had it waited for its turn, it would have been answered.
    assert_eq!(waiting.await.unwrap_err().class, ErrorClass::Cancelled);
}
