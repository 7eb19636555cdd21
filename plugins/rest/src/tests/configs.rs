//! Configs: what the schema and the code take and refuse, and that the examples are taken by both.

use throughline_plugin_sdk::{ErrorClass, Value, json};

use super::harness::{config, merge};
use crate::{Config, MANIFEST};

fn checked(value: &Value) -> Result<Config, (ErrorClass, Option<String>)> {
    let parsed: Config = serde_json::from_value(value.clone()).expect("well-formed");
    parsed.checked().map_err(|error| (error.class, error.field))
}

fn schema() -> jsonschema::Validator {
    let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    jsonschema::draft202012::new(&manifest["config"]).expect("the manifest's schema is one")
}

#[test]
fn parts_that_do_not_fit_together_are_named() {
    let table = [
        (json!({"base_url": "crm.example"}), "base_url"),
        (json!({"base_url": "https://crm.example?x=1"}), "base_url"),
        (json!({"base_url": "https://user:pw@crm.example"}), "base_url"),
        (json!({"timeout_ms": 0}), "timeout_ms"),
        (json!({"entities": null}), "entities"),
        (json!({"auth": {"kind": "bearer", "secret": "s3cr3t value!"}}), "auth.secret"),
        (json!({"auth": {"kind": "header", "name": "X", "value": "plain"}}), "auth.value"),
        (json!({"auth": {"kind": "login", "path": "login", "token": "/t"}}), "auth.path"),
        (json!({"errors": [{"class": "auth"}]}), "errors[0]"),
        (json!({"entities": {"contacts": {"id": "id"}}}), "entities.contacts.id"),
        (json!({"entities": {"contacts": {"fields": {"email": {}}}}}), "entities.contacts.fields.email"),
        (json!({"entities": {"contacts": {"fields": {"email": "email"}}}}), "entities.contacts.fields.email"),
        (json!({"entities": {"contacts": {"updated": null}}}), "entities.contacts.updated"),
        (
            json!({"entities": {"contacts": {"list": {"path": "/c", "query": {"page": "{page}"}, "pagination": {"kind": "page"}}}}}),
            "entities.contacts.list.query",
        ),
        (
            json!({"entities": {"contacts": {"list": {"path": "/c", "query": {"since": "{since}"}, "pagination": {"kind": "offset"}}}}}),
            "entities.contacts.list.query",
        ),
        (
            json!({"entities": {"contacts": {"list": {"path": "/c", "query": {"a": "{after_id}{since}"}, "pagination": {"kind": "keyset"}},
            "cursor": {"kind": "timestamp"}}}}),
            "entities.contacts.cursor.sorted",
        ),
        (json!({"entities": {"contacts": {"deletes": {"kind": "full_list"}}}}), "entities.contacts.deletes.list.total"),
        (json!({"entities": {"contacts": {"canonical": "interaction"}}}), "entities.contacts.interaction"),
        (json!({"entities": {"contacts": {"write": {"update": {"path": "/c"}}}}}), "entities.contacts.write.update"),
        (
            json!({"entities": {"contacts": {"write": {"idempotency": {"kind": "upsert", "field": "ext_id"}}}}}),
            "entities.contacts.write.idempotency.field",
        ),
        (json!({"entities": {"contacts": {"version": null, "write": {"concurrency": {"kind": "etag"}}}}}), "entities.contacts.version"),
        (
            json!({"entities": {"contacts": {"lookups": {"phone": {"path": "/c", "query": {"q": "{value}"}}}}}}),
            "entities.contacts.lookups.phone",
        ),
        (json!({"webhook": {"signature": {"kind": "none"}, "events": [{"entity": "deals"}]}}), "webhook.events[0].entity"),
        (
            json!({"webhook": {"signature": {"kind": "hmac_sha256", "header": "X"}, "events": [{"entity": "contacts"}]}}),
            "webhook.signature.timestamp_header",
        ),
        (
            json!({"webhook": {"signature": {"kind": "hmac_sha256", "header": "X", "template": "{timestamp}", "timestamp_header": "T"},
            "events": [{"entity": "contacts"}]}}),
            "webhook.signature.template",
        ),
        (
            json!({"webhook": {"signature": {"kind": "none"}, "refetch": true, "events": [{"entity": "contacts"}]},
            "entities": {"contacts": {"get": null}}}),
            "webhook.events[0].entity",
        ),
    ];
    for (more, field) in table {
        let refused = checked(&config(more.clone())).err();
        assert_eq!(refused, Some((ErrorClass::Config, Some(field.to_owned()))), "{more}");
    }
    assert!(checked(&config(json!({}))).is_ok());
}

#[test]
fn the_schema_is_strict_and_agrees_with_the_code() {
    let schema = schema();
    assert!(schema.is_valid(&config(json!({}))));
    let refused = [
        json!({"base_url": null}),
        json!({"base_url": 7}),
        json!({"base_ulr": "https://x"}),
        json!({"auth": {"kind": "magic"}}),
        json!({"auth": {"kind": "basic"}}),
        json!({"auth": {"kind": "bearer", "token": "the secret itself"}}),
        json!({"entities": {"contacts": {"canonical": "person"}}}),
        json!({"entities": {"contacts": {"fieldz": {}}}}),
        json!({"entities": {"contacts": {"fields": {"email": {"pointer": "/e", "transform": "trim"}}}}}),
        json!({"entities": {"contacts": {"list": {"path": "/c", "page_size": 0}}}}),
        json!({"entities": {"contacts": {"cursor": {"kind": "timestamp", "overlap": 3}}}}),
        json!({"errors": [{"status": [400], "class": "oops"}]}),
        json!({"webhook": {"events": [{"entity": "contacts"}]}}),
        json!({"webhook": {"signature": {"kind": "hmac_sha256"}, "events": [{"entity": "contacts"}]}}),
    ];
    for more in refused {
        let mut value = config(json!({}));
        merge(&mut value, more.clone());
        assert!(!schema.is_valid(&value), "the schema takes {more}");
        // What the code takes beyond the schema would be a field that does nothing.
        let lenient = ["page_size"].iter().any(|name| more.to_string().contains(name));
        let taken = serde_json::from_value::<Config>(value).is_ok();
        assert!(!taken || lenient, "the code takes {more}");
    }
}

#[test]
fn every_example_is_taken() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/connections");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let example: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if example["plugin"] != "rest" {
            continue;
        }
        tried += 1;
        let complaints: Vec<String> =
            schema().iter_errors(&example["config"]).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(complaints.is_empty(), "{}: {complaints:?}", path.display());
        let refused = checked(&example["config"]).err();
        assert_eq!(refused, None, "{}", path.display());
        assert_eq!(example["grants"]["hosts"], json!(["{config.base_url}"]), "{}", path.display());
    }
    assert_eq!(tried, 4);
}
