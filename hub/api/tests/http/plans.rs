//! Large runs, over HTTP: shown, approved by hash, done.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_engine::Scope;

use crate::support::Api;

/// The plan, once it is in this state.
async fn reached(api: &Api, id: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let plan = api.get(&format!("/v1/plans/{id}")).await.expect(200).json();
        if plan["state"] == state {
            return plan;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{plan}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_backfill_is_looked_at_approved_by_its_hash_and_done() {
    let api = Api::new().await;
    api.hub.start().await.unwrap();
    let connection = api.connection().await;
    let backfill = format!("/v1/connections/{connection}/backfill");
    let wrong = api.post(&backfill, json!({"entity": "nothing"})).await.expect(422).json();
    assert_eq!(wrong["errors"][0]["pointer"], "/entity", "{wrong}");
    api.post(&backfill, json!({})).await.expect(422);
    let plan = api.post(&backfill, json!({"entity": "contact"})).await.expect(200).json();
    let id = plan["id"].as_str().unwrap().to_owned();
    let plan = reached(&api, &id, "waiting").await;
    assert_eq!((&plan["counts"], &plan["samples"][0]["key"]), (&json!({"create": 1}), &json!("7")));
    assert_eq!(api.get("/v1/plans?state=waiting").await.expect(200).json()["items"], json!([plan]));
    assert_eq!(api.get("/v1/plans?state=done").await.expect(200).json()["items"], json!([]));

    let approve = format!("/v1/plans/{id}/approve");
    api.post(&approve, json!({"hash": "00"})).await.expect(409);
    let reader = api.key(Scope::Read).await;
    assert_eq!(api.status(&reader, "POST", &format!("/v1/plans/{id}/cancel")).await, 403);
    api.post(&approve, json!({"hash": plan["hash"]})).await.expect(200);
    let done = reached(&api, &id, "done").await;
    assert_eq!(done["applied"], 1, "{done}");
    assert!(done["approved_by"].as_str().unwrap().starts_with("test (key_"), "by the key's name and id: {done}");
    let steps = api.get(&format!("/v1/plans/{id}/steps")).await.expect(200).json();
    assert_eq!(steps["items"][0]["outcome"], "applied", "{steps}");
    api.post(&format!("/v1/plans/{id}/cancel"), json!({})).await.expect(409);
    api.get("/v1/plans/pln_00000000000000000000000000").await.expect(404);
    let found = api.get("/v1/profiles?identity=email:grace@customer.example").await.expect(200).json();
    assert_eq!(found["items"][0]["fields"]["company"]["value"], "Engines", "{found}");
}
