//! One-time codes: what is sent, what is kept, what a right and a wrong one come to; and that nothing is read below its level.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use throughline_engine::{Clock, HubError, LookupQuery, Paging, ProofStatus};
use throughline_schemas::{Assurance, ConnectionId, ConversationId, ProfileId};

use crate::support::{World, item, mail, until};

const ADA: &str = "ada@example.com";

/// Somebody without a name writes in a chat; Ada is known by mail.
async fn chat(world: &World) -> (ConnectionId, ConnectionId, ConversationId) {
    let (web, post) = (world.connect("chat", json!({})).await, world.connect("mail", json!({})).await);
    world.take(web, vec![said(world, "c1")]).await;
    let visitor = world.who(&format!("handle:{web}:visitor-1"));
    (web, post, world.timeline(visitor.id)[0].conversation_id)
}

fn said(world: &World, key: &str) -> throughline_schemas::connector::Item {
    let data = json!({
        "channel": "chat", "direction": "inbound", "endpoint": "shop-chat", "occurred_at": world.clock.now(), "conversation_key": "s1",
        "participants": [{"role": "customer", "type": "handle", "address": "visitor-1", "sender": true}],
        "content": {"kind": "message", "text": format!("My order is late, says {key}")},
    });
    item(key, None, data)
}

fn sent_code(world: &World) -> String {
    let text = world.silo.state().sent.last().unwrap().0.text.clone();
    text.chars().filter(char::is_ascii_digit).collect()
}

fn proof(to: &str, by: ConnectionId) -> throughline_engine::NewProof {
    serde_json::from_value(json!({"to": to, "connection_id": by})).unwrap()
}

fn check(code: &str) -> throughline_engine::ProofCheck {
    serde_json::from_value(json!({ "code": code })).unwrap()
}

#[tokio::test]
async fn a_code_given_back_proves_the_address_in_that_conversation() {
    let world = World::new();
    let (web, post, conversation) = chat(&world).await;
    world.take(post, vec![mail("m", ADA, "Late", world.clock.now())]).await;
    let ada = world.who(&format!("email:{ADA}")).id;
    world.name(ada, "display_name", json!("Ada Lovelace")).await;
    let ask = || world.hub.lookup(&LookupQuery { conversation: Some(conversation), ..LookupQuery::default() }).unwrap();
    assert_eq!(ask().profile.unwrap().display_name, None);

    let view = world.hub.start_proof(conversation, proof(&format!("email:{ADA}"), post)).await.unwrap();
    assert_eq!((view.status, view.attempts_left, view.to.as_str()), (ProofStatus::Pending, 3, "a••@example.com"));
    let code = sent_code(&world);
    assert_eq!((code.len(), world.silo.state().sent.last().unwrap().0.to.clone()), (6, vec![ADA.to_owned()]));
    let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
    let after = world.hub.verify_proof(conversation, check(&wrong)).await.unwrap();
    assert_eq!((after.status, after.attempts_left), (ProofStatus::Pending, 2));
    assert_eq!(ask().profile.unwrap().display_name, None, "a wrong code proves nothing");
    let done = world.hub.verify_proof(conversation, check(&format!(" {} {}", &code[..3], &code[3..]))).await.unwrap();
    assert_eq!(done.status, ProofStatus::Approved);
    assert!(matches!(world.hub.verify_proof(conversation, check(&code)).await, Err(HubError::Conflict { .. })), "used once");
    let shown = ask().profile.unwrap();
    assert_eq!((shown.id, shown.display_name.as_deref()), (ada, Some("Ada Lovelace")), "the visitor is Ada");
    world.take(web, vec![said(&world, "c2")]).await;
    assert_eq!(world.timeline(ada).len(), 3, "chat and mail on one timeline");
    world.clock.by(Duration::from_secs(13 * 3600));
    assert_eq!(ask().profile.unwrap().display_name, None, "a session is not for ever");
}

