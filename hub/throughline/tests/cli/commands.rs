//! Commands that speak to a hub.

use serde_json::json;

use crate::support::{Hub, Place, Ran, component};

/// A hub with the example plugin, which reads notes from a list over HTTP.
fn with_plugin(place: &Place) -> (Hub, String) {
    let hub = place.serve();
    let key = hub.key().unwrap();
    hub.run(place, &key, &["plugin", "install", &component("minimal")]).ok();
    (hub, key)
}

#[test]
fn without_a_hub_or_a_key_it_is_said_how_to_give_one() {
    let place = Place::new();
    place.run(&["connection", "list", "--url", "http://127.0.0.1:1"]).fails(1, &["no hub answers at http://127.0.0.1:1", "--url"]);
    place.run(&["connection", "list", "--url", "localhost"]).fails(1, &["http://"]);
    let hub = place.serve();
    hub.run(&place, "", &["connection", "list"]).fails(3, &["API key", "THROUGHLINE_KEY", "request "]);
    hub.run(&place, "tl_wrong", &["connection", "list"]).fails(3, &["not known"]);
    let refused = hub.run(&place, "tl_wrong", &["connection", "list", "--json"]).fails(3, &[]);
    let error: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(error["problem"]["status"], 401);
}

#[test]
fn a_component_is_checked_before_it_is_installed() {
    let place = Place::new();
    let good = place.run(&["plugin", "check", &component("minimal")]).ok();
    for word in ["minimal 0.1.0", "{config.base_url}", "source", "This hub loads it"] {
        assert!(good.out.contains(word), "{word}: {}", good.out);
    }
    assert_eq!(place.run(&["--json", "plugin", "check", &component("minimal")]).ok().json()["manifest"]["name"], "minimal");
    place.write("no.wasm", "no component");
    let bad = place.run(&["plugin", "check", "no.wasm"]);
    assert_eq!(bad.code, 1);
    assert!(bad.out.contains("does not load no.wasm"), "{}", bad.out);
    place.run(&["plugin", "check", "absent.wasm"]).fails(1, &["absent.wasm"]);

    let hub = place.serve();
    hub.run(&place, &hub.key().unwrap(), &["plugin", "install", "no.wasm"]).fails(3, &["cannot be installed"]);
}

#[test]
fn what_is_wrong_with_a_new_connection_is_named() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let add = |more: &[&str]| hub.run(&place, &key, &[&["connection", "add", "minimal"], more].concat());
    add(&[]).fails(3, &["base_url", "request "]);
    add(&["--set", "base_url=7"]).fails(3, &["/config/base_url"]);
    add(&["--set", "base_url"]).fails(1, &["FIELD=VALUE"]);
    add(&["--secret", "api_token=hunter2"]).fails(1, &["command line"]);
    add(&["--secret", "api_token=env:NOT_SET"]).fails(1, &["NOT_SET"]);
    hub.run(&place, &key, &["connection", "add", "absent", "--grant-all-hosts"]).fails(1, &["absent", "minimal"]);
    hub.run(&place, &key, &["connection", "add"]).fails(1, &["name the plugin"]);
    hub.run(&place, &key, &["connection", "check", "nobody"]).fails(1, &["nobody"]);
    assert_eq!(hub.run(&place, &key, &["--json", "connection", "list"]).ok().json(), json!([]), "nothing is left of what was refused");
}

#[test]
fn a_connection_is_added_checked_changed_paused_and_resumed() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let run = |arguments: &[&str]| hub.run(&place, &key, arguments);
    // Port 1 of this machine: nobody is there, so the check fails and the connection stays.
    let add =
        ["connection", "add", "minimal", "--name", "notes", "--set", "base_url=http://127.0.0.1:1", "--secret", "api_token=env:API_TOKEN"];
    run(&[&add[..], &["--grant-all-hosts", "--private-host", "127.0.0.1"]].concat()).ok();
    run(&["connection", "check", "notes"]).fails(3, &["connected system"]);
    let listed = run(&["--json", "connection", "list"]).ok();
    let notes = &listed.json()[0];
    assert_eq!((&notes["name"], &notes["secret_names"]), (&json!("notes"), &json!(["api_token"])));
    assert!(notes["health"]["state"].is_string() && !listed.out.contains("secret-of-a-test"));
    run(&["connection", "set", "notes", "--set", "base_url=http://127.0.0.1:2"]).ok();
    run(&["connection", "pause", notes["id"].as_str().unwrap()]).ok();
    let paused = run(&["--json", "connection", "list"]).ok().json();
    assert_eq!((&paused[0]["paused"], &paused[0]["config"]["base_url"]), (&json!(true), &json!("http://127.0.0.1:2")));
    assert!(run(&["connection", "list"]).ok().out.contains("paused"));
    run(&["connection", "resume", "notes"]).ok();
}

