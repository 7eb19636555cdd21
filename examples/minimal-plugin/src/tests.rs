//! The plugin against a silo of five notes, scripted.

use throughline_plugin_sdk::testing::{Guard, TestHost};
use throughline_plugin_sdk::{HttpRequest, HttpResponse};

use super::*;

fn config() -> Config {
    Config { base_url: "https://notes.example/api/".into() }
}

/// The silo: notes 1 to 5.
fn silo(request: &HttpRequest) -> Result<HttpResponse> {
    assert!(request.headers.contains(&("Authorization".into(), "Bearer t0ps3cret".into())), "{request:?}");
    let path = request.url.strip_prefix("https://notes.example/api/items").expect("every URL is below the base URL");
    let note = |id: u32| json!({"id": id.to_string(), "text": format!("note {id}"), "created_at": "2026-11-21T10:00:00Z", "phone": "+441632960961"});
    if let Some(id) = path.strip_prefix('/') {
        return Ok(if id == "3" { answer(200, &note(3)) } else { answer(404, &json!({"error": "no such note"})) });
    }
    let parameter =
        |name: &str| path.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).and_then(|value| value.parse::<u32>().ok());
    let after = parameter("after=").unwrap_or(0);
    let limit = parameter("limit=").unwrap_or(100);
    Ok(answer(200, &(after + 1..=5).take(limit as usize).map(note).collect::<Value>()))
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    HttpResponse { status, headers: vec![("Content-Type".into(), "application/json".into())], body: body.to_string().into_bytes() }
}

fn host(answers: impl FnMut(&HttpRequest) -> Result<HttpResponse> + 'static) -> Guard {
    TestHost::new().secret("api_token", "t0ps3cret").http(answers).install()
}

/// Reads to the end as the hub does; the keys that came, and the last checkpoint.
fn read_all(from: Option<Value>, want: u32) -> (Vec<String>, Value) {
    let mut keys = Vec::new();
    let mut cursor = from;
    loop {
        let page = Plugin::read(config(), NOTES, cursor, want).unwrap();
        keys.extend(page.items.into_iter().map(|item| item.key));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return (keys, page.checkpoint),
        }
    }
}

#[test]
fn any_page_size_reads_every_note_once() {
    let _host = host(silo);
    for want in [1, 2, 5, 6, 10_000] {
        let (keys, checkpoint) = read_all(None, want);
        assert_eq!(keys, ["1", "2", "3", "4", "5"], "page size {want}");
        assert_eq!(read_all(Some(checkpoint), want).0, Vec::<String>::new(), "page size {want}");
    }
    assert_eq!(read_all(Some(json!({"after": "3"})), 1).0, ["4", "5"]);
}

#[test]
fn a_note_becomes_an_interaction_with_its_customer() {
    let _host = host(silo);
    let page = Plugin::read(config(), NOTES, None, 1).unwrap();
    let fact: InteractionFact = serde_json::from_value(page.items[0].data.clone()).unwrap();
    assert_eq!(fact.customer().unwrap().address.as_deref(), Some("+441632960961"));
    assert_eq!(fact.content, Content::Note { text: "note 1".into() });
}

#[test]
fn single_notes_are_found_or_gone() {
    let _host = host(silo);
    let found = Plugin::get(config(), NOTES, vec!["3".into(), "9".into()]).unwrap();
    assert!(matches!(&found[..], [Found::Record(item), Found::Gone] if item.key == "3"), "{found:?}");
}

#[test]
fn the_secret_is_only_ever_a_placeholder() {
    let host = host(silo);
    assert_eq!(Plugin::check(config()).unwrap().account_id, "https://notes.example/api/");
    assert!(!format!("{:?}{:?}", host.requests(), host.logs()).contains("t0ps3cret"));
}

#[test]
fn failures_have_the_class_that_decides_about_retrying() {
    let table = [(401, ErrorClass::Auth), (403, ErrorClass::Permission), (429, ErrorClass::RateLimited), (500, ErrorClass::Transient)];
    for (status, class) in table {
        let _host = host(move |_| Ok(answer(status, &json!({"error": "no"}))));
        assert_eq!(Plugin::read(config(), NOTES, None, 10).unwrap_err().class, class, "{status}");
    }
}

#[test]
fn bad_input_is_an_error_and_not_a_panic() {
    let _host = host(|_| {
        Ok(HttpResponse { status: 200, headers: vec![("Content-Type".into(), "text/html".into())], body: b"<html>log in".to_vec() })
    });
    assert_eq!(Plugin::read(config(), NOTES, None, 10).unwrap_err().class, ErrorClass::Transient);
    assert_eq!(Plugin::read(config(), NOTES, Some(json!("garbage")), 10).unwrap_err().class, ErrorClass::Config);
    assert_eq!(Plugin::read(config(), "orders", None, 10).unwrap_err().class, ErrorClass::Unsupported);
}
