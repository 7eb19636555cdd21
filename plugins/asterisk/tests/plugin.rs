//! The plugin as the hub calls it: listening over a scripted connection, acting over a scripted ARI, taking what the dial plan posts.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value, json};
use support::{config, config_json, expected, lines, recordings, streams};
use throughline_plugin_asterisk::Asterisk;
use throughline_plugin_asterisk::config::Config;
use throughline_plugin_sdk::schemas::InteractionFact;
use throughline_plugin_sdk::testing::{ByteStream, Guard, ScriptedStream, TestHost};
use throughline_plugin_sdk::{Channel, Connector, Error, ErrorClass, HttpRequest, HttpResponse, Item, Listener, Result, Webhook};

const GREETING: &str = "Asterisk Call Manager/9.0.0\r\n";
const ACCEPTED: &str = "Response: Success\r\nActionID: ami-1\r\nMessage: Authentication accepted\r\n\r\n";

fn host() -> TestHost {
    TestHost::new().secret("ami_secret", "s3cret").secret("ari_password", "p4ss").secret("hook_key", "ivr-key")
}

/// The PBX's side up to a login that is accepted.
fn logged_in() -> ScriptedStream {
    ScriptedStream::new()
        .reply(GREETING)
        .expect_line("Action: Login")
        .expect_line("ActionID: tl-login")
        .expect_line("Username: throughline")
        .expect_line("Secret: s3cret")
        .expect_line("Events: on")
        .expect_line("")
        .reply(ACCEPTED)
}

/// The last that was said of each call, as `plugin replay` prints it.
fn replayed(items: &[Item]) -> Vec<Value> {
    let mut last = std::collections::BTreeMap::new();
    for item in items {
        let version: i64 = item.version.as_ref().unwrap().parse().unwrap();
        let fact: InteractionFact = serde_json::from_value(item.data.clone()).unwrap();
        assert_eq!(fact.conversation_key.as_ref(), Some(&item.key));
        let (before, _) = last.insert(item.key.clone(), (version, fact)).unwrap_or((0, serde_json::from_value(item.data.clone()).unwrap()));
        assert!(before < version, "{} goes back from {before} to {version}", item.key);
    }
    lines(last.into_values().map(|(_, fact)| fact))
}

fn listen(stream: ScriptedStream) -> (Guard, Result<()>) {
    let host = host().connect(move |_, _, _| stream.clone()).install();
    let result = Asterisk::listen(config(), None);
    (host, result)
}

#[test]
fn every_recording_comes_through_the_listener_as_its_calls() {
    for folder in support::folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("s43") {
            continue;
        }
        let sessions: Rc<RefCell<VecDeque<Vec<u8>>>> = Rc::new(RefCell::new(streams(&folder).into()));
        let left = Rc::clone(&sessions);
        let host = host()
            .connect(move |_, _, _| -> Result<ByteStream> {
                let next = left.borrow_mut().pop_front();
                next.map(|bytes| ByteStream::new(bytes).chunks(&[1448]))
                    .ok_or_else(|| Error::new(ErrorClass::Transient, "connection refused"))
            })
            .install();
        while !sessions.borrow().is_empty() {
            let ended = Asterisk::listen(config(), None).unwrap_err();
            assert_eq!(ended.class, ErrorClass::Transient, "{name}: {ended}");
        }
        assert_eq!(replayed(&host.items()), expected(&folder), "{name}");
        assert_eq!(host.state().get("open").cloned().unwrap_or(json!([])), json!([]), "{name}: something is left open");
        assert!(!host.state().keys().any(|key| key.starts_with("call/")), "{name}: {:?}", host.state().keys());
    }
}

#[test]
fn refusals_are_told_apart() {
    let table = [
        ("Response: Error\r\nActionID: x\r\nMessage: Authentication failed\r\n\r\n", ErrorClass::Auth),
        ("Response: Error\r\nMessage: Asterisk is shutting down\r\n\r\n", ErrorClass::Transient),
        ("Response: Error\r\nMessage: Permission denied\r\n\r\n", ErrorClass::Permission),
        ("Response: Err", ErrorClass::Transient),
        ("", ErrorClass::Transient),
    ];
    for (answer, class) in table {
        let stream = ScriptedStream::new()
            .reply(GREETING)
            .expect_line("Action: Login")
            .expect_line("ActionID: tl-login")
            .expect_line("Username: throughline")
            .expect_line("Secret: s3cret")
            .expect_line("Events: on")
            .expect_line("")
            .reply(answer);
        let error = listen(stream).1.unwrap_err();
        assert_eq!(error.class, class, "{answer}: {error}");
        assert!(!error.to_string().contains("s3cret"));
    }
    let recorded = recordings().join("s43-authentication-failures/ami-acl.s2c.raw");
    let bytes = std::fs::read(recorded).unwrap();
    let _host = host().connect(move |_, _, _| ByteStream::new(bytes.clone())).install();
    assert_eq!(Asterisk::listen(config(), None).unwrap_err().class, ErrorClass::Auth);
}