#[test]
fn applying_twice_changes_nothing_the_second_time() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let file = |extra: &str| {
        let component = component("minimal");
        let connection = "{name: notes, plugin: minimal, paused: true, grants: {hosts: ['{config.base_url}'], private_hosts: [127.0.0.1]}";
        format!(
            "plugins: [{component}]\nconnections:\n- {connection}, config: {{base_url: 'http://127.0.0.1:1'}}, secrets: {{api_token: {{env: API_TOKEN}}}}{extra}}}\n"
        )
    };
    let apply = |more: &[&str]| hub.run(&place, &key, &[&["apply", "--file", "hub.yaml"], more].concat());
    place.write("hub.yaml", &file(""));
    assert_eq!(apply(&["--dry-run"]).ok().out, "plugin minimal 0.1.0: unchanged\nwould create connection notes\n");
    assert_eq!(hub.run(&place, &key, &["--json", "connection", "list"]).ok().json(), json!([]), "a dry run does nothing");
    assert_eq!(apply(&[]).ok().out, "plugin minimal 0.1.0: unchanged\ncreated connection notes\n");
    assert_eq!(apply(&[]).ok().out, "plugin minimal 0.1.0: unchanged\nconnection notes: unchanged\n");
    place.write("hub.yaml", &file(", brand: shop, sync: {notes: {poll_seconds: 90}}"));
    assert_eq!(apply(&[]).ok().out, "plugin minimal 0.1.0: unchanged\nupdated connection notes (brand, sync)\n");
    assert_eq!(apply(&["--json"]).ok().json()[1]["action"], "unchanged");
    assert_eq!(apply(&["--secrets"]).ok().out, "plugin minimal 0.1.0: unchanged\nupdated connection notes (secrets)\n");
}

#[test]
fn what_was_exported_changes_nothing_and_a_difference_is_shown_before_it_is_applied() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let spec = "{trigger: {change: [enquiry.opened]}, steps: [{name: tell, do: {emit: {type: told}}}]}";
    let file = |url: &str, spec: &str| {
        let connection = "{name: notes, plugin: minimal, paused: true, config: {base_url: 'http://127.0.0.1:1'}, \
                          grants: {hosts: ['{config.base_url}'], private_hosts: [127.0.0.1]}, secrets: {api_token: {env: API_TOKEN}}}";
        format!(
            "connections: [{connection}]\nwebhooks: [{{name: desk, url: '{url}', types: ['enquiry.*'], secret: {{file: desk.secret}}}}]\n\
             flows: [{{name: tells, spec: {spec}}}]\npolicies: {{continuity: {{default: {{window_hours: 5}}}}}}\n"
        )
    };
    place.write("desk.secret", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n");
    place.write("hub.yaml", &file("https://desk.example/a", spec));
    let diff = || hub.run(&place, &key, &["diff", "--file", "hub.yaml"]);
    let apply = || hub.run(&place, &key, &["apply", "--file", "hub.yaml"]).ok().out;
    let planned = diff();
    assert_eq!(planned.code, 1, "{planned:?}");
    for line in ["would create connection notes", "would create webhook desk", "would create flow tells", "would update policy continuity"]
    {
        assert!(planned.out.contains(line), "{planned:?}");
    }
    assert_eq!(apply().lines().filter(|line| line.starts_with("created") || line.starts_with("updated")).count(), 4);
    assert!(apply().lines().all(|line| line.ends_with(": unchanged")));
    assert_eq!((diff().code, diff().out.as_str()), (0, "nothing would change\n"));

    // What the hub says of itself is what it is; secrets are names of variables.
    hub.run(&place, &key, &["export", "--file", "exported.yaml"]).ok();
    let exported = std::fs::read_to_string(place.path("exported.yaml")).unwrap();
    assert!(exported.contains("DESK_SECRET") && exported.contains("NOTES_API_TOKEN") && !exported.contains("whsec_"), "{exported}");
    assert_eq!(hub.run(&place, &key, &["diff", "--file", "exported.yaml"]).code, 0);

    place.write("hub.yaml", &file("https://desk.example/b", &spec.replace("told", "said")));
    let planned = diff();
    assert_eq!(planned.code, 1);
    for line in ["- url: \"https://desk.example/a\"", "+ url: \"https://desk.example/b\"", "would update flow tells (spec)"] {
        assert!(planned.out.contains(line), "{planned:?}");
    }
    apply();
    assert_eq!(diff().code, 0);
    place.write("hub.yaml", "webhooks: [{name: desk, url: 'https://desk.example/b', secret: whsec_hunter2}]");
    let wrong = diff();
    assert!(wrong.code == 2 && wrong.err.contains("webhooks[0]") && !wrong.err.contains("hunter2"), "{wrong:?}");
}

