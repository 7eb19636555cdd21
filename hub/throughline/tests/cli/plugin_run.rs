//! `throughline plugin run` and `embed`: one call to a component without a hub; a manifest put into a component.

use std::path::Path;

use serde_json::json;

use crate::support::Place;

/// A component that answers everything and needs nothing.
fn golden(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-host/golden").join(file);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn one_call_is_made_and_its_answer_printed() {
    let place = Place::new();
    let component = golden("0.1.0.wasm");
    assert_eq!(place.run(&["plugin", "run", &component, "check"]).ok().json()["account_id"], "golden");
    let page = place.run(&["plugin", "run", &component, "read", "thing", "--cursor", r#"{"at": 7}"#]).ok().json();
    assert_eq!((&page["items"], &page["checkpoint"]), (&json!([]), &json!({"at": 7})));
    assert_eq!(place.run(&["plugin", "run", &component, "options", "field"]).ok().json(), json!([]));
    place.run(&["plugin", "run", &component, "reed", "thing"]).fails(1, &["read ENTITY"]);
    place.run(&["plugin", "run", &component, "read", "thing", "--cursor", "{"]).fails(1, &["--cursor"]);
}

#[test]
fn a_manifest_is_put_into_a_component_it_fits() {
    let place = Place::new();
    let (component, manifest) = (golden("0.1.0.wasm"), golden("0.1.0.json"));
    let out = place.path("golden.wasm");
    let said = place.run(&["--json", "plugin", "embed", &component, &manifest, "--out", out.to_str().unwrap()]);
    let text = std::fs::read_to_string(&manifest).unwrap();
    // The committed component has its manifest already, to the byte without the line's end: another one is refused.
    said.fails(1, &["two manifests"]);
    std::fs::write(place.path("same.json"), text.trim_end()).unwrap();
    let same = place.path("same.json");
    let made = place.run(&["--json", "plugin", "embed", &component, same.to_str().unwrap(), "--out", out.to_str().unwrap()]).ok().json();
    assert_eq!((&made["name"], &made["version"]), (&json!("golden"), &json!("0.1.0")));
    assert_eq!(place.run(&["plugin", "run", out.to_str().unwrap(), "check"]).ok().json()["account_id"], "golden");
    std::fs::write(place.path("wrong.json"), "{}").unwrap();
    let wrong = place.path("wrong.json");
    place.run(&["plugin", "embed", &component, wrong.to_str().unwrap(), "--out", out.to_str().unwrap()]).fails(1, &["two manifests"]);
}
