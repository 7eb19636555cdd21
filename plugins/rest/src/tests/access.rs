//! Authentication, signing and the check.

use throughline_plugin_sdk::testing::TestHost;
use throughline_plugin_sdk::{Connector, ErrorClass, HttpRequest, HttpResponse, Value, json};

use super::harness::{check_class, config, host, merge, parsed, raw, read, response, system};
use crate::Rest;

fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[test]
fn each_way_to_authenticate_puts_the_secret_in_its_place() {
    let table = [
        (json!({"kind": "bearer"}), Some("Bearer {secret:api_token}"), ""),
        (json!({"kind": "header", "name": "Authorization", "value": "Token {secret:api_token}"}), Some("Token {secret:api_token}"), ""),
        (json!({"kind": "basic", "username": "ada"}), Some("Basic {base64:ada:{secret:password}}"), ""),
        (json!({"kind": "query", "name": "api key"}), None, "&api%20key={secret:api_token}"),
        (json!({"kind": "none"}), None, ""),
    ];
    for (auth, value, suffix) in table {
        let shared = system(&[]);
        let host = host(&shared);
        read(&config(json!({"auth": auth})), None, 0).unwrap();
        let request = host.requests().remove(0);
        assert_eq!(header(&request, "authorization"), value);
        assert!(request.url.ends_with(&format!("per_page=3{suffix}")), "{}", request.url);
    }
}

fn login() -> Value {
    config(
        json!({"auth": {"kind": "login", "path": "/login", "body": {"identity": "hub", "password": "{secret:password}"}, "token": "/token",
        "value": "{token}", "account": "/record/email", "expired_status": [401, 403]}}),
    )
}

/// A system whose tokens last for some requests.
fn expiring(lasts: usize) -> TestHost {
    let (mut given, mut left) = (0, 0);
    crate::client::forget_all();
    TestHost::new().secret("password", "pw").http(move |request| {
        if request.url.ends_with("/login") {
            let body: Value = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
            if body["password"] != "pw" {
                return Ok(response(400, &json!({"message": "Failed to authenticate."})));
            }
            (given, left) = (given + 1, lasts);
            return Ok(response(200, &json!({"token": format!("t{given}"), "record": {"email": "hub@x.test"}})));
        }
        if left == 0 || header(request, "Authorization") != Some(format!("t{given}").as_str()) {
            return Ok(response(403, &json!({"message": "Only superusers can perform this action."})));
        }
        left -= 1;
        Ok(response(200, &json!({"items": []})))
    })
}

#[test]
fn a_token_is_kept_and_had_anew_when_it_runs_out() {
    let host = expiring(2).install();
    for _ in 0..5 {
        read(&login(), None, 0).unwrap();
    }
    let logins = host.requests().iter().filter(|request| request.url.ends_with("/login")).count();
    assert_eq!(logins, 3);
}

#[test]
fn a_token_that_is_never_taken_is_asked_for_once_more_only() {
    let host = expiring(0).install();
    assert_eq!(read(&login(), None, 0).unwrap_err().class, ErrorClass::Permission);
    assert_eq!(host.requests().len(), 4, "login, list, login, list");
}

#[test]
fn a_login_that_fails_says_why() {
    type Answer = fn() -> HttpResponse;
    let table: [(Answer, ErrorClass, Option<&str>); 6] = [
        (|| response(400, &json!({"message": "Failed to authenticate."})), ErrorClass::Auth, None),
        (|| response(401, &json!({})), ErrorClass::Auth, None),
        (|| response(404, &json!({})), ErrorClass::Config, Some("auth.path")),
        (|| response(200, &json!({"access": "t"})), ErrorClass::Config, Some("auth.token")),
        (|| response(429, &json!({})), ErrorClass::RateLimited, None),
        (|| raw(200, "text/html", "<html>Sign in"), ErrorClass::Auth, None),
    ];
    for (answer, class, field) in table {
        crate::client::forget_all();
        let _host = TestHost::new().secret("password", "pw").http(move |_| Ok(answer())).install();
        let error = read(&login(), None, 0).unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (class, field), "{}", error.message);
    }
}

#[test]
fn a_signed_request_carries_time_and_signature() {
    let shared = system(&[]);
    let host = host(&shared);
    let signing =
        json!({"header": "X-Sig", "prefix": "v1=", "timestamp_header": "X-Time", "template": "{method} {path} {timestamp} {body}"});
    read(&config(json!({"signing": signing, "headers": {"X-Tenant": "t1"}})), None, 0).unwrap();
    let request = host.requests().remove(0);
    assert_eq!((header(&request, "X-Time"), header(&request, "X-Tenant")), (Some("1795262400"), Some("t1")));
    // openssl: printf 'GET /contacts?page=1&per_page=3 1795262400 ' | openssl dgst -sha256 -hmac sk
    let signature = header(&request, "X-Sig").unwrap();
    assert_eq!(signature.len(), "v1=".len() + 64);
    let expected = throughline_plugin_sdk::secrets::hmac_sha256("signing_key", b"GET /contacts?page=1&per_page=3 1795262400 ").unwrap();
    assert_eq!(signature, format!("v1={}", crate::client::encode(&expected, crate::config::Encoding::Hex)));
}

#[test]
fn the_check_reports_account_entities_and_what_does_not_fit() {
    let _host = expiring(10).install();
    let report = Rest::check(parsed(&login())).unwrap();
    assert_eq!((report.account_id.as_str(), report.account_name.as_str()), ("https://crm.example hub@x.test", "hub@x.test"));
    assert_eq!(report.warnings.len(), 1, "no record to try: {:?}", report.warnings);
    let entity = &report.entities[0];
    assert!(entity.readable && entity.writes.create && entity.writes.update && entity.writes.delete && entity.fields["email"].writable);
    let shared = system(&[("a", "not a time")]);
    let _host = host(&shared);
    let report =
        Rest::check(parsed(&config(json!({"webhook": {"signature": {"kind": "none"}, "events": [{"entity": "contacts"}]}})))).unwrap();
    for part in ["time of change", "/email", "/ext_id", "not signed"] {
        assert!(report.warnings.iter().any(|warning| warning.contains(part)), "{part}: {:?}", report.warnings);
    }
}

#[test]
fn the_check_tells_wrong_pointers_and_credentials_apart() {
    let table = [
        (json!({}), response(401, &json!({})), Some(ErrorClass::Auth)),
        (json!({}), response(403, &json!({"message": "no"})), None),
        (json!({}), raw(200, "text/html", "<html>Log in"), Some(ErrorClass::Auth)),
        (json!({"entities": {"contacts": {"id": "/nr"}}}), response(200, &json!({"items": [{"id": 1}]})), Some(ErrorClass::Config)),
        (json!({}), response(200, &json!({"data": []})), Some(ErrorClass::Config)),
        (json!({"account": {"path": "/me", "id": "/user/id"}}), response(200, &json!({"user": null})), Some(ErrorClass::Auth)),
        (json!({"account": {"path": "/me", "id": "/user/id"}}), response(200, &json!({"user": {"id": 3}})), None),
    ];
    for (more, answer, class) in table {
        let shared = system(&[]);
        shared.borrow_mut().instead.push_back(answer.clone());
        let _host = host(&shared);
        let mut config = config(json!({}));
        merge(&mut config, more);
        assert_eq!(check_class(&config), class, "{answer:?}");
    }
}
