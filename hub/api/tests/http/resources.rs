//! Each area once through, as its users go.

use axum::body::Body;
use serde_json::{Value, json};
use throughline_engine::Scope;

use crate::support::Api;

#[tokio::test]
async fn a_mail_becomes_a_profile_an_enquiry_and_a_conversation_that_can_be_answered() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let timeline = api.get(&format!("/v1/profiles/{profile}/timeline")).await.expect(200).json();
    let interaction = &timeline["items"][0];
    assert_eq!((&interaction["content"]["kind"], &interaction["external_id"]), (&json!("message"), &json!("m1")));

    let context = api.get(&format!("/v1/profiles/{profile}/context")).await.expect(200).json();
    assert_eq!((&context["profile"]["id"], context["recent"].as_array().map(Vec::len)), (&json!(profile), Some(1)));

    let conversation = interaction["conversation_id"].as_str().unwrap();
    api.get(&format!("/v1/conversations/{conversation}")).await.expect(200);
    let path = format!("/v1/conversations/{conversation}/messages");
    let sent = api.with_headers("POST", &path, &[("idempotency-key", "s1")], Some(json!({"text": "On its way."}))).await.expect(202);
    assert_eq!((&sent.json()["direction"], &sent.json()["content"]["text"]), (&json!("outbound"), &json!("On its way.")));
    let all = api.get(&format!("/v1/conversations/{conversation}/interactions")).await.expect(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_enquiry_goes_through_its_life() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let new = json!({"profile_id": profile, "reason": "late", "variables": {"order_no": {"value": "7"}}});
    let made = api.post("/v1/enquiries", new).await.expect(201);
    let path = made.header("location").to_owned();
    let set = api
        .post(&format!("{path}/context"), json!({"branch": {"value": 2, "classification": "public"}, "order_no": null}))
        .await
        .expect(200);
    assert_eq!(set.json()["variables"].as_object().unwrap().keys().collect::<Vec<_>>(), ["branch"]);
    assert_eq!(api.get(&format!("{path}/context")).await.expect(200).json()["branch"]["value"], 2);
    let step = async |verb: &str, body: Value| api.post(&format!("{path}/{verb}"), body).await.expect(200).json();
    assert_eq!(step("assign", json!({"owner": "eve"})).await["owner"], "eve");
    assert_eq!(step("resolve", json!({})).await["status"], "resolved");
    assert_eq!(step("reopen", json!({})).await["status"], "open");
    let token = step("tokens", json!({"ttl_seconds": 600})).await;
    assert!(!token["token"].as_str().unwrap().is_empty());
    let digits = step("tokens", json!({"form": "ivr_digits"})).await["value"].as_str().unwrap().to_owned();
    let looked_up = api.get(&format!("/v1/lookup?token={digits}&assurance=proven")).await.expect(200).json();
    assert_eq!(
        (&looked_up["known"], &looked_up["token"]["valid"], &looked_up["token"]["participant"]),
        (&json!(false), &json!(true), &json!(false))
    );
    assert_eq!(
        (&looked_up["token"]["enquiry"]["reason"], &looked_up["token"]["enquiry"]["variables"]),
        (&json!(null), &json!({"branch": 2}))
    );
    let refused = api.post(&format!("{path}/tokens"), json!({"form": "deep_link", "at": "shop.example"})).await.expect(422);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/at");
    api.get(&format!("/v1/lookup?token={digits}&phone=%2B442079460123&email=a@b.example")).await.expect(400);
    let listed = api.get(&format!("/v1/enquiries?profile={profile}&status=open")).await.expect(200).json();
    assert!(listed["items"].as_array().unwrap().iter().any(|enquiry| path.ends_with(enquiry["id"].as_str().unwrap())));
}

