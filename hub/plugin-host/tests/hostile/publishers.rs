//! Who signed a plugin, whose the hub takes, and what a new version gets by being installed: nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use throughline_domain::connector::{ConnectionSpec, Grants, InstalledPlugin, PluginError, PluginHost};
use throughline_plugin_host::{Host, PluginTrust, SigningKey, TrustedKey, Unsigned, inspect, sign};
use throughline_schemas::connector::ErrorClass;

use crate::build::hostile;
use crate::install::changed;
use crate::network::{HTTP, ok, serve};
use crate::support::{Rig, Services, options, spec};

const OTHER: &str = "http://other.example:{config.port}";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn version(version: &str) -> Vec<u8> {
    changed(|manifest| manifest["version"] = json!(version))
}

fn signed(component: &[u8], seed: u8) -> Vec<u8> {
    sign(component, &key(seed)).unwrap()
}

/// A host that calls the owner of this key acme.
fn host(folder: &TempDir, seed: u8, unsigned: Unsigned) -> Arc<Host> {
    let trusted = TrustedKey { name: "acme".to_owned(), key: key(seed).public() };
    let host = Host::new(options(folder, |options| {
        options.cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-cache");
        options.trust = PluginTrust { keys: vec![trusted], unsigned };
    }));
    host.unwrap()
}

/// Versions and who signed them.
fn installed(host: &Host) -> Vec<(String, Option<String>)> {
    host.installed().into_iter().map(|InstalledPlugin { manifest, signed_by, .. }| (manifest.version, signed_by)).collect()
}

fn by(version: &str, signer: Option<&str>) -> (String, Option<String>) {
    (version.to_owned(), signer.map(str::to_owned))
}

async fn refused(host: &Host, component: Vec<u8>, word: &str) {
    match host.install(component).await {
        Err(PluginError::Signature(why)) => assert!(why.contains(word), "{word}: {why}"),
        other => panic!("{word}: {other:?}"),
    }
}

#[test]
fn what_was_changed_after_signing_is_refused_before_it_is_read() {
    let whole = signed(hostile(), 1);
    assert_eq!(inspect(&whole).unwrap().signed_by, Some(format!("unknown key {}", key(1).public())));
    for index in [9, whole.len() / 3, whole.len() / 2, hostile().len() - 1, whole.len() - 70, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        assert!(inspect(&bytes).is_err(), "byte {index} of {}", whole.len());
    }
    let mut other = whole.clone();
    other.extend_from_slice(&changed(|manifest| manifest["capabilities"]["hosts"] = json!(["https://evil.example"]))[hostile().len()..]);
    assert!(matches!(inspect(&other), Err(PluginError::Signature(why)) if why.contains("not the last")));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_versions_are_of_the_same_publisher_and_start_reads_signatures_again() {
    let folder = TempDir::new().unwrap();
    let unknown = format!("unknown key {}", key(2).public());
    let hub = host(&folder, 1, Unsigned::Allow);
    assert_eq!(hub.install(hostile().to_vec()).await.unwrap().signed_by, None);
    // Whoever comes first to a plugin that nobody signed is its publisher from then on.
    assert_eq!(hub.install(signed(&version("1.1.0"), 2)).await.unwrap().signed_by.as_ref(), Some(&unknown));
    refused(&hub, version("1.2.0"), "there is none").await;
    refused(&hub, signed(&version("1.2.0"), 3), "version 1.1.0").await;
    assert_eq!(hub.install(signed(&version("1.2.0"), 1)).await.unwrap().signed_by.as_deref(), Some("acme"));
    refused(&hub, signed(&version("1.3.0"), 2), "signed by acme").await;
    let all = [by("1.0.0", None), by("1.1.0", Some(&unknown)), by("1.2.0", Some("acme"))];
    assert_eq!(installed(&hub), all);
    drop(hub);

    let strict = host(&folder, 1, Unsigned::Refuse);
    assert_eq!(installed(&strict), all[2..]);
    refused(&strict, hostile().to_vec(), "require_signed").await;
    refused(&strict, signed(&version("1.1.0"), 2), "trusted_keys").await;
    assert_eq!(strict.install(signed(&version("1.2.0"), 1)).await.unwrap().signed_by.as_deref(), Some("acme"), "no change");
    drop(strict);
    assert_eq!(installed(&host(&folder, 2, Unsigned::Refuse)), [by("1.1.0", Some("acme"))], "trust is the config's of today");

    // Whoever can write the folder can write digests too, but no signature.
    let file = folder.path().join("plugins/hostile/1.2.0.wasm");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    std::fs::write(folder.path().join("plugins/hostile/1.2.0.wasm.sha256"), digest(&bytes)).unwrap();
    assert_eq!(installed(&host(&folder, 1, Unsigned::Allow)), all[..2]);
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_asks_for_more_gets_it_when_it_is_granted() {
    let rig = Rig::new().await;
    let modest = changed(|manifest| {
        manifest["version"] = json!("0.9.0");
        manifest["capabilities"]["hosts"].as_array_mut().unwrap().retain(|host| host != OTHER);
    });
    rig.host.install(modest).await.unwrap();
    let port = serve(|_| ok("hello")).await;
    let open = |version: &str, hosts: &[&str]| {
        let grants = Grants { hosts: hosts.iter().map(ToString::to_string).collect(), private_hosts: vec!["other.example".to_owned()] };
        let config = json!({"host": "silo.example", "port": port});
        rig.host.open(ConnectionSpec { version: version.to_owned(), grants, config, ..spec() }, Arc::new(Services::default()))
    };
    let cursor = json!({"url": format!("http://other.example:{port}/")});
    // The connection as it was granted, first with the modest version, then moved to the one that asks for another host.
    for version in ["0.9.0", "1.0.0"] {
        let connector = open(version, &[HTTP]).unwrap();
        assert_eq!(connector.read("fetch", Some(&cursor), 1).await.unwrap_err().class, ErrorClass::Permission, "{version}");
    }
    assert!(matches!(open("0.9.0", &[HTTP, OTHER]).err(), Some(PluginError::Grants(_))), "what is not asked for cannot be granted");
    let page = open("1.0.0", &[HTTP, OTHER]).unwrap().read("fetch", Some(&cursor), 1).await.unwrap();
    assert_eq!(page.value.items[0].data["body"], "hello");
}