#[test]
fn what_is_no_manager_interface_is_a_mistake_in_the_config() {
    let (_host, result) = listen(ScriptedStream::new().reply("SSH-2.0-OpenSSH_9.2\r\n").hold());
    let error = result.unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("ami_port")));
    let (_host, result) = listen(ScriptedStream::new().hold());
    assert_eq!(result.unwrap_err().class, ErrorClass::Transient, "silence");
    let _host = host().connect(|_, _, _| Err::<ByteStream, _>(Error::new(ErrorClass::Transient, "connection refused"))).install();
    assert_eq!(Asterisk::listen(config(), None).unwrap_err().class, ErrorClass::Transient);
}

#[test]
fn a_user_name_cannot_bring_headers_of_its_own() {
    for name in ["a\r\nEvents: off", "x{secret:ami_secret}"] {
        let mut text = config_json();
        text["ami_username"] = json!(name);
        let config: Config = serde_json::from_value(text).unwrap();
        let _host = host().connect(|_, _, _| ByteStream::new(GREETING).stays_open()).install();
        assert_eq!(Asterisk::listen(config, None).unwrap_err().field.as_deref(), Some("ami_username"), "{name:?}");
    }
}

#[test]
fn a_quiet_pbx_is_asked_whether_it_is_there() {
    let ping = |stream: ScriptedStream| stream.expect_line("Action: Ping").expect_line("ActionID: tl-ping").expect_line("");
    let pong = "Response: Success\r\nActionID: tl-ping\r\nPing: Pong\r\n\r\n";
    let stream = ping(ping(logged_in().silence(1)).reply(pong).silence(1)).hold();
    let (_host, result) = listen(stream);
    let error = result.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("does not answer"), "{error}");
}

#[test]
fn the_end_of_listening_is_no_failure() {
    let quiet = || logged_in().silence(1).expect_line("Action: Ping").expect_line("ActionID: tl-ping").expect_line("").hold();
    let _host = host().connect(move |_, _, _| quiet()).cancel_after(3).install();
    assert_eq!(Asterisk::listen(config(), None), Ok(()));
}

fn s01() -> Vec<u8> {
    std::fs::read(recordings().join("s01-inbound-queue-answered/ami.s2c.raw")).unwrap()
}

fn position(stream: &[u8], text: &str) -> usize {
    stream.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap()
}

/// The stream is cut within an event while the two talk; what the PBX then says decides how the call ended.
fn cut_mid_call(second_session: ScriptedStream) -> (Guard, Error) {
    let stream = s01();
    let cut = position(&stream, "Event: Hold\r\n") + 40;
    let mut sessions = VecDeque::from([Ok(ByteStream::new(&stream[..cut])), Err(second_session)]);
    let host = host()
        .connect(move |_, _, _| -> Result<Box<dyn throughline_plugin_sdk::testing::TestStream>> {
            match sessions.pop_front() {
                Some(Ok(bytes)) => Ok(Box::new(bytes)),
                Some(Err(script)) => Ok(Box::new(script)),
                None => Err(Error::new(ErrorClass::Transient, "connection refused")),
            }
        })
        .install();
    let first = Asterisk::listen(config(), None).unwrap_err();
    assert!(first.message.contains("in the middle of an event"), "{first}");
    let open = replayed(&host.items());
    assert_eq!((&open[0]["answered"], &open[0]["outcome"], &open[0]["ended_at"]), (&json!(true), &json!("unknown"), &Value::Null));
    let second = Asterisk::listen(config(), None).unwrap_err();
    (host, second)
}

fn asked_for_channels() -> ScriptedStream {
    logged_in().expect_line("Action: CoreShowChannels").expect_line("ActionID: tl-resync").expect_line("")
}

