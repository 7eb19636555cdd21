//! What is installed, what is refused and why, and what survives a restart.

use serde_json::{Value, json};
use tempfile::TempDir;
use throughline_domain::connector::{ConnectionSpec, Grants, PluginError, PluginHost};
use throughline_plugin_host::{Host, inspect};

use crate::build::{hostile, with_manifest};
use crate::support::{Rig, Services, options, spec};

/// A change to a manifest.
type Change = Box<dyn FnOnce(&mut Value)>;

fn manifest() -> Value {
    serde_json::from_str(include_str!("../guests/hostile/manifest.json")).unwrap()
}

/// The hostile component with its manifest changed.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest = manifest();
    change(&mut manifest);
    with_manifest(hostile(), manifest.to_string().as_bytes())
}

fn pointer_of(component: &[u8]) -> String {
    match inspect(component) {
        Err(PluginError::Manifest { pointer, .. }) => pointer,
        other => panic!("expected a manifest error, got {other:?}"),
    }
}

#[test]
fn a_good_component_is_read_without_running_it() {
    let plugin = inspect(hostile()).unwrap();
    assert_eq!(plugin.manifest.name, "hostile");
    assert_eq!(plugin.exports, ["channel", "listener", "sink", "source", "webhook"]);
    assert_eq!(plugin.imports, ["blobs", "clock", "control", "emit", "http", "log", "net", "random", "secrets", "state"]);
    assert!(plugin.digest.starts_with("sha256:"));
}

#[test]
fn what_is_no_component_says_so() {
    let cut = &hostile()[..hostile().len() / 2];
    let module = wat::parse_str("(module)").unwrap();
    for bytes in [b"".as_slice(), b"garbage", b"\0asm", &module, cut] {
        assert!(matches!(inspect(bytes), Err(PluginError::NotAComponent(_))), "{:?}", inspect(bytes));
    }
    let Err(PluginError::NotAComponent(detail)) = inspect(&module) else { panic!("a core module is no component") };
    assert!(detail.contains("core module"), "{detail}");
}

#[test]
fn interfaces_beyond_the_world_are_refused_by_name() {
    let cases = [
        (r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)))"#, "wasi:http/outgoing-handler"),
        (r#"(component (import "throughline:connector/files@0.1.0" (instance)))"#, "files"),
        (r#"(component (import "some:other/thing" (instance)))"#, "some:other/thing"),
        ("(component)", "throughline:connector/plugin"),
    ];
    for (component, name) in cases {
        let Err(PluginError::Mismatch(detail)) = inspect(&wat::parse_str(component).unwrap()) else { panic!("{component}") };
        assert!(detail.contains(name), "{detail}");
    }
    let other = r#"(component (import "throughline:connector/http@0.9.0" (instance)))"#;
    let found = inspect(&wat::parse_str(other).unwrap());
    assert!(matches!(&found, Err(PluginError::WitVersion { found, .. }) if found == "0.9.0"), "{found:?}");
}

