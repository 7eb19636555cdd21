//! Keys, signatures, and hubs that insist on them.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Place, component};

/// A place with a key in `publisher.key` and the example plugin in `notes.wasm`; the public key.
fn with_key() -> (Place, String) {
    let place = Place::new();
    let made = place.run(&["--json", "plugin", "keygen", "publisher.key"]).ok().json();
    std::fs::copy(component("minimal"), place.path("notes.wasm")).unwrap();
    (place, made["public_key"].as_str().unwrap().to_owned())
}

fn trust(place: &Place, key: &str) {
    place.write("throughline.toml", &format!("[plugins]\nrequire_signed = true\ntrusted_keys = {{ acme = \"{key}\" }}\n"));
}

#[test]
fn a_key_is_private_and_never_overwritten() {
    let (place, public) = with_key();
    let kept = std::fs::read_to_string(place.path("publisher.key")).unwrap();
    assert_eq!(std::fs::metadata(place.path("publisher.key")).unwrap().permissions().mode() & 0o777, 0o600);
    place.run(&["plugin", "keygen", "publisher.key"]).fails(1, &["publisher.key"]);
    assert_eq!(std::fs::read_to_string(place.path("publisher.key")).unwrap(), kept);
    let other = place.run(&["plugin", "keygen", "other.key"]).ok().out;
    assert!(other.contains("trusted_keys = { publisher = \"ed25519:") && !other.contains(&public), "{other}");
    let secret = std::fs::read_to_string(place.path("other.key")).unwrap();
    assert!(secret.starts_with("ed25519-secret:") && !other.contains(secret.trim()), "{other}");
}

#[test]
fn a_component_is_signed_and_whoever_changes_it_is_found_out() {
    let (place, public) = with_key();
    let sign = ["plugin", "sign", "notes.wasm", "--key", "publisher.key"];
    assert!(place.run(&["plugin", "check", "notes.wasm"]).ok().out.contains("signed by nobody"));
    let elsewhere = place.run(&[&sign[..], &["--out", "signed.wasm"]].concat()).ok().out;
    assert!(elsewhere.contains("signed.wasm: minimal 0.1.0") && elsewhere.contains(&public), "{elsewhere}");
    assert!(place.run(&["plugin", "check", "notes.wasm"]).ok().out.contains("signed by nobody"), "the one given is left alone");
    place.run(&sign).ok();
    let signed = std::fs::read(place.path("notes.wasm")).unwrap();
    assert_eq!(signed, std::fs::read(place.path("signed.wasm")).unwrap());
    let checked = place.run(&["plugin", "check", "notes.wasm"]).ok().out;
    assert!(checked.contains(&format!("signed by {public}, which is not among")), "{checked}");

    place.run(&["plugin", "keygen", "other.key"]).ok();
    let again = place.run(&["--json", "plugin", "sign", "notes.wasm", "--key", "other.key"]).ok().json();
    assert_eq!(again["replaced"], public.as_str());
    assert_eq!(std::fs::read(place.path("notes.wasm")).unwrap().len(), signed.len());

    let mut changed = signed.clone();
    let middle = changed.len() - 60;
    changed[middle] ^= 1;
    std::fs::write(place.path("changed.wasm"), changed).unwrap();
    let found = place.run(&["plugin", "check", "changed.wasm"]);
    assert!(found.code == 1 && found.out.contains("not what was signed"), "{found:?}");

    place.write("no.key", "ed25519-secret:hunter2");
    let bad = place.run(&["plugin", "sign", "notes.wasm", "--key", "no.key"]).fails(1, &["no.key", "keygen"]);
    assert!(!bad.err.contains("hunter2"), "{}", bad.err);
    place.run(&["plugin", "sign", "publisher.key", "--key", "publisher.key"]).fails(1, &["cannot sign publisher.key", "not a WebAssembly"]);
}

#[test]
fn a_hub_that_insists_on_signatures_takes_those_it_trusts() {
    let (place, public) = with_key();
    place.run(&["plugin", "sign", "notes.wasm", "--key", "publisher.key", "--out", "signed.wasm"]).ok();
    trust(&place, &public);
    let checked = place.run(&["plugin", "check", "signed.wasm"]).ok();
    assert!(checked.out.contains(&format!("signed by acme ({public}); the signature verifies")), "{}", checked.out);
    let unsigned = place.run(&["plugin", "check", "notes.wasm"]);
    assert!(unsigned.code == 1 && unsigned.out.contains("require_signed"), "{unsigned:?}");

    let hub = place.serve();
    let admin = hub.key().unwrap();
    hub.run(&place, &admin, &["plugin", "install", "notes.wasm"]).fails(3, &["require_signed"]);
    assert!(hub.run(&place, &admin, &["plugin", "install", "signed.wasm"]).ok().out.contains("signed by acme"));
    assert_eq!(hub.run(&place, &admin, &["--json", "plugin", "list"]).ok().json()[0]["signed_by"], "acme");
    assert!(hub.run(&place, &admin, &["plugin", "list"]).ok().out.contains("SIGNED BY"));
    hub.run(&place, &admin, &["doctor"]).ok();
    hub.stop();

    // Another key is trusted now: what is installed is not loaded any more, and it is said why.
    let other = place.run(&["--json", "plugin", "keygen", "other.key"]).ok().json();
    trust(&place, other["public_key"].as_str().unwrap());
    let ill = place.run(&["doctor"]);
    assert!(ill.code == 1 && ill.out.contains("unknown key") && ill.out.contains("trusted_keys"), "{}", ill.out);
    let hub = place.serve();
    assert_eq!(hub.run(&place, &admin, &["--json", "plugin", "list"]).ok().json(), serde_json::json!([]));
    drop(hub);
    place.write("throughline.toml", "[plugins]\nrequire_signed = true\n");
    place.run(&["serve", "--listen", "127.0.0.1:0"]).fails(1, &["require_signed", "trusted_keys"]);
}