#[test]
fn a_call_that_is_gone_after_a_reconnect_is_closed_as_lost() {
    let list = "Response: Success\r\nActionID: tl-resync\r\nEventList: start\r\n\r\n\
        Event: CoreShowChannel\r\nActionID: tl-resync\r\nUniqueid: 9.9\r\n\r\n\
        Event: CoreShowChannelsComplete\r\nActionID: tl-resync\r\n\r\n";
    let (host, _) = cut_mid_call(asked_for_channels().reply(list));
    let call = &replayed(&host.items())[0];
    assert_eq!((&call["outcome"], &call["ended_by"], &call["answered"]), (&json!("unknown"), &json!("system"), &json!(true)));
    assert!(call["ended_at"].is_string());
}

#[test]
fn a_call_that_is_still_there_goes_on() {
    let stream = s01();
    let from = position(&stream, "Event: Unhold\r\n");
    let list = "Event: CoreShowChannel\r\nActionID: tl-resync\r\nUniqueid: 1795291156.0\r\n\r\n\
        Event: CoreShowChannelsComplete\r\nActionID: tl-resync\r\n\r\n";
    let (host, _) = cut_mid_call(asked_for_channels().reply(list).reply(&stream[from..]));
    let mut want = expected(&recordings().join("s01-inbound-queue-answered"));
    want[0]["holds"] = json!(0);
    assert_eq!(replayed(&host.items()), want, "only what happened meanwhile is missing");
}

#[test]
fn a_restarted_pbx_has_none_of_the_calls() {
    let booted = "Event: FullyBooted\r\nUptime: 2\r\nStatus: Fully Booted\r\n\r\n";
    let (host, _) = cut_mid_call(asked_for_channels().reply(booted));
    assert_eq!(replayed(&host.items())[0]["ended_by"], "system", "though the question is never answered");
    let still_up = "Event: FullyBooted\r\nUptime: 300\r\nStatus: Fully Booted\r\n\r\n";
    let (host, _) = cut_mid_call(asked_for_channels().reply(still_up));
    assert_eq!(replayed(&host.items())[0]["ended_by"], Value::Null);
}

#[test]
fn a_hub_that_is_slow_for_a_while_gets_everything() {
    let busy = || Error::new(ErrorClass::Transient, "busy");
    let mut bytes = s01();
    bytes.splice(..GREETING.len(), GREETING.bytes());
    let host = host().connect(move |_, _, _| ByteStream::new(bytes.clone()).chunks(&[4096])).fail_emit(busy()).fail_emit(busy()).install();
    assert_eq!(Asterisk::listen(config(), None).unwrap_err().class, ErrorClass::Transient);
    assert_eq!(replayed(&host.items()), expected(&recordings().join("s01-inbound-queue-answered")));
    assert!(host.logs().iter().any(|line| line.message.contains("did not take")));
}

#[test]
fn garbage_and_giants_between_events_do_no_harm() {
    let mut stream = s01();
    let at = position(&stream, "Event: QueueCallerJoin");
    let mut garbage = vec![b'x'; 400_000];
    garbage.extend(b"\r\n\r\n\xff\xfe: \xff\r\n:::\r\n\r\nEvent: Newchannel\r\n\r\n");
    stream.splice(at..at, garbage);
    let host = host().connect(move |_, _, _| ByteStream::new(stream.clone()).chunks(&[65_536])).install();
    assert_eq!(Asterisk::listen(config(), None).unwrap_err().class, ErrorClass::Transient);
    assert_eq!(replayed(&host.items()), expected(&recordings().join("s01-inbound-queue-answered")));
    assert!(host.logs().iter().any(|line| line.message.contains("too large")));
}

// --- actions

fn ari(status: u16, body: &'static str) -> Guard {
    host().http(move |_| Ok(HttpResponse { status, headers: Vec::new(), body: body.into() })).install()
}

