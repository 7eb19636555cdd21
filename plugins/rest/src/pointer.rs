//! JSON pointers (RFC 6901): looking a value up, and putting one in where the way to it may not exist yet.

use serde_json::{Map, Value};

/// Whether a text is a JSON pointer.
pub(crate) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// Puts a value in; objects on the way are made, what is in the way is replaced.
pub(crate) fn set(target: &mut Value, pointer: &str, value: Value) {
    let mut at = target;
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(object) = at else { return };
        at = object.entry(key).or_insert(Value::Null);
    }
    *at = value;
}

/// A scalar as text: texts as they are, numbers and booleans as JSON writes them.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The scalar at a pointer, as text; none if there is none or it is empty.
pub(crate) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(scalar).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_set_is_found_again() {
        for pointer in ["", "/a", "/a/b/c", "/a~1b/~0", "/0/1", "//"] {
            let mut value = json!({"a": 1, "keep": true});
            set(&mut value, pointer, json!("x"));
            assert_eq!(value.pointer(pointer), Some(&json!("x")), "{pointer}");
        }
    }

    #[test]
    fn only_scalars_are_texts() {
        let record = json!({"n": 7, "s": "x", "e": "", "b": false, "o": {}, "l": [1], "z": null});
        let table = [
            ("/n", Some("7")),
            ("/s", Some("x")),
            ("/e", None),
            ("/b", Some("false")),
            ("/o", None),
            ("/l", None),
            ("/z", None),
            ("/q", None),
        ];
        for (pointer, wanted) in table {
            assert_eq!(text_at(&record, pointer).as_deref(), wanted, "{pointer}");
        }
    }
}
