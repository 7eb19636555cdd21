//! One component of each released version of the WIT world, as its tools made it then, is installed and called: plugins that exist go
//! on running. `golden/*.wasm` are never made again; `golden/0.1.0.wat` says how they came to be.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use throughline_domain::connector::{BlobWriter, BoxFuture, ConnectionSpec, Connector, Grants, HubServices, PluginHost, StateChanges};
use throughline_plugin_host::{Host, HostOptions};
use throughline_schemas::connector::{ConnectorError, ErrorClass, HttpRequest, Item, Op, OpKind};
use throughline_schemas::{ConnectionId, Timestamp, WIT_VERSIONS};

/// Services of a hub that has nothing to give.
struct Nothing;

fn unavailable<T>() -> Result<T, ConnectorError> {
    Err(ConnectorError::new(ErrorClass::Unsupported, "not in this test"))
}

impl HubServices for Nothing {
    fn emit(&self, _: Vec<Item>, _: Option<Value>, _: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { Ok(()) })
    }
    fn state(&self, _: &str) -> Result<Option<Value>, ConnectorError> {
        Ok(None)
    }
    fn blob_writer(&self, _: &str, _: Option<&str>, _: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        unavailable()
    }
    fn blob_read(&self, _: &str, _: u64, _: u32) -> Result<Vec<u8>, ConnectorError> {
        unavailable()
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn every_version_that_is_loaded_has_its_golden_component() {
    for version in WIT_VERSIONS {
        let path = golden().join(format!("{version}.wasm"));
        assert!(path.is_file(), "{} is missing", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_components_are_installed_and_called() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::new(folder.path().join("plugins"), folder.path().join("cache"));
    let host = Host::new(options).unwrap();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let plugin = host.install(std::fs::read(&path).unwrap()).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let spec = ConnectionSpec {
                id: ConnectionId::from_bytes([1; 16]),
                plugin: plugin.manifest.name,
                version: plugin.manifest.version,
                config: json!({}),
                secrets: BTreeMap::new(),
                grants: Grants::default(),
            };
            answers(&*host.open(spec, Arc::new(Nothing)).unwrap()).await;
        }
    }
}

/// Every export is reached, and what it answers is understood.
async fn answers(connector: &dyn Connector) {
    assert_eq!(connector.check().await.unwrap().account_id, "golden");
    assert_eq!(connector.options("field", "query").await.unwrap(), json!([]));
    assert_eq!(connector.migrate("config", "0.0.1", &json!({"a": [1]})).await.unwrap(), json!({"a": [1]}));
    let first = connector.read("thing", None, 10).await.unwrap().value;
    assert_eq!((first.items.len(), first.next, first.checkpoint), (0, None, json!("start")));
    let again = connector.read("thing", Some(&json!({"at": 7})), 10).await.unwrap().value;
    assert_eq!(again.checkpoint, json!({"at": 7}));
    assert!(connector.get("thing", &[]).await.unwrap().is_empty());
    let op = Op {
        id: "1".to_owned(),
        idempotency_key: "k".to_owned(),
        kind: OpKind::Create,
        key: None,
        expect_version: Some("3".to_owned()),
        data: json!({"name": "Ada"}),
        clear: vec!["phone".to_owned()],
    };
    assert!(connector.write("thing", vec![op]).await.unwrap().value.is_empty());
    let headers = vec![("x-signature".to_owned(), "abc".to_owned())];
    let request = HttpRequest { method: "POST".to_owned(), url: "/".to_owned(), headers, body: Some(b"{}".to_vec()) };
    let (response, items) = connector.webhook(request).await.unwrap().value;
    assert_eq!((response.status, items.len()), (204, 0));
    assert_eq!(connector.webhook_ensure("https://hub.example/hooks/1").await.unwrap().value, json!([]));
    assert_eq!(connector.webhook_list().await.unwrap(), json!([]));
    connector.webhook_remove().await.unwrap();
    connector.listen(Some(json!(1))).await.unwrap();
    let message = serde_json::from_value(json!({"to": ["a"], "text": "hello"})).unwrap();
    assert_eq!(connector.send(&message, "key-1").await.unwrap().value.key, "sent");
    assert_eq!(connector.act("echo", &json!([1]), "key").await.unwrap().value, json!([1]));
    connector.stop().await;
}