#[tokio::test]
async fn codes_expire_are_replaced_run_out_of_attempts_and_are_sent_only_so_often() {
    let world = World::new();
    let (_, post, conversation) = chat(&world).await;
    let to = format!("email:{ADA}");
    let send = async || world.hub.start_proof(conversation, proof(&to, post)).await;
    send().await.unwrap();
    let first = sent_code(&world);
    send().await.unwrap();
    let second = sent_code(&world);
    if first != second {
        assert_eq!(world.hub.verify_proof(conversation, check(&first)).await.unwrap().attempts_left, 2, "the last one sent counts");
    }
    for left in [1, 0] {
        assert_eq!(world.hub.verify_proof(conversation, check("")).await.unwrap().attempts_left, left);
    }
    assert!(matches!(world.hub.verify_proof(conversation, check(&second)).await, Err(HubError::Conflict { .. })), "no attempt is left");
    send().await.unwrap();
    assert!(matches!(send().await, Err(HubError::Conflict { .. })), "three to one address, then patience");
    let third = sent_code(&world);
    world.clock.by(Duration::from_secs(601));
    assert!(matches!(world.hub.verify_proof(conversation, check(&third)).await, Err(HubError::Conflict { .. })), "ten minutes are over");
    world.clock.by(Duration::from_secs(600));
    send().await.unwrap();
    for bad in [json!({"to": "ada"}), json!({"to": "email:nobody"}), json!({"to": to, "text": "no place"})] {
        let bad: throughline_engine::NewProof = serde_json::from_value(bad).unwrap();
        assert!(matches!(world.hub.start_proof(conversation, bad).await, Err(HubError::Invalid { .. })));
    }
}

/// What a reader finds of markers, in everything that can be read of one person.
async fn read_everything(world: &World, profile: ProfileId, assurance: Assurance) -> (String, String) {
    let query = LookupQuery { email: Some(ADA.to_owned()), assurance, ..LookupQuery::default() };
    let enquiry = world.enquiries()[0].id;
    let token = world.hub.issue_token(enquiry, Default::default()).await.unwrap().token;
    let mut told = vec![serde_json::to_value(world.hub.lookup(&query).unwrap()).unwrap()];
    told.push(serde_json::to_value(world.hub.lookup_with_token(&query, &token).await.unwrap()).unwrap());
    let page = || Paging { cursor: None, limit: 200 };
    let staff: Vec<Value> = vec![
        serde_json::to_value(world.hub.context(profile).unwrap()).unwrap(),
        serde_json::to_value(world.hub.enquiry(enquiry).unwrap().value).unwrap(),
        serde_json::to_value(world.enquiries()).unwrap(),
        serde_json::to_value(world.hub.enquiry_interactions(enquiry, page()).unwrap().items).unwrap(),
        serde_json::to_value(world.timeline(profile)).unwrap(),
        serde_json::to_value(world.hub.decisions(&enquiry.to_string(), page()).unwrap().items).unwrap(),
        serde_json::to_value(world.hub.changes(0, 1000).unwrap()).unwrap(),
    ];
    (serde_json::to_string(&told).unwrap(), serde_json::to_string(&staff).unwrap())
}

async fn nothing_is_read_below_its_level(classes: Vec<(u8, bool)>, assurance: Assurance) {
    const NAMES: [&str; 4] = ["public", "internal", "pii", "secret"];
    let world = World::new();
    let post = world.connect("mail", json!({"paused": true})).await;
    world.take(post, vec![mail("m", ADA, "MARK-pii-reason", world.clock.now())]).await;
    let ada = world.who(&format!("email:{ADA}")).id;
    world.name(ada, "display_name", json!("MARK-pii-name")).await;
    let mut variables = serde_json::Map::new();
    for (index, (class, expired)) in classes.iter().enumerate() {
        let class = NAMES[usize::from(*class) % 4];
        let expires_at = expired.then(|| world.clock.now());
        let name = format!("v{index}");
        variables.insert(name, json!({"value": format!("MARK-{class}-{index}"), "classification": class, "expires_at": expires_at}));
    }
    let enquiry = world.enquiries()[0].id;
    world.hub.set_enquiry_variables(enquiry, serde_json::from_value(Value::Object(variables)).unwrap()).await.unwrap();
    let (told, staff) = read_everything(&world, ada, assurance).await;
    let forbidden: &[&str] = match assurance {
        Assurance::Claimed => &["MARK-internal", "MARK-pii", "MARK-secret"],
        Assurance::Asserted => &["MARK-pii", "MARK-secret"],
        Assurance::Proven | Assurance::Confirmed => &["MARK-secret"],
    };
    for marker in forbidden {
        assert!(!told.contains(marker), "{marker} at {assurance:?}: {told}");
    }
    assert!(!staff.contains("MARK-secret"), "{staff}");
}