#[tokio::test]
async fn a_merged_profile_leads_to_its_survivor_until_it_is_taken_out() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let ada = api.mail(connection, "m1", "ada@customer.example").await;
    let bob = api.mail(connection, "m2", "bob@customer.example").await;
    let request = json!({"profile_id": bob, "reason": "the same person"});
    api.post(&format!("/v1/profiles/{ada}/merge"), request.clone()).await.expect(200);
    let moved = api.get(&format!("/v1/profiles/{bob}")).await.expect(308);
    assert_eq!((moved.header("location"), &moved.json()["merged_into"]), (format!("/v1/profiles/{ada}").as_str(), &json!(ada)));
    assert_eq!(moved.problem(), "merged");
    let links = api.get(&format!("/v1/profiles/{ada}/links")).await.expect(200).json();
    assert!(links["items"].as_array().unwrap().len() >= 2, "{links}");
    let decisions = api.get(&format!("/v1/decisions?about={ada}")).await.expect(200).json();
    let merge = decisions["items"].as_array().unwrap().iter().find(|decision| decision["subject"] == "merge").unwrap().clone();
    api.get(&format!("/v1/decisions/{}", merge["id"].as_str().unwrap())).await.expect(200);
    api.post(&format!("/v1/profiles/{ada}/unmerge"), request).await.expect(200);
    api.get(&format!("/v1/profiles/{bob}")).await.expect(200);
}

#[tokio::test]
async fn a_profile_is_changed_and_gets_another_identity() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let path = format!("/v1/profiles/{profile}");
    let tag = api.get(&path).await.header("etag").to_owned();
    let patch = json!({"fields": {"given_name": "Ada", "language": "en"}});
    let changed = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(patch)).await.expect(200).json();
    assert_eq!(changed["fields"]["given_name"]["value"], "Ada");
    let phone = json!({"type": "phone", "value": "+442079460123"});
    api.post(&format!("{path}/links"), phone.clone()).await.expect(200);

    for number in ["%2B442079460123", "+442079460123"] {
        let found = api.get(&format!("/v1/lookup?phone={number}&assurance=proven")).await.expect(200).json();
        assert_eq!((&found["known"], &found["profile"]["id"]), (&json!(true), &json!(profile)), "{number}");
    }
    let nobody = api.get("/v1/lookup?phone=%2B442079460999").await.expect(200).json();
    assert_eq!((&nobody["known"], &nobody["profile"]), (&json!(false), &Value::Null));
    let found = api.get("/v1/profiles?identity=phone:+442079460123").await.expect(200).json();
    assert_eq!(found["items"][0]["id"], json!(profile));
    api.post(&format!("{path}/unlink"), phone).await.expect(200);
    assert_eq!(api.get("/v1/lookup?phone=%2B442079460123").await.json()["known"], false);
}

#[tokio::test]
async fn a_connection_is_made_changed_paused_and_never_shows_a_secret() {
    let api = Api::new().await;
    let id = api.connection().await;
    let path = format!("/v1/connections/{id}");
    let tag = api.get(&path).await.header("etag").to_owned();
    let patch = json!({"secrets": {"password": "hunter2"}, "config": {"host": "other.example"}});
    let changed = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(patch)).await.expect(200);
    assert_eq!((&changed.json()["secret_names"], &changed.json()["config"]["host"]), (&json!(["password"]), &json!("other.example")));
    assert!(!String::from_utf8_lossy(&changed.body).contains("hunter2"));
    let bare = async |verb: &str, status: u16| api.with_headers("POST", &format!("{path}/{verb}"), &[], None).await.expect(status);
    assert_eq!(bare("check", 200).await.json()["account_id"], "acct-1");
    assert_eq!(bare("pause", 200).await.json()["paused"], true);
    assert_eq!(api.get(&format!("{path}/health")).await.expect(200).json()["state"], "paused");
    assert_eq!(bare("resume", 200).await.json()["paused"], false);
    bare("sync", 202).await;
    for list in ["cursors", "links"] {
        assert!(api.get(&format!("{path}/{list}")).await.expect(200).json()["items"].is_array());
    }
    let echoed = api.post(&format!("{path}/actions/echo"), json!({"a": [1]})).await.expect(200).json();
    assert_eq!(echoed, json!({"a": [1]}));
    assert_eq!(api.get(&format!("{path}/options/folder?query=In")).await.expect(200).json()[0]["label"], "In");
    assert_eq!(api.get("/v1/connections").await.expect(200).json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn reading_anew_and_updates_are_asked_for_by_name() {
    let api = Api::new().await;
    let id = api.connection().await;
    let path = format!("/v1/connections/{id}");
    let bare = async |verb: &str| api.with_headers("POST", &format!("{path}/{verb}"), &[], None).await;
    bare("cursors/message/reset").await.expect(202);
    bare("cursors/listen/reset").await.expect(202);
    assert_eq!(bare("cursors/nothing/reset").await.expect(404).problem(), "not-found");
    let tag = api.get(&path).await.header("etag").to_owned();
    bare("update/approve").await.expect(428);
    let none = api.with_headers("POST", &format!("{path}/update/approve"), &[("if-match", &tag)], None).await.expect(409);
    assert!(none.json()["detail"].as_str().unwrap().contains("no update waits"), "{none:?}");
    let beyond = json!({"plugin_version": "9.9.9"});
    let refused = api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(beyond)).await.expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/plugin_version");
    let updated = api.post("/v1/plugins/scripted/update", json!({})).await.expect(200).json();
    assert_eq!(updated["items"], json!([]), "there is no newer version");
    assert!(api.post("/v1/plugins/nobody/update", json!({"version": "1.0.0"})).await.status >= 400);
    let audit = api.get("/v1/audit").await.expect(200).json();
    let actions: Vec<&str> = audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"connections.reset_cursor"), "{actions:?}");
}

