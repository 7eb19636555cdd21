//! No route but the listed ones answers without a key of enough scope.

use axum::body::Body;
use serde_json::Value;
use throughline_engine::Scope;

use crate::support::Api;

/// Everything that may be asked for without a key.
const PUBLIC: [&str; 7] =
    ["/hooks/{connection}", "/hooks/{connection}/{rest}", "/oauth/callback", "/livez", "/readyz", "/openapi.json", "/docs"];
const SCOPES: [(&str, Scope); 4] = [("lookup", Scope::Lookup), ("read", Scope::Read), ("agent", Scope::Agent), ("write", Scope::Write)];

/// Method, path and description of every operation.
fn operations() -> Vec<(String, String, Value)> {
    let document = throughline_api::openapi();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    operations
}

/// A path with something in place of its parameters. Not even valid ids: who may not call must not learn that either.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_wants_a_key_but_the_public_ones() {
    let api = Api::new().await;
    let mut public = Vec::new();
    for (method, path, operation) in operations() {
        let answer = api.send(&method, &filled(&path), &[], Body::empty()).await;
        if PUBLIC.contains(&path.as_str()) {
            assert!(answer.status != 401 && answer.status != 405, "{path}");
            assert!(answer.header("content-type") != "application/problem+json" || answer.problem() != "no-such-route", "{path}");
            assert!(operation["security"].is_null(), "{path}");
            public.push(path);
            continue;
        }
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"throughline\"", "{method} {path}");
        assert!(operation["security"].is_array(), "{method} {path}");
    }
    public.sort();
    let mut wanted = PUBLIC.to_vec();
    wanted.sort_unstable();
    assert_eq!(public, wanted);
}

#[tokio::test]
async fn every_route_refuses_a_key_of_too_little_scope() {
    let api = Api::new().await;
    let mut keys = Vec::new();
    for (name, scope) in SCOPES {
        keys.push((name, api.key(scope).await));
    }
    let mut refused = 0;
    for (method, path, operation) in operations() {
        let Some(scopes) = operation["x-scopes"].as_array() else { continue };
        for (name, key) in &keys {
            let status = api.status(key, &method, &filled(&path)).await;
            if scopes.iter().any(|scope| scope == name) {
                assert!(status != 401 && status != 403, "{method} {path} with {name}: {status}");
                continue;
            }
            let answer = api.as_key(key, &method, &filled(&path)).await;
            assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{method} {path} with {name}");
            let needed = scopes[0].as_str().unwrap();
            assert!(answer.header("www-authenticate").contains(&format!("scope=\"{needed}\"")), "{method} {path} with {name}");
            assert!(answer.json()["detail"].as_str().unwrap().contains(needed), "{method} {path} with {name}");
            refused += 1;
        }
    }
    assert!(refused > 60, "{refused}");
}

#[tokio::test]
async fn a_key_that_is_wrong_or_revoked_is_no_key() {
    let api = Api::new().await;
    let key = api.key(Scope::Read).await;
    api.as_key(&key, "GET", "/v1/profiles").await.expect(200);
    let mut wrong = key.clone();
    wrong.push('x');
    for bad in [wrong.as_str(), "tl_", "nonsense", &"tl_x".repeat(1000)] {
        let answer = api.as_key(bad, "GET", "/v1/profiles").await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{bad}");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    let keys = api.get("/v1/api-keys").await.expect(200).json();
    let id = keys["items"].as_array().unwrap().iter().find(|key| key["name"] == "scoped").unwrap()["id"].as_str().unwrap().to_owned();
    api.with_headers("DELETE", &format!("/v1/api-keys/{id}"), &[], None).await.expect(204);
    api.as_key(&key, "GET", "/v1/profiles").await.expect(401);
}

#[tokio::test]
async fn methods_that_are_not_described_are_not_taken() {
    let api = Api::new().await;
    let described: Vec<(String, String)> = operations().into_iter().map(|(method, path, _)| (method, path)).collect();
    let mut paths: Vec<String> = described.iter().map(|(_, path)| path.clone()).filter(|path| !path.starts_with("/hooks")).collect();
    paths.dedup();
    for path in paths {
        let is_described = |method: &str| described.contains(&(method.to_owned(), path.clone()));
        let other = ["PUT", "PATCH", "DELETE"].into_iter().find(|method| !is_described(method)).unwrap();
        let answer = api.with_headers(other, &filled(&path), &[], None).await;
        assert_eq!((answer.status, answer.problem().as_str()), (405, "method-not-allowed"), "{path}");
        assert!(!answer.header("allow").is_empty(), "{path}");
    }
}