#[tokio::test]
async fn a_secret_is_written_to_no_silo() {
    let world = World::new();
    let crm = world.crm().await;
    let post = world.connect("mail", json!({})).await;
    world.take(post, vec![mail("m", ADA, "Late order", world.clock.now())]).await;
    let enquiry = world.enquiries()[0].id;
    // The silo's own field for orders: it would be written there.
    for (value, classification) in [("MARK-open", "internal"), ("MARK-secret", "secret")] {
        let variables = json!({"order": {"value": value, "classification": classification}});
        world.hub.set_enquiry_variables(enquiry, serde_json::from_value(variables).unwrap()).await.unwrap();
        world.quiet(crm).await;
        until(|| format!("{:?}", world.silo.state().records).contains("MARK-open")).await;
    }
    let written = format!("{:?}", world.silo.state().ops);
    assert!(written.contains("MARK-open") && !written.contains("MARK-secret"), "{written}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_read_path_shows_a_field_below_its_level(
        classes in proptest::collection::vec((0u8..4, any::<bool>()), 1..6),
        assurance in proptest::sample::select(vec![Assurance::Claimed, Assurance::Asserted, Assurance::Proven, Assurance::Confirmed]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(nothing_is_read_below_its_level(classes, assurance));
    }
}

#[tokio::test]
async fn what_waited_for_somebody_to_say_attaches_once_the_speaker_is_proven() {
    let world = World::new();
    let (web, post, _) = chat(&world).await;
    world.take(post, vec![mail("m", ADA, "Late order", world.clock.now())]).await;
    let ada = world.who(&format!("email:{ADA}")).id;
    let enquiry = world.hub.context(ada).unwrap().enquiries[0].id;
    let token = world.hub.issue_token(enquiry, Default::default()).await.unwrap().token;
    // A visitor whom nobody knows comes with Ada's token: parked.
    let mut visit = said(&world, "c9");
    visit.data["conversation_key"] = json!("s9");
    visit.data["participants"][0]["address"] = json!("visitor-9");
    visit.data["thread"] = json!({"tokens": [token]});
    world.take(web, vec![visit]).await;
    let visitor = world.who(&format!("handle:{web}:visitor-9")).id;
    let parked = world.timeline(visitor).remove(0);
    assert_eq!(parked.enquiry_id, None);
    world.hub.start_proof(parked.conversation_id, proof(&format!("email:{ADA}"), post)).await.unwrap();
    let done = world.hub.verify_proof(parked.conversation_id, check(&sent_code(&world))).await.unwrap();
    assert_eq!(done.status, ProofStatus::Approved);
    assert_eq!(world.hub.interaction(parked.id).unwrap().enquiry_id, Some(enquiry), "now it is hers");
    let decisions = world.hub.decisions(&parked.id.to_string(), Paging { cursor: None, limit: 50 }).unwrap().items;
    assert!(decisions.iter().any(|decision| decision.outcome.contains("more is known now")), "{decisions:?}");
}

/// A key pair for tests, good for nothing else.
const PRIVATE: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIL3zy0XsvxlICQOr2Zuuf9VgY63zMtdEyS9BsnC8PYWo\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEATpw7dcG0wCdh51j+BF4E4BOzt31fI9CcL/XQS/szHdM=\n-----END PUBLIC KEY-----\n";
const SECRET: &str = "a secret of at least thirty-two bytes";

fn signed(algorithm: jsonwebtoken::Algorithm, kid: &str, claims: &Value) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap(),
        // Key confusion: the public key is taken for a secret.
        Algorithm::HS384 => EncodingKey::from_secret(PUBLIC.as_bytes()),
        _ => EncodingKey::from_secret(if kid == "ed" { PUBLIC.as_bytes() } else { SECRET.as_bytes() }),
    };
    encode(&Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) }, claims, &key).unwrap()
}