#[tokio::test]
async fn a_file_is_served_whole_and_in_ranges_as_a_download() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let mut writer = api.script.services(connection).blob_writer("text/html", Some("x.html"), 1000).unwrap();
    writer.write(b"0123456789").unwrap();
    let reference = writer.finish().unwrap();
    let path = format!("/v1/blobs/{reference}");
    let whole = api.get(&path).await.expect(200);
    assert_eq!(
        (&whole.body[..], whole.header("content-length"), whole.header("content-disposition")),
        (&b"0123456789"[..], "10", "attachment")
    );
    assert!(whole.header("content-security-policy").contains("sandbox"));
    let part = api.with_headers("GET", &path, &[("range", "bytes=3-5")], None).await.expect(206);
    assert_eq!((&part.body[..], part.header("content-range")), (&b"345"[..], "bytes 3-5/10"));
    let outside = api.with_headers("GET", &path, &[("range", "bytes=10-")], None).await;
    assert_eq!((outside.status, outside.problem().as_str(), outside.header("content-range")), (416, "range-not-satisfiable", "bytes */10"));
    api.with_headers("GET", &path, &[("if-none-match", whole.header("etag"))], None).await.expect(304);
    let head = api.with_headers("HEAD", &path, &[], None).await.expect(200);
    assert!(head.body.is_empty() && head.header("content-length") == "10");
    for bad in [format!("/v1/blobs/sha256:{}", "0".repeat(64)), "/v1/blobs/..%2F..%2Fetc%2Fpasswd".to_owned(), "/v1/blobs/x".to_owned()] {
        let status = api.get(&bad).await.status;
        assert!(status == 404 || status == 422, "{bad}: {status}");
    }
}

#[tokio::test]
async fn keys_are_shown_once_and_listed_without_their_secret() {
    let api = Api::new().await;
    let made = api.post("/v1/api-keys", json!({"name": "desk", "scopes": ["agent"]})).await.expect(201);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("tl_") && made.header("cache-control") == "no-store");
    api.as_key(&key, "GET", "/v1/profiles").await.expect(200);
    let listed = api.get("/v1/api-keys").await.expect(200);
    assert!(!String::from_utf8_lossy(&listed.body).contains(&key));
    assert_eq!(
        api.post("/v1/api-keys", json!({"name": "x", "scopes": ["root"]})).await.expect(422).json()["errors"][0]["pointer"],
        "/scopes/0"
    );
}

#[tokio::test]
async fn who_changed_what_is_written_down() {
    let api = Api::new().await;
    let connection = api.connection().await;
    api.get(&format!("/v1/connections/{connection}")).await.expect(200);
    api.post("/v1/connections", json!({"name": "x"})).await.expect(422);
    let audit = api.get("/v1/audit").await.expect(200).json();
    let entries = audit["items"].as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["connections.create", "plugins.install"], "newest first, only what was done");
    assert!(entries[0]["actor"].as_str().unwrap().starts_with("test (key_"));
}

#[tokio::test]
async fn the_operators_lists_are_there() {
    let api = Api::new().await;
    for path in ["/v1/dead-letters", "/v1/conflicts", "/v1/audit"] {
        assert_eq!(api.get(path).await.expect(200).json()["next"], Value::Null, "{path}");
    }
    let choice = json!({"choice": {"value": "x"}});
    api.post("/v1/conflicts/cfl_00000000000000000000000000/resolve", choice).await.expect(404);
    api.with_headers("POST", "/v1/dead-letters/dlt_00000000000000000000000000/replay", &[], None).await.expect(404);
}

