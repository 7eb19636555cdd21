//! Who may be one person: suggestions and what becomes of them, thresholds tried out, and people taken apart again.

use serde_json::{Value, json};
use throughline_engine::{Clock, SystemClock};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{Item, ItemKind};

use crate::support::Api;

/// Something somebody said, by any channel.
async fn say(api: &Api, connection: ConnectionId, key: &str, channel: &str, thread: &str, who: (&str, &str), text: &str) {
    let data = json!({
        "channel": channel, "direction": "inbound", "endpoint": "desk", "conversation_key": thread, "occurred_at": SystemClock.now(),
        "participants": [{"role": "customer", "type": who.0, "address": who.1, "sender": true}],
        "content": {"kind": "message", "subject": thread, "text": text},
    });
    let item = Item { kind: ItemKind::Interaction, entity: "message".to_owned(), key: key.to_owned(), version: None, at_ms: None, data };
    api.script.services(connection).emit(vec![item], None, vec![]).await.unwrap();
}

async fn who(api: &Api, identity: &str) -> String {
    let found = api.get(&format!("/v1/profiles?identity={identity}")).await.expect(200).json();
    found["items"][0]["id"].as_str().unwrap_or_else(|| panic!("nobody is {identity}")).to_owned()
}

/// Two profiles that any person would take for one.
async fn twins(api: &Api) -> [String; 2] {
    let connection = api.connection().await;
    let ids = [api.mail(connection, "m1", "ada@a.example").await, api.mail(connection, "m2", "lovelace@b.example").await];
    for (id, given) in ids.iter().zip(["Robert", "Bob"]) {
        let path = format!("/v1/profiles/{id}");
        let tag = api.get(&path).await.header("etag").to_owned();
        let fields = json!({"given_name": given, "family_name": "Wolstenholme", "birth_date": "1983-04-17", "postcode": "BS1 2EL"});
        api.with_headers("PATCH", &path, &[("if-match", &tag)], Some(json!({ "fields": fields }))).await.expect(200);
    }
    ids
}

