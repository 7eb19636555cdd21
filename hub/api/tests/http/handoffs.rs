//! Handoffs over HTTP: the way through, the races, the mistakes.

use serde_json::{Value, json};
use throughline_engine::Scope;

use crate::support::Api;

async fn enquiry(api: &Api) -> String {
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let open = api.get(&format!("/v1/enquiries?profile={profile}")).await.expect(200).json();
    open["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn offered(api: &Api, enquiry: &str) -> Value {
    let new = json!({"kind": "transfer_cold", "by": "ann", "to": {"queue": "support"}, "note": "please"});
    let made = api.post(&format!("/v1/enquiries/{enquiry}/handoffs"), new).await.expect(201);
    assert_eq!(made.header("location"), format!("/v1/handoffs/{}", made.json()["id"].as_str().unwrap()));
    made.json()
}

fn by(who: &str, token: &Value) -> Value {
    json!({"by": who, "fencing_token": token, "acknowledge_briefing": true})
}

#[tokio::test]
async fn an_enquiry_is_handed_on_and_whoever_comes_second_is_fenced_off() {
    let api = Api::new().await;
    let enquiry = enquiry(&api).await;
    let made = offered(&api, &enquiry).await;
    let path = format!("/v1/handoffs/{}", made["id"].as_str().unwrap());
    assert_eq!((&made["state"], &made["briefing"]["note"]), (&json!("offered"), &json!("please")));
    let first = api.get(&path).await.expect(200);
    assert_eq!(first.header("etag"), format!("\"{}\"", made["version"]));

    let key = [("idempotency-key", "a1")];
    let accept = format!("{path}/accept");
    let taken = api.with_headers("POST", &accept, &key, Some(by("ben", &made["fencing_token"]))).await.expect(200);
    let again = api.with_headers("POST", &accept, &key, Some(by("ben", &made["fencing_token"]))).await.expect(200);
    assert_eq!(again.json()["version"], taken.json()["version"], "a repeated request is answered as before");
    let late = api.post(&accept, by("cid", &made["fencing_token"])).await;
    assert_eq!((late.status, late.problem()), (409, "fenced".to_owned()));
    assert_ne!(first.header("etag"), api.get(&path).await.expect(200).header("etag"));
    assert_eq!(api.get(&format!("/v1/enquiries/{enquiry}")).await.expect(200).json()["owner"], "ben");

    let done = api.post(&format!("{path}/complete"), by("ben", &taken.json()["fencing_token"])).await.expect(200).json();
    assert_eq!(done["state"], "completed");
    let over = api.post(&format!("{path}/decline"), by("ben", &done["fencing_token"])).await;
    assert_eq!((over.status, over.problem()), (409, "conflict".to_owned()));
}

#[tokio::test]
async fn lists_are_filtered_and_mistakes_are_named() {
    let api = Api::new().await;
    let enquiry = enquiry(&api).await;
    let made = offered(&api, &enquiry).await;
    let count = async |query: &str| api.get(&format!("/v1/handoffs{query}")).await.expect(200).json()["items"].as_array().unwrap().len();
    assert_eq!(count(&format!("?enquiry={enquiry}")).await, 1);
    assert_eq!((count("?state=offered").await, count("?state=declined").await), (1, 0));
    assert_eq!((count("?receiver=support").await, count("?receiver=ben").await), (1, 0));
    let second =
        api.post(&format!("/v1/enquiries/{enquiry}/handoffs"), json!({"kind": "transfer_warm", "by": "ann", "to": {"agent": "b"}})).await;
    assert_eq!((second.status, second.problem()), (409, "conflict".to_owned()));
    let wrong =
        api.post(&format!("/v1/enquiries/{enquiry}/handoffs"), json!({"kind": "callback", "by": "ann", "to": {"agent": "b"}})).await;
    assert_eq!((wrong.status, wrong.problem()), (422, "invalid".to_owned()));
    assert!(wrong.json()["errors"][0]["pointer"].is_string());
    let absent = format!("/v1/handoffs/{}", made["id"].as_str().unwrap().replace(|digit: char| digit.is_ascii_digit(), "1"));
    assert_eq!(api.get(&absent).await.status, 404);
    assert_eq!(api.get("/v1/handoffs/enq_1").await.status, 400);
}

#[tokio::test]
async fn a_brands_policy_is_set_by_an_admin_and_checked() {
    let api = Api::new().await;
    let path = "/v1/policies/handoff/shop";
    let built_in = api.get(path).await.expect(200).json();
    assert_eq!(built_in["offer_seconds"], 120);
    let policy = json!({"fallback": "late-desk", "unowned_seconds": 30});
    assert_eq!(api.with_headers("PUT", path, &[], Some(policy.clone())).await.expect(200).json()["fallback"], "late-desk");
    assert_eq!(api.get("/v1/policies/handoff").await.expect(200).json()["items"][0]["brand"], "shop");
    let bad = api.with_headers("PUT", path, &[], Some(json!({"offer_seconds": 0}))).await;
    assert_eq!((bad.status, bad.json()["errors"][0]["pointer"].clone()), (422, json!("/offer_seconds")));
    let agent = format!("Bearer {}", api.key(Scope::Agent).await);
    let headers = [("authorization", agent.as_str()), ("content-type", "application/json")];
    assert_eq!(api.send("PUT", path, &headers, policy.to_string()).await.status, 403);
}