#[tokio::test]
async fn the_system_says_how_it_is() {
    let api = Api::new().await;
    let open = async |path: &str| api.send("GET", path, &[], Body::empty()).await.expect(200);
    assert_eq!(&open("/livez").await.body[..], b"ok\n");
    assert_eq!(open("/readyz").await.json()["ready"], true);
    assert_eq!(open("/openapi.json").await.json(), throughline_api::openapi());
    let page = open("/docs").await;
    assert!(page.header("content-type").starts_with("text/html") && page.header("content-security-policy").contains("script-src 'sha256-"));
    let key = api.key(Scope::Read).await;
    let metrics = api.as_key(&key, "GET", "/metrics").await.expect(200);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("throughline_http_request_duration_seconds_count{operation=\"system.live\",status=\"200\"} 1"), "{text}");
}

#[tokio::test]
async fn policies_of_continuity_are_tried_out_and_set() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let path = "/v1/policies/continuity";
    api.mail(connection, "m1", "ada@customer.example").await;
    let profile = api.mail(connection, "m2", "ada@customer.example").await;
    let before = api.get(path).await.expect(200);
    assert_eq!((&before.json()["default"], before.header("etag")), (&json!({}), "\"0\""));
    let set = json!({"default": {"attach_by_person": false}});
    let tried = api.post(&format!("{path}/what-if"), json!({"policies": set})).await.expect(200).json();
    assert_eq!((&tried["considered"], &tried["different"]), (&json!(2), &json!(1)), "{tried}");
    let change = &tried["changes"][0];
    assert_eq!((&change["now"]["verdict"], &change["then"]["verdict"]), (&json!("attach"), &json!("suggest")));
    assert_eq!(change["now"]["enquiry_id"], change["then"]["candidates"][0]);
    assert_eq!(api.get(path).await.json(), before.json(), "nothing was changed by trying");
    assert_eq!(api.get(&format!("/v1/profiles/{profile}/timeline")).await.json()["items"].as_array().unwrap().len(), 2);

    api.with_headers("PUT", path, &[], Some(set.clone())).await.expect(428);
    let put = async |tag: &str, body: Value| api.with_headers("PUT", path, &[("if-match", tag)], Some(body)).await;
    let bad = put("\"0\"", json!({"rules": [{"set": {"window_hours": 999_999}}]})).await.expect(422).json();
    let pointers: Vec<&str> = bad["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/rules/0", "/rules/0/set/window_hours"]);
    let stored = put("\"0\"", set.clone()).await.expect(200);
    put("\"0\"", set).await.expect(412);
    // What was read can be sent back as it is.
    put(stored.header("etag"), stored.json()).await.expect(200);
    api.mail(connection, "m3", "ada@customer.example").await;
    let timeline = api.get(&format!("/v1/profiles/{profile}/timeline")).await.json();
    let stands =
        |key: &str| timeline["items"].as_array().unwrap().iter().find(|item| item["external_id"] == key).unwrap()["enquiry_id"].clone();
    assert!(stands("m2").is_string() && stands("m3").is_null(), "from now on a person says");
}

#[tokio::test]
async fn a_code_is_asked_for_and_given_back() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let profile = api.mail(connection, "m1", "ada@customer.example").await;
    let timeline = api.get(&format!("/v1/profiles/{profile}/timeline")).await.json();
    let path = format!("/v1/conversations/{}/proofs", timeline["items"][0]["conversation_id"].as_str().unwrap());
    let bad = api.post(&path, json!({"to": "ada@customer.example"})).await.expect(422).json();
    assert_eq!(bad["errors"][0]["pointer"], "/to");
    api.post(&format!("{path}/verify"), json!({"code": "123456"})).await.expect(409);
    let begun = api.post(&path, json!({"to": "email:ada@customer.example"})).await.expect(200).json();
    assert_eq!((&begun["status"], &begun["to"], &begun["attempts_left"]), (&json!("pending"), &json!("a••@customer.example"), &json!(3)));
    let wrong = api.post(&format!("{path}/verify"), json!({"code": "nothing"})).await.expect(200).json();
    assert_eq!((&wrong["status"], &wrong["attempts_left"]), (&json!("pending"), &json!(2)));
    let conversation = timeline["items"][0]["conversation_id"].as_str().unwrap();
    let told = api.get(&format!("/v1/lookup?conversation={conversation}")).await.expect(200).json();
    assert_eq!((&told["known"], &told["profile"]["id"], &told["profile"]["fields"]), (&json!(true), &json!(profile), &json!({})));
}