async fn open_reviews(api: &Api) -> Vec<Value> {
    api.get("/v1/reviews").await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn set_policy(api: &Api, policy: Value) -> crate::support::Answer {
    let tag = api.get("/v1/policies/identity").await.expect(200).header("etag").to_owned();
    api.with_headers("PUT", "/v1/policies/identity", &[("if-match", &tag)], Some(policy)).await
}

#[tokio::test]
async fn profiles_that_are_alike_are_suggested_with_the_evidence_and_merged_when_a_person_says_so() {
    let api = Api::new().await;
    let [one, other] = twins(&api).await;
    let reviews = open_reviews(&api).await;
    assert_eq!(reviews.len(), 1, "{reviews:?}");
    let review = &reviews[0];
    assert!(review["bits"].as_f64().unwrap() > 3.0, "{review}");
    let evidence = review["evidence"].to_string();
    assert!(evidence.contains("one is short for the other") && evidence.contains("date of birth"), "{evidence}");
    // Nothing was merged by itself, and asking again suggests nothing twice.
    for id in [&one, &other] {
        api.get(&format!("/v1/profiles/{id}")).await.expect(200);
    }
    assert_eq!(open_reviews(&api).await, reviews);
    let decision = api.get(&format!("/v1/decisions/{}", review["decision_id"].as_str().unwrap())).await.expect(200).json();
    assert_eq!((&decision["subject"], &decision["evidence"]), (&json!("likeness"), &review["evidence"]));

    let path = format!("/v1/reviews/{}", review["id"].as_str().unwrap());
    let accepted = api.post(&format!("{path}/accept"), json!({})).await.expect(200).json();
    assert_eq!(accepted["status"], "accepted");
    assert!(accepted["decided_by"].as_str().unwrap().starts_with("test"), "{accepted}");
    api.post(&format!("{path}/reject"), json!({})).await.expect(409);
    let survivor = who(&api, "email:ada@a.example").await;
    assert_eq!(survivor, who(&api, "email:lovelace@b.example").await);
    assert_eq!(open_reviews(&api).await, Vec::<Value>::new());

    let why = api.get(&format!("/v1/profiles/{survivor}/why?field=given_name")).await.expect(200).json();
    assert_eq!(why["said"].as_array().unwrap().len(), 2, "{why}");
    assert_eq!(why["shown"], why["said"][0]["said"]);
    let merged_by = &why["members"][0]["decision"];
    assert!(merged_by["evidence"].to_string().contains("date of birth"), "{why}");
    api.get(&format!("/v1/profiles/{survivor}/why?colour=red")).await.expect(400);
}

#[tokio::test]
async fn who_was_told_apart_is_never_suggested_or_merged_again() {
    let api = Api::new().await;
    let [one, other] = twins(&api).await;
    let review = open_reviews(&api).await.remove(0);
    api.post(&format!("/v1/reviews/{}/reject", review["id"].as_str().unwrap()), json!({})).await.expect(200);
    set_policy(&api, json!({"auto_merge": true, "merge_bits": 4.0, "suggest_bits": 0.0})).await.expect(200);
    assert_eq!(open_reviews(&api).await, Vec::<Value>::new());
    let tried = api.post("/v1/policies/identity/what-if", json!({"merge_bits": 0.0, "suggest_bits": 0.0})).await.expect(200).json();
    assert_eq!((&tried["merges"], &tried["profiles"]), (&json!(0), &json!(2)), "{tried}");
    for id in [&one, &other] {
        api.get(&format!("/v1/profiles/{id}")).await.expect(200);
    }
    let rejected = api.get("/v1/reviews?status=rejected").await.expect(200).json();
    assert_eq!(rejected["items"][0]["id"], review["id"]);
}

#[tokio::test]
async fn what_is_kept_apart_by_hand_is_not_suggested() {
    let api = Api::new().await;
    let [one, other] = twins(&api).await;
    api.post(&format!("/v1/profiles/{one}/keep-apart"), json!({"profile_id": other, "reason": "father and son"})).await.expect(204);
    assert_eq!(open_reviews(&api).await, Vec::<Value>::new());
    api.post(&format!("/v1/profiles/{one}/keep-apart"), json!({"profile_id": one, "reason": "x"})).await.expect(422);
}

#[tokio::test]
async fn a_policy_may_merge_by_likeness_and_a_what_if_tells_what_other_thresholds_would_change() {
    let api = Api::new().await;
    let [one, other] = twins(&api).await;
    let first = api.get("/v1/policies/identity").await.expect(200).json();
    assert_eq!((&first["auto_merge"], &first["suggest"]), (&json!(false), &json!(true)), "likeness merges nobody unless it is told to");
    let what_if = async |merge: f64| {
        let asked = json!({"merge_bits": merge, "suggest_bits": 0.0});
        api.post("/v1/policies/identity/what-if", asked).await.expect(200).json()
    };
    let tried = what_if(4.0).await;
    assert_eq!((&tried["merges"], &tried["splits"]), (&json!(1), &json!(0)), "{tried}");
    assert_eq!(tried["would_merge"][0]["profiles"].as_array().unwrap().len(), 2);
    api.get(&format!("/v1/profiles/{other}")).await.expect(200);

    set_policy(&api, json!({"auto_merge": true, "merge_bits": 4.0})).await.expect(200);
    assert_eq!(open_reviews(&api).await, Vec::<Value>::new(), "it was merged, so that nobody is asked");
    let survivor = who(&api, "email:ada@a.example").await;
    assert_eq!(survivor, who(&api, "email:lovelace@b.example").await);
    let tried = what_if(150.0).await;
    assert_eq!((&tried["merges"], &tried["splits"]), (&json!(0), &json!(1)), "{tried}");
    let mut parts: Vec<String> = serde_json::from_value(tried["would_split"][0]["profiles"].clone()).unwrap();
    parts.sort();
    let mut both = vec![one.clone(), other.clone()];
    both.sort();
    assert_eq!(parts, both);

    // Taken apart by hand, they stay two.
    let loser = if survivor == one { &other } else { &one };
    api.post(&format!("/v1/profiles/{survivor}/unmerge"), json!({"profile_id": loser, "reason": "two"})).await.expect(200);
    assert_eq!(open_reviews(&api).await, Vec::<Value>::new());
    api.get(&format!("/v1/profiles/{loser}")).await.expect(200);
}

#[tokio::test]
async fn a_policy_that_means_nothing_is_refused_and_blocked_identifiers_know_nobody() {
    let api = Api::new().await;
    for (policy, field) in
        [(json!({"merge_bits": -1.0}), "/merge_bits"), (json!({"merge_bits": 2.0, "suggest_bits": 3.0}), "/suggest_bits")]
    {
        let refused = set_policy(&api, policy).await.expect(422).json();
        assert!(refused.to_string().contains(field), "{refused}");
    }
    let connection = api.connection().await;
    set_policy(&api, json!({"blocked": ["shared@kiosk.example"]})).await.expect(200);
    say(&api, connection, "k1", "email", "one", ("email", "shared@kiosk.example"), "Hello").await;
    let found = api.get("/v1/profiles?identity=email:shared@kiosk.example").await.expect(200).json();
    assert_eq!(found["items"], json!([]));
}

/// Scenario S6.
#[tokio::test]
async fn brazilian_numbers_with_and_without_the_ninth_digit_are_one_profile() {
    let api = Api::new().await;
    let connection = api.connection().await;
    say(&api, connection, "s1", "sms", "old", ("phone", "+55 11 8123-4567"), "Oi").await;
    say(&api, connection, "s2", "sms", "new", ("phone", "+55 (11) 98123-4567"), "Oi de novo").await;
    let profiles = api.get("/v1/profiles").await.expect(200).json();
    assert_eq!(profiles["items"].as_array().unwrap().len(), 1, "{profiles}");
    let id = profiles["items"][0]["id"].as_str().unwrap();
    let timeline = api.get(&format!("/v1/profiles/{id}/timeline")).await.expect(200).json();
    assert_eq!(timeline["items"].as_array().unwrap().len(), 2);
}

/// Scenario S7: merged by mistake while the chat is live, then taken apart.
#[tokio::test]
async fn after_a_merge_during_a_live_chat_is_undone_each_has_its_own_messages_and_enquiries() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let visitor = ("handle", "visitor-7");
    let mailer = ("email", "bob@b.example");
    say(&api, connection, "c1", "chat", "chat-7", visitor, "Is anybody there?").await;
    say(&api, connection, "b1", "email", "Old matter", mailer, "Thanks").await;
    let chat_profile = who(&api, &format!("handle:{connection}:visitor-7")).await;
    let mail_profile = who(&api, "email:bob@b.example").await;
    let first_of = async |profile: &str| {
        let listed = api.get(&format!("/v1/enquiries?profile={profile}")).await.expect(200).json();
        listed["items"][0]["id"].as_str().unwrap().to_owned()
    };
    let (chat_enquiry, mail_enquiry) = (first_of(&chat_profile).await, first_of(&mail_profile).await);
    api.post(&format!("/v1/enquiries/{mail_enquiry}/resolve"), json!({})).await.expect(200);
    let shown = async |profile: &str| {
        let mut shown = api.get(&format!("/v1/profiles/{profile}")).await.expect(200).json();
        for changing in ["updated_at", "version"] {
            shown.as_object_mut().unwrap().remove(changing);
        }
        for identity in shown["identities"].as_array_mut().unwrap() {
            identity.as_object_mut().unwrap().remove("last_seen");
        }
        shown
    };
    let before = (shown(&chat_profile).await, shown(&mail_profile).await);

    let request = json!({"profile_id": mail_profile, "reason": "a mistake"});
    api.post(&format!("/v1/profiles/{chat_profile}/merge"), request.clone()).await.expect(200);
    say(&api, connection, "c2", "chat", "chat-7", visitor, "My order is 4711").await;
    say(&api, connection, "b2", "email", "Another matter", mailer, "Please call me").await;
    let texts = async |path: String| -> Vec<String> {
        let items = api.get(&path).await.expect(200).json()["items"].as_array().unwrap().clone();
        let mut texts: Vec<String> = items.iter().map(|item| item["content"]["text"].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    let in_chat_enquiry = texts(format!("/v1/enquiries/{chat_enquiry}/interactions")).await;
    assert!(in_chat_enquiry.contains(&"Please call me".to_owned()), "the mistake had this effect: {in_chat_enquiry:?}");

    api.post(&format!("/v1/profiles/{chat_profile}/unmerge"), request).await.expect(200);
    assert_eq!((shown(&chat_profile).await, shown(&mail_profile).await), before);
    assert_eq!(texts(format!("/v1/profiles/{chat_profile}/timeline")).await, ["Is anybody there?", "My order is 4711"]);
    assert_eq!(texts(format!("/v1/profiles/{mail_profile}/timeline")).await, ["Please call me", "Thanks"]);
    assert_eq!(texts(format!("/v1/enquiries/{chat_enquiry}/interactions")).await, ["Is anybody there?", "My order is 4711"]);
    let listed = api.get(&format!("/v1/enquiries?profile={mail_profile}&status=open")).await.expect(200).json();
    let moved = &listed["items"][0];
    assert_eq!((listed["items"].as_array().unwrap().len(), &moved["reason"]), (1, &json!("Another matter")), "{listed}");
    assert_eq!(texts(format!("/v1/enquiries/{}/interactions", moved["id"].as_str().unwrap())).await, ["Please call me"]);
    // What is said next goes on where it belongs.
    say(&api, connection, "c3", "chat", "chat-7", visitor, "Hello?").await;
    assert_eq!(texts(format!("/v1/enquiries/{chat_enquiry}/interactions")).await.len(), 3);
}