#[tokio::test]
async fn a_signed_web_identity_proves_and_no_trick_gets_through() {
    use base64::Engine as _;
    use jsonwebtoken::Algorithm;
    let world = World::new();
    let (_, post, conversation) = chat(&world).await;
    world.take(post, vec![mail("m", ADA, "Late order", world.clock.now())]).await;
    for new in [
        json!({"kid": "ed", "algorithm": "EdDSA", "key": PUBLIC, "issuer": "shop"}),
        json!({"kid": "hs", "algorithm": "HS256", "key": SECRET}),
        json!({"kid": "other", "algorithm": "HS256", "key": SECRET, "brand": "other"}),
    ] {
        world.hub.create_web_key(serde_json::from_value(new).unwrap()).await.unwrap();
    }
    for bad in [
        json!({"kid": "x", "algorithm": "HS256", "key": "short"}),
        json!({"kid": "x", "algorithm": "HS256", "key": PUBLIC}),
        json!({"kid": "x", "algorithm": "EdDSA", "key": SECRET}),
        json!({"kid": "x", "algorithm": "RS256", "key": PUBLIC}),
    ] {
        assert!(matches!(world.hub.create_web_key(serde_json::from_value(bad).unwrap()).await, Err(HubError::Invalid { .. })));
    }
    let now = world.clock.now().as_millis() / 1000;
    let claims = json!({"sub": "u-1", "iss": "shop", "exp": now + 300, "email": ADA, "email_verified": true});
    let give = async |token: String| {
        world.hub.prove_by_web_identity(conversation, serde_json::from_value(json!({ "token": token })).unwrap()).await
    };
    let good = signed(Algorithm::EdDSA, "ed", &claims);
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let body = good.split('.').nth(1).unwrap();
    let mut other_claims = claims.clone();
    other_claims["email"] = json!("eve@example.org");
    let mut expired = claims.clone();
    expired["exp"] = json!(now - 1);
    let mut endless = claims.clone();
    endless["exp"] = json!(now + 400_000);
    let mut unending = claims.clone();
    unending.as_object_mut().unwrap().remove("exp");
    let mut foreign = claims.clone();
    foreign["iss"] = json!("evil");
    let tricks = [
        ("none", format!("{}.{body}.", part(r#"{"alg":"none","kid":"ed"}"#))),
        ("key confusion", signed(Algorithm::HS256, "ed", &claims)),
        ("another HMAC", signed(Algorithm::HS384, "ed", &claims)),
        ("another key's name", signed(Algorithm::HS256, "nobody", &claims)),
        ("another brand's key", signed(Algorithm::HS256, "other", &claims)),
        ("other claims", {
            let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
            format!("{head}.{}.{signature}", part(&other_claims.to_string()))
        }),
        ("expired", signed(Algorithm::EdDSA, "ed", &expired)),
        ("endless", signed(Algorithm::EdDSA, "ed", &endless)),
        ("no expiry", signed(Algorithm::EdDSA, "ed", &unending)),
        ("another issuer", signed(Algorithm::EdDSA, "ed", &foreign)),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (trick, token) in tricks {
        assert!(matches!(give(token).await, Err(HubError::Invalid { .. })), "{trick}");
        assert!(world.hub.conversation(conversation).unwrap().value.proven.is_empty(), "{trick}");
    }
    let done = give(good).await.unwrap();
    assert_eq!(done.proven.len(), 2);
    let ada = world.who(&format!("email:{ADA}")).id;
    assert_eq!(world.timeline(ada).len(), 2, "the visitor is Ada");
    give(signed(Algorithm::HS256, "hs", &claims)).await.unwrap();
    world.hub.delete_web_key("hs").await.unwrap();
    assert!(give(signed(Algorithm::HS256, "hs", &claims)).await.is_err());
    assert_eq!(world.hub.web_keys().unwrap().iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["ed", "other"]);
}
