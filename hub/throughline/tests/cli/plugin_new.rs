//! `throughline plugin new`: what it writes, and what it refuses. That the template compiles and passes is held by the SDK's tests.

use std::path::Path;

use crate::support::Place;

fn sdk() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk").canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_plugin_is_written_under_its_name() {
    let place = Place::new();
    place.run(&["plugin", "new", "acme-crm", "--sdk", &sdk()]).ok();
    for file in ["Cargo.toml", "manifest.json", "README.md", "BEHAVIOR.md", ".gitignore", "src/lib.rs", "src/tests.rs"] {
        let text = std::fs::read_to_string(place.path("acme-crm").join(file)).unwrap();
        assert!(!text.contains("@NAME@") && !text.contains("@SDK@"), "{file}: {text}");
    }
    let cargo: toml::Table = std::fs::read_to_string(place.path("acme-crm/Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(cargo["package"]["name"].as_str(), Some("acme-crm"));
    let path = cargo["dependencies"]["throughline-plugin-sdk"]["path"].as_str().unwrap();
    assert!(place.path("acme-crm").join(path).join("Cargo.toml").is_file(), "{path}");
    place.run(&["plugin", "new", "acme-crm", "--sdk", &sdk()]).fails(1, &["acme-crm is there already"]);
}

#[test]
fn what_cannot_be_a_plugin_leaves_nothing() {
    let place = Place::new();
    place.run(&["plugin", "new", "Acme", "--sdk", &sdk()]).fails(1, &["lower-case"]);
    place.run(&["plugin", "new", "../acme", "--sdk", &sdk()]).fails(1, &["lower-case"]);
    place.run(&["plugin", "new", "acme", "--sdk", "."]).fails(1, &["not the SDK"]);
    place.run(&["plugin", "new", "acme"]).fails(1, &["--sdk"]);
    assert!(!place.path("acme").exists());
}