#[test]
fn a_wrong_manifest_is_refused_with_its_place() {
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|m| m["name"] = json!("../evil")), "/name"),
        (Box::new(|m| m["name"] = json!("")), "/name"),
        (Box::new(|m| m["version"] = json!("1")), "/version"),
        (Box::new(|m| m["version"] = json!("../1.0.0")), "/version"),
        (Box::new(|m| m["kinds"] = json!(["fax"])), "/kinds/0"),
        (Box::new(|m| m["kinds"] = json!([])), "/kinds"),
        (Box::new(|m| m["capabilities"]["hosts"][1] = json!("*")), "/capabilities/hosts/1"),
        (Box::new(|m| m["capabilities"]["transports"] = json!(["http", "carrier-pigeon"])), "/capabilities/transports/1"),
        (Box::new(|m| m["config"] = json!({"type": "objekt"})), "/config/type"),
        (Box::new(|m| m["config"] = json!({"type": "object", "$ref": "https://elsewhere.example/schema"})), "/config"),
        (Box::new(|m| m["config"] = json!({"type": "string"})), "/config/type"),
        (Box::new(|m| m["entities"][0]["cursor"] = json!("psychic")), "/entities/0/cursor"),
    ];
    for (change, expected) in cases {
        assert_eq!(pointer_of(&changed(change)), expected);
    }
    assert_eq!(pointer_of(&with_manifest(hostile(), b"{not json")), "");
    let Err(PluginError::Manifest { pointer, detail }) = inspect(&changed(|m| m["capabilities"]["files"] = json!(["/etc"]))) else {
        panic!()
    };
    assert!(format!("{pointer} {detail}").contains("/capabilities") && detail.contains("files"), "{pointer} {detail}");
    let found = inspect(&changed(|m| m["wit"] = json!("0.9.0")));
    assert!(matches!(found, Err(PluginError::WitVersion { .. })), "{found:?}");
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|m| m["capabilities"] = json!({})), "imports http"),
        (Box::new(|m| m["capabilities"] = json!({"transports": ["http"], "hosts": []})), "imports net"),
        (Box::new(|m| m["capabilities"]["transports"] = json!(["http", "tls", "tcp"])), "ws://"),
    ];
    for (change, expected) in cases {
        let Err(PluginError::Mismatch(detail)) = inspect(&changed(change)) else { panic!("{expected}") };
        assert!(detail.contains(expected), "{detail}");
    }
    // A component that exports `plugin` alone.
    let small = r#"(component (instance $i) (export "throughline:connector/plugin@0.1.0" (instance $i)))"#;
    let small = wat::parse_str(small).unwrap();
    let lies = [
        (json!({"capabilities": {}, "entities": [{"name": "a", "canonical": "profile", "readable": true, "cursor": "none"}]}), "source"),
        (
            json!({"capabilities": {}, "entities": [{"name": "a", "canonical": "profile", "cursor": "none", "writes": {"update": true}}]}),
            "sink",
        ),
        (json!({"capabilities": {}, "entities": [], "channels": [{"channel": "email", "can": ["message"]}]}), "channel"),
        (json!({"capabilities": {"transports": ["websocket"]}, "entities": []}), "does not import net"),
        (json!({"capabilities": {"transports": ["http"]}, "entities": []}), "does not import http"),
    ];
    for (lie, expected) in lies {
        let mut manifest = manifest();
        manifest.as_object_mut().unwrap().extend(lie.as_object().unwrap().clone());
        let found = inspect(&with_manifest(&small, manifest.to_string().as_bytes()));
        assert!(matches!(&found, Err(PluginError::Mismatch(detail)) if detail.contains(expected)), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_of_another_shape_do_not_link() {
    let small = r#"(component (instance $i) (export "throughline:connector/plugin@0.1.0" (instance $i)))"#;
    let mut manifest = manifest();
    manifest.as_object_mut().unwrap().extend(json!({"capabilities": {}, "entities": [], "name": "hollow"}).as_object().unwrap().clone());
    let rig = Rig::new().await;
    let found = rig.host.install(with_manifest(&wat::parse_str(small).unwrap(), manifest.to_string().as_bytes())).await;
    assert!(matches!(found, Err(PluginError::Mismatch(_))), "{found:?}");
    assert_eq!(rig.host.installed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_beyond_the_hubs_are_refused() {
    let rig = Rig::new().await;
    let component = changed(|m| {
        m["capabilities"]["limits"] = json!({"memory_mib": 4096});
        m["version"] = json!("2.0.0");
    });
    let found = rig.host.install(component).await;
    assert!(matches!(&found, Err(PluginError::Manifest { pointer, .. }) if pointer == "/capabilities/limits/memory_mib"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn installing_again_is_no_change_and_other_bytes_are_refused() {
    let rig = Rig::in_folders(|_| {}).await;
    assert!(rig.host.install(hostile().to_vec()).await.is_ok());
    let found = rig.host.install(changed(|m| m["summary"] = json!("other"))).await;
    assert!(matches!(&found, Err(PluginError::Manifest { pointer, .. }) if pointer == "/version"), "{found:?}");
    rig.host.install(changed(|m| m["version"] = json!("1.1.0"))).await.unwrap();
    let versions: Vec<_> = rig.host.installed().into_iter().map(|plugin| plugin.manifest.version).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0"]);
    rig.host.remove("hostile", "1.0.0").unwrap();
    assert!(matches!(rig.host.remove("hostile", "1.0.0"), Err(PluginError::NotInstalled { .. })));
    assert_eq!(rig.host.installed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_survive_a_restart_even_with_a_damaged_cache() {
    let rig = Rig::in_folders(|_| {}).await;
    let cache = rig.folder.path().join("cache");
    let compiled =
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().unwrap() == "cwasm").unwrap();
    let mut bytes = std::fs::read(&compiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    drop(rig.host);
    std::fs::write(&compiled, &bytes).unwrap();
    let host = Host::new(options(&rig.folder, |_| {})).unwrap();
    assert_eq!(host.installed().len(), 1);
    assert_ne!(std::fs::read(&compiled).unwrap(), bytes, "it was compiled again");
    let again = Rig { host, folder: rig.folder };
    assert_eq!(again.connect(json!({})).read("calls", &Value::Null).await.unwrap(), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_plugin_is_left_out_at_start() {
    let rig = Rig::new().await;
    std::fs::write(rig.folder.path().join("plugins/hostile/1.0.0.wasm"), b"damaged").unwrap();
    drop(rig.host);
    assert_eq!(Host::new(options(&rig.folder, |_| {})).unwrap().installed().len(), 0);
}

#[cfg(unix)]
#[test]
fn the_cache_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    std::fs::set_permissions(folder.path().join("cache"), std::fs::Permissions::from_mode(0o777)).unwrap();
    drop(Host::new(options(&folder, |_| {})).unwrap());
    let mode = std::fs::metadata(folder.path().join("cache")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_open_only_within_what_is_installed_and_asked_for() {
    let rig = Rig::new().await;
    let open = |spec: ConnectionSpec| rig.host.open(spec, std::sync::Arc::new(Services::default())).err();
    let absent = open(ConnectionSpec { version: "9.9.9".into(), ..spec() });
    assert!(matches!(absent, Some(PluginError::NotInstalled { .. })), "{absent:?}");
    let grants = |hosts: &[&str], private: &[&str]| Grants {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        private_hosts: private.iter().map(ToString::to_string).collect(),
    };
    for bad in [grants(&["https://evil.example"], &[]), grants(&["*"], &[]), grants(&[], &["*"])] {
        let refused = open(ConnectionSpec { grants: bad, ..spec() });
        assert!(matches!(refused, Some(PluginError::Grants(_))), "{refused:?}");
    }
}
