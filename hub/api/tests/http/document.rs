//! Generated files are what the code says.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// Compares a committed file with what it should be; with `UPDATE=1` writes it.
fn check(path: &Path, wanted: &Value) {
    let text = serde_json::to_string_pretty(wanted).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "{} has drifted; run: UPDATE=1 cargo test -p throughline-api document", path.display());
}

#[test]
fn the_committed_openapi_document_is_current() {
    check(&schemas().join("openapi.json"), &throughline_api::openapi());
}

#[test]
fn the_committed_json_schemas_are_current() {
    let wanted = throughline_api::json_schemas();
    for (name, schema) in &wanted {
        check(&schemas().join(format!("json/{name}.json")), schema);
    }
    let mut committed: Vec<String> =
        fs::read_dir(schemas().join("json")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    committed.sort();
    let mut wanted: Vec<String> = wanted.iter().map(|(name, _)| format!("{name}.json")).collect();
    wanted.sort();
    assert_eq!(committed, wanted, "a file of schemas/json is of no type any more");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = throughline_api::openapi();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100, "{} references", references.len());
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