#[test]
fn click_to_call_rings_the_agent_and_carries_the_context_to_both_legs() {
    let host = ari(200, r#"{"id": "tl-order-1"}"#);
    let input = json!({"customer": "01632 960201", "agent": "agent1", "token": "t0k", "variables": {"interaction": "int-1", "note": "Grüße, \"x\" 50%"}});
    let output = Asterisk::act(config(), "originate", input, "order:1").unwrap();
    assert_eq!(output, json!({"call": "pbx-1:tl-order-1", "channel": "tl-order-1"}));
    let request = host.requests().pop().unwrap();
    assert_eq!(request.method, "POST");
    let query = "endpoint=PJSIP%2Fagent1&context=click2call&extension=%2B441632960201&priority=1&callerId=%2B441632960201&timeout=30";
    assert_eq!(request.url, format!("http://127.0.0.1:8088/ari/channels/tl-order-1?{query}"));
    let body: Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
    let variables =
        json!({"__TL_CUSTOMER_NUMBER": "+441632960201", "__TL_TOKEN": "t0k", "__TL_INTERACTION": "int-1", "__TL_NOTE": "Grüße, \"x\" 50%"});
    assert_eq!(body, json!({ "variables": variables }));
    assert!(request.headers.contains(&("Authorization".to_owned(), "Basic {base64:throughline:{secret:ari_password}}".to_owned())));
}

#[test]
fn the_same_order_twice_is_one_call() {
    let _host = ari(409, r#"{"message":"Channel with given unique ID already exists"}"#);
    let input = json!({"customer": "+441632960201", "agent": "agent1"});
    assert_eq!(Asterisk::act(config(), "originate", input, "k").unwrap()["channel"], "tl-k");
}

#[test]
fn orders_that_cannot_be_are_refused_with_the_field() {
    let table = [
        ("originate", json!({"customer": "anonymous", "agent": "agent1"}), "/customer"),
        ("originate", json!({"customer": "1001", "agent": "agent1"}), "/customer"),
        ("originate", json!({"customer": "+441632960201", "agent": "agent1&PJSIP/trunk"}), "/agent"),
        ("originate", json!({"customer": "+441632960201", "agent": "agent1", "variables": {"a": "${SHELL(id)}"}}), "/variables/a"),
        ("originate", json!({"customer": "+441632960201", "agent": "agent1", "variables": {"a b": "x"}}), "/variables/a b"),
        ("originate", json!({"customer": "+441632960201"}), "input"),
        ("hangup", json!({"call": "../x"}), "/call"),
        ("continue", json!({"call": "1.2", "context": "a,b"}), "/context"),
        ("redirect", json!({"call": "1.2", "agent": "a/b"}), "/agent"),
    ];
    let host = ari(200, "{}");
    for (action, input, field) in table {
        let error = Asterisk::act(config(), action, input.clone(), "k").unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some(field)), "{action} {input}");
    }
    assert!(host.requests().is_empty(), "nothing of it reached the PBX");
    assert_eq!(Asterisk::act(config(), "dance", json!({}), "k").unwrap_err().class, ErrorClass::Unsupported);
    drop(host);
    let _host = ari(500, r#"{"error":"Allocation failed"}"#);
    let error = Asterisk::act(config(), "originate", json!({"customer": "+441632960201", "agent": "agent3"}), "k").unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some("/agent")));
    let mut text = config_json();
    text.as_object_mut().unwrap().remove("ari_url");
    let error = Asterisk::act(serde_json::from_value(text).unwrap(), "answer", json!({"call": "1.2"}), "k").unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("ari_url")));
}

#[test]
fn calls_are_answered_moved_and_ended_by_key_or_by_channel() {
    let table = [
        ("answer", json!({"call": "pbx-1:1795291239.135"}), "POST", "/channels/1795291239.135/answer"),
        ("hangup", json!({"call": "1795291239.135"}), "DELETE", "/channels/1795291239.135"),
        (
            "continue",
            json!({"call": "1.2", "context": "agents", "extension": "2000"}),
            "POST",
            "/channels/1.2/continue?context=agents&extension=2000&priority=1",
        ),
        ("continue", json!({"call": "1.2"}), "POST", "/channels/1.2/continue"),
        ("redirect", json!({"call": "1.2", "agent": "agent2"}), "POST", "/channels/1.2/redirect?endpoint=PJSIP%2Fagent2"),
    ];
    for (action, input, method, path) in table {
        let host = ari(204, "");
        Asterisk::act(config(), action, input, "k").unwrap();
        let request = host.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.url.as_str()), (method, format!("http://127.0.0.1:8088/ari{path}").as_str()));
    }
    for (status, class) in [(401, ErrorClass::Auth), (403, ErrorClass::Permission), (503, ErrorClass::Transient)] {
        let _host = ari(status, r#"{"message": "no"}"#);
        assert_eq!(Asterisk::act(config(), "answer", json!({"call": "1.2"}), "k").unwrap_err().class, class);
    }
}

/// A listener that heard the beginning of a call, so that its state knows the call.
fn under_way() -> std::collections::BTreeMap<String, Value> {
    let stream = s01();
    let cut = position(&stream, "Event: HangupRequest\r\n");
    let host = host().connect(move |_, _, _| ByteStream::new(&stream[..cut])).install();
    let _ = Asterisk::listen(config(), None);
    host.state()
}