#[test]
fn the_example_can_be_applied() {
    let place = Place::new();
    let hub = place.serve();
    for name in ["email", "asterisk", "rest"] {
        component(name);
    }
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/config/hub.yaml");
    let mut command = place.command(&["apply", "--dry-run", "--file", example.to_str().unwrap(), "--url", &hub.url]);
    for name in ["SUPPORT_MAIL_PASSWORD", "AMI_SECRET", "ARI_PASSWORD", "POCKETBASE_PASSWORD", "POCKETBASE_WEBHOOK_SECRET"] {
        command.env(name, "x");
    }
    let planned = Ran::of(command.env("THROUGHLINE_KEY", hub.key().unwrap()).output().unwrap()).ok().out;
    for line in
        ["would install plugin rest", "would create connection support-mail", "would create connection pbx", "would create connection crm"]
    {
        assert!(planned.contains(line), "{line}: {planned}");
    }
}

#[test]
fn what_cannot_be_applied_is_named_before_anything_is_done() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let connection = "{name: notes, plugin: minimal, config: {base_url: 'http://127.0.0.1:1'}, paused: true}";
    for (text, words) in [
        ("connection: []".to_owned(), ["connection", "hub.yaml"]),
        (format!("connections: [{connection}, {{name: b, plugin: minimal, colour: red}}]"), ["connections[1]", "colour"]),
        (format!("connections: [{connection}, {connection}]"), ["connections[1]", "twice"]),
        (format!("connections: [{connection}, {{name: b, plugin: minimal, secrets: {{t: {{env: NOT_SET}}}}}}]"), ["NOT_SET", "t"]),
        (format!("plugins: [absent.wasm]\nconnections: [{connection}]"), ["absent.wasm", "component"]),
    ] {
        place.write("hub.yaml", &text);
        hub.run(&place, &key, &["apply", "--file", "hub.yaml"]).fails(1, &words);
    }
    assert_eq!(hub.run(&place, &key, &["--json", "connection", "list"]).ok().json(), json!([]));
    // What only the hub can see is said with how far it came.
    place.write("hub.yaml", &format!("connections: [{connection}, {{name: b, plugin: absent}}]"));
    hub.run(&place, &key, &["apply", "--file", "hub.yaml"])
        .fails(3, &["could not create connection b", "1 steps before it were done", "absent"]);
}

#[test]
fn nobody_is_known_to_an_empty_hub() {
    let place = Place::new();
    let hub = place.serve();
    let key = hub.key().unwrap();
    let found = hub.run(&place, &key, &["lookup", "phone:+441632960123", "--json"]).ok().json();
    assert_eq!(found["known"], false);
    hub.run(&place, &key, &["lookup", "ada@example.com"]).fails(1, &["phone:"]);
    hub.run(&place, &key, &["lookup", "phone:12", "--assurance", "certain"]).fails(3, &["assurance"]);
    hub.run(&place, &key, &["timeline", "email:ada@example.com"]).fails(1, &["nobody is known"]);
}

#[test]
fn the_doctor_sees_what_is_wrong_and_what_is_not() {
    let place = Place::new();
    let (hub, key) = with_plugin(&place);
    let healthy = hub.run(&place, &key, &["doctor"]).ok().out;
    for word in ["✓ hub.key", "✓ plugins      minimal 0.1.0", "in use by a running hub", "is ready"] {
        assert!(healthy.contains(word), "{word}: {healthy}");
    }
    hub.stop();
    let idle = place.run(&["doctor", "--deep"]).ok().out;
    assert!(idle.contains("entries and 0 files are whole") && idle.contains("– hub"), "{idle}");
    std::fs::write(place.path("data/plugins/minimal/0.1.0.wasm"), "damaged").unwrap();
    std::fs::remove_file(place.path("data/hub.key")).unwrap();
    let ill = place.run(&["doctor"]);
    assert_eq!(ill.code, 1);
    assert!(ill.out.contains("✗ plugins") && ill.out.contains("✗ hub.key") && ill.out.contains('→'), "{}", ill.out);
    let found = place.run(&["doctor", "--json"]).json();
    assert!(found.as_array().unwrap().iter().any(|finding| finding["about"] == "hub.key" && finding["state"] == "wrong"));
}
