//! Flows over HTTP: mistakes with their place, drafts and versions, runs step by step.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_engine::Scope;

use crate::support::Api;

fn spec(kind: &str) -> Value {
    json!({
        "trigger": {"change": ["enquiry.opened"]},
        "condition": "enquiry.reason.contains('7')",
        "steps": [{"name": "tell", "do": {"emit": {"type": kind, "data": {"reason": "{{ enquiry.reason }}"}}}}],
    })
}

/// Waits for a run that is so.
async fn run_of(api: &Api, path: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let runs = api.get(&format!("{path}/runs?state={state}")).await.expect(200).json();
        if let Some(run) = runs["items"].as_array().unwrap().first() {
            return run.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "no run was ever {state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_flow_is_written_published_run_and_ended() {
    let api = Api::new().await;
    api.hub.start().await.unwrap();
    let connection = api.connection().await;
    let made = api.post("/v1/flows", json!({"name": "tells", "spec": spec("first")})).await.expect(201);
    let path = made.header("location").to_owned();
    assert_eq!((&made.json()["published"], &made.json()["has_unpublished_changes"]), (&json!(null), &json!(true)));
    let published = api.post(&format!("{path}/publish"), json!({})).await.expect(200);
    assert_eq!(published.json()["published"], 1);

    api.mail(connection, "m1", "ada@customer.example").await;
    let run = run_of(&api, &path, "succeeded").await;
    assert_eq!((&run["version"], &run["event_type"]), (&json!(1), &json!("enquiry.opened")));
    let shown = api.get(&format!("{path}/runs/{}", run["id"].as_str().unwrap())).await.expect(200).json();
    assert_eq!((&shown["steps"][0]["do"], &shown["steps"][0]["input"]["data"]["reason"]), (&json!("emit"), &json!("Order 7")));

    let tag = api.get(&path).await.header("etag").to_owned();
    let changed = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(json!({"spec": spec("second")}))).await.expect(200);
    let dry = api.post(&format!("{path}/dry-run"), json!({"last": 100, "against": 1})).await.expect(200).json();
    assert_eq!((&dry["started"], dry["differences"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(dry["differences"][0]["this"]["steps"][0]["name"], "tell");
    let stale = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(json!({"enabled": false}))).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "stale"));
    let tag = changed.header("etag").to_owned();
    api.with_headers("DELETE", &path, &[("if-match", &tag)], None).await.expect(204);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn mistakes_are_named_by_pointer_line_and_column() {
    let api = Api::new().await;
    let mut wrong = spec("x");
    wrong["condition"] = json!("enquiry.reason ==\n  nobody");
    wrong["steps"][0]["do"]["emit"]["data"]["reason"] = json!("Dear {{ enqiry.reason }}");
    let answer = api.post("/v1/flows", json!({"name": "wrong", "spec": wrong})).await.expect(422).json();
    let errors: Vec<(&str, &str)> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(errors.iter().map(|(pointer, _)| *pointer).collect::<Vec<_>>(), ["/spec/condition", "/spec/steps/0/do/emit/data/reason"]);
    assert!(errors[0].1.starts_with("line 2, column 3: ") && errors[1].1.starts_with("line 1, column 9: "), "{errors:?}");
    let reader = api.key(Scope::Read).await;
    assert_eq!(api.as_key(&reader, "GET", "/v1/flows").await.status, 403);
}

#[tokio::test]
async fn a_request_starts_a_flow_that_waits_for_one() {
    let api = Api::new().await;
    api.hub.start().await.unwrap();
    let spec = json!({"trigger": {"webhook": {}}, "steps": [{"name": "tell", "do": {"emit": {"type": "asked", "data": "{{ input }}"}}}]});
    let path = api.post("/v1/flows", json!({"name": "asked", "spec": spec})).await.expect(201).header("location").to_owned();
    api.post(&format!("{path}/trigger"), json!({"n": 1})).await.expect(409);
    api.post(&format!("{path}/publish"), json!({})).await.expect(200);
    api.post(&format!("{path}/trigger"), json!({"n": 1})).await.expect(200);
    run_of(&api, &path, "succeeded").await;
}