#[test]
fn a_transfer_names_the_channel_of_the_agent() {
    let known = under_way();
    let script = || {
        ScriptedStream::new()
            .reply(GREETING)
            .expect_line("Action: Login")
            .expect_line("ActionID: tl-login")
            .expect_line("Username: throughline")
            .expect_line("Secret: s3cret")
            .expect_line("Events: off")
            .expect_line("")
            .reply(ACCEPTED)
            .expect_line("Action: BlindTransfer")
            .expect_line("ActionID: tl-transfer")
            .expect_line("Channel: PJSIP/agent1-00000001")
            .expect_line("Context: agents")
            .expect_line("Exten: 1002")
            .expect_line("")
    };
    let mut text = config_json();
    text["transfer_context"] = json!("agents");
    let config = || serde_json::from_value::<Config>(text.clone()).unwrap();
    let input = json!({"call": "pbx-1:1795291156.0", "extension": "1002"});
    for (answer, class) in [
        ("Response: Success\r\nActionID: tl-transfer\r\n\r\n", None),
        ("Response: Error\r\nActionID: tl-transfer\r\nMessage: Permission denied\r\n\r\n", Some(ErrorClass::Permission)),
        ("Response: Error\r\nActionID: tl-transfer\r\nMessage: Transfer failed\r\n\r\n", Some(ErrorClass::InvalidRecord)),
    ] {
        let mut host = host().connect(move |_, _, _| script().reply(answer));
        for (key, value) in &known {
            host = host.state(key, value.clone());
        }
        let _host = host.install();
        assert_eq!(Asterisk::act(config(), "transfer", input.clone(), "k").err().map(|error| error.class), class, "{answer}");
    }
    let _host = host().install();
    assert_eq!(Asterisk::act(config(), "transfer", input, "k").unwrap_err().class, ErrorClass::Gone);
}

// --- what the dial plan posts

fn posted(body: &str, key: Option<&str>) -> HttpRequest {
    let headers = key.map(|key| ("X-Throughline-Key".to_owned(), key.to_owned())).into_iter().collect();
    HttpRequest { method: "POST".to_owned(), url: "/ivr".to_owned(), headers, body: Some(body.into()) }
}

#[test]
fn what_the_dial_plan_posts_is_on_the_call_at_once_and_stays() {
    let mut host = host();
    for (key, value) in under_way() {
        host = host.state(&key, value);
    }
    let stream = s01();
    let rest = position(&stream, "Event: HangupRequest\r\n");
    let host = host.connect(move |_, _, _| asked_for_channels().reply(&stream[rest..])).install();
    let request = posted("call=1795291156.0&choice=case&TL_Reason=refund&digits=004217", Some("ivr-key"));
    let (response, items) = Asterisk::receive(config(), request).unwrap();
    assert_eq!((response.status, items.len()), (200, 1));
    assert_eq!(items[0].key, "pbx-1:1795291156.0");
    assert_eq!(items[0].data["variables"]["reason"], "refund");
    assert_eq!(items[0].data["variables"]["customer"], "cust-0042", "what was known stays");
    let _ = Asterisk::listen(config(), None);
    let mut items_then = items;
    items_then.extend(host.items());
    let call = &replayed(&items_then)[0];
    assert_eq!((&call["variables"]["choice"], &call["ended_by"]), (&json!("case"), &json!("agent")));
    assert!(!host.state().keys().any(|key| key.starts_with("posted/")), "it is forgotten with the call");
}

#[test]
fn a_hook_without_its_key_or_with_a_bad_body_changes_nothing() {
    let host = host().install();
    let get = HttpRequest { method: "GET".to_owned(), ..posted("call=1.2", Some("ivr-key")) };
    let table = [
        (posted("call=1.2&a=b", None), 401),
        (posted("call=1.2&a=b", Some("wrong")), 401),
        (posted("call=1.2&a=b", Some("")), 401),
        (get, 405),
        (posted("a=b", Some("ivr-key")), 400),
        (posted("call=../x", Some("ivr-key")), 400),
        (posted("{\"call\": \"1.2\"}", Some("ivr-key")), 400),
        (posted(&"a".repeat(70_000), Some("ivr-key")), 413),
    ];
    for (request, status) in table {
        let (response, items) = Asterisk::receive(config(), request.clone()).unwrap();
        assert_eq!((response.status, items.len()), (status, 0), "{request:?}");
    }
    assert!(host.state().is_empty());
    let (response, items) = Asterisk::receive(config(), posted("call=1.2&a=b", Some("ivr-key"))).unwrap();
    assert_eq!((response.status, items.len()), (200, 0), "a call not heard of yet: kept for when it is");
    for number in 0..300 {
        Asterisk::receive(config(), posted(&format!("call=1.{number}&a=b"), Some("ivr-key"))).unwrap();
    }
    assert!(host.state().len() <= 201, "posts for calls that never come do not pile up: {}", host.state().len());
}

