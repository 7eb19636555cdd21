//! A guest whose language brings WASI finds a system there that has nothing: what it asks for is empty or refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use throughline_domain::connector::{ConnectionSpec, PluginError, PluginHost};
use throughline_plugin_host::inspect;
use throughline_schemas::connector::ErrorClass;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::build::with_manifest;
use crate::support::{Connected, Rig, Services, spec};

/// The guest of `tests/guests/wasi` with a manifest.
fn guest() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/wasi");
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(folder.join("../../../../../schemas/wit/0.1.0")).unwrap();
    let package = resolve.push_str("world.wit", &text("world.wit")).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(text("guest.wat")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component = ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap();
    let manifest = json!({
        "name": "interpreted", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "brings WASI", "kinds": ["crm"],
        "config": { "type": "object" },
    });
    with_manifest(&component, manifest.to_string().as_bytes())
}

async fn connected(rig: &Rig) -> Connected {
    rig.host.install(guest()).await.unwrap();
    let services = Arc::new(Services::default());
    let spec = ConnectionSpec { plugin: "interpreted".to_owned(), ..spec() };
    Connected { connector: rig.host.open(spec, services.clone()).unwrap(), services }
}

#[test]
fn what_it_brings_is_shown_as_nothing_to_grant() {
    let plugin = inspect(&guest()).unwrap();
    assert_eq!((plugin.imports, plugin.exports), (vec!["wasi".to_owned()], vec![]));
}

#[test]
fn more_of_wasi_than_that_is_refused_by_name() {
    for name in ["wasi:random/other@0.2.6", "wasi:cli/environment@0.3.0", "wasi:http/outgoing-handler@0.2.0"] {
        let component = wat::parse_str(format!(r#"(component (import "{name}" (instance)))"#)).unwrap();
        let Err(PluginError::Mismatch(detail)) = inspect(&component) else { panic!("{name}: {:?}", inspect(&component)) };
        assert!(detail.contains(name), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_but_clock_and_random() {
    let rig = Rig::new().await;
    let report = connected(&rig).await.connector.check().await.unwrap();
    // No variables, arguments or folders; input has ended; a socket is refused as "access-denied"; the hub's clock; numbers that differ.
    assert_eq!(report.account_id, "env=0 args=0 dirs=0 stdin=1 tcp=11 time=1 random=1 wait=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_exits_ends_itself_only() {
    let rig = Rig::new().await;
    let connection = connected(&rig).await;
    let error = connection.connector.options("field", "").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Bug);
    assert!(error.message.contains("ended itself with exit(1)"), "{error}");
    connection.connector.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_in_wasi_ends_when_told_to() {
    let rig = Rig::with(|options| options.limits.grace = Duration::from_secs(60)).await;
    let connection = connected(&rig).await;
    let connector = connection.connector.clone();
    let waiting = tokio::spawn(async move { connector.migrate("config", "0.1.0", &json!({})).await });
    rig.eventually_alive(1).await;
    // Not after the grace period: it is told, and there is nothing it could do about it.
    tokio::time::timeout(Duration::from_secs(30), connection.connector.stop()).await.expect("it ends at once");
    assert_eq!(waiting.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
}