// --- check

fn checked(commands: &str, settings: &str, event: &str) -> ScriptedStream {
    let answer = |id: &str, more: &str| format!("Response: Success\r\nActionID: {id}\r\n{more}\r\n");
    let asked = |stream: ScriptedStream, action: &str, id: &str| {
        stream.expect_line(format!("Action: {action}")).expect_line(format!("ActionID: {id}")).expect_line("")
    };
    let stream = asked(logged_in(), "Ping", "tl-check-ping").reply(answer("tl-check-ping", "Ping: Pong\r\n"));
    let stream = asked(stream, "ListCommands", "tl-check-commands").reply(answer("tl-check-commands", commands));
    asked(stream, "CoreSettings", "tl-check-settings").reply(answer("tl-check-settings", settings)).reply(event).hold()
}

#[test]
fn check_names_the_pbx_and_says_what_its_admin_should_know() {
    let event = "Event: PeerStatus\r\nPeer: x\r\n\r\n";
    let commands = "Command: Execute.\r\nOriginate: Originate.\r\nCoreShowChannels: List.\r\n";
    let http = |request: &HttpRequest| {
        let (status, body) = if request.url.ends_with("/asterisk/info") {
            (200, r#"{"system": {"version": "20-git", "entity_id": "02:42:ac:11"}, "config": {"name": ""}}"#)
        } else {
            (404, r#"{"message": "Application not found"}"#)
        };
        Ok(HttpResponse { status, headers: Vec::new(), body: body.into() })
    };
    let _host = host().connect(move |_, _, _| checked(commands, "AsteriskVersion: 20.1\r\nSystemName: \r\n", event)).http(http).install();
    let report = Asterisk::check(config()).unwrap();
    assert_eq!(report.account_id, "02:42:ac:11");
    assert!(report.account_name.contains("20.1"), "{}", report.account_name);
    assert!(report.missing_scopes.is_empty(), "{:?}", report.missing_scopes);
    for about in ["timestampevents", "systemname", "Command, Originate", "application \"throughline\""] {
        assert!(report.warnings.iter().any(|warning| warning.contains(about)), "{about}: {:?}", report.warnings);
    }
    let good = "Event: PeerStatus\r\nTimestamp: 1.0\r\n\r\n";
    let http = |_: &HttpRequest| Ok(HttpResponse { status: 200, headers: Vec::new(), body: b"{}".to_vec() });
    let _host = host().connect(move |_, _, _| checked("Ping: x\r\n", "SystemName: pbx-1\r\n", good)).http(http).install();
    let report = Asterisk::check(config()).unwrap();
    assert_eq!((report.account_id.as_str(), report.warnings.len()), ("pbx-1", 0), "{:?}", report.warnings);
    assert!(report.missing_scopes[0].contains("reporting"));
}

#[test]
fn check_fails_as_what_is_wrong() {
    let host = host()
        .connect(|_, _, _| checked("Ping: x\r\n", "SystemName: p\r\n", ""))
        .http(|_| Ok(HttpResponse { status: 401, headers: Vec::new(), body: br#"{"message": "Authentication required"}"#.to_vec() }));
    let _host = host.install();
    let error = Asterisk::check(config()).unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Auth, Some("ari_username")));
}

#[test]
fn the_manifest_describes_the_config_that_the_plugin_reads() {
    let manifest: Value = serde_json::from_str(throughline_plugin_asterisk::MANIFEST).unwrap();
    let properties = manifest["config"]["properties"].as_object().unwrap();
    for name in config_json().as_object().unwrap().keys() {
        assert!(properties.contains_key(name), "{name}");
    }
    for (name, property) in properties {
        let mut text = config_json();
        let value = property.get("default").cloned().unwrap_or(if property["type"] == "integer" { json!(5038) } else { json!("tls") });
        text[name] = value;
        serde_json::from_value::<Config>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
