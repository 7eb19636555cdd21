//! Texts with `{variables}` in them. The hub's own markup (`{secret:NAME}`, `{base64:…}`) passes through untouched, and nothing that
//! comes out of a variable can be taken for it: in URLs it is percent-encoded, in JSON escaped, in headers refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use throughline_plugin_sdk::http::{escape_placeholders, percent_encode};
use throughline_plugin_sdk::{Error, ErrorClass, Result};

/// Values by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// Sets one.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name, value.into());
        self
    }
    /// Sets one if there is a value.
    #[must_use]
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// As it stands.
    Literal(&'a str),
    /// A variable, with what is done to it (`{value|quote}`).
    Variable(&'a str, Option<&'a str>),
}

/// Takes a template apart. Braces around anything but a plain lower-case name are literal text.
pub(crate) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut literal, mut from) = (0, 0);
    while let Some(open) = template[from..].find('{').map(|at| at + from) {
        from = open + 1;
        let Some(length) = template[from..].find('}') else { break };
        let inner = &template[from..from + length];
        let (name, filter) = inner.split_once('|').map_or((inner, None), |(name, filter)| (name, Some(filter)));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            continue;
        }
        if literal < open {
            found.push(Piece::Literal(&template[literal..open]));
        }
        found.push(Piece::Variable(name, filter));
        from += length + 1;
        literal = from;
    }
    if literal < template.len() {
        found.push(Piece::Literal(&template[literal..]));
    }
    found
}

/// Renders a path: variables are percent-encoded, so that a key cannot climb out of its segment.
pub(crate) fn path(template: &str, variables: &Variables) -> Result<String> {
    render(template, variables, percent_encode)?.ok_or_else(|| missing(template))
}

/// Renders a query: parameters that name a variable without a value are left out.
pub(crate) fn query(parameters: &BTreeMap<String, String>, variables: &Variables) -> Result<Vec<String>> {
    let mut rendered = Vec::new();
    for (name, template) in parameters {
        if let Some(value) = render_query(template, variables)? {
            rendered.push(format!("{}={value}", percent_encode(name)));
        }
    }
    Ok(rendered)
}

/// Renders a header's value. A value that the hub could take for its markup, or that would break the header, is refused.
pub(crate) fn header(template: &str, variables: &Variables) -> Result<Option<String>> {
    for value in variables.0.values().filter(|_| template.contains('{')) {
        let markup = ["{secret:", "{base64:", "{quoted:"].iter().any(|mark| value.contains(mark));
        if markup || value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Error::new(ErrorClass::InvalidRecord, "a value with control characters or braces cannot go into a header"));
        }
    }
    render(template, variables, str::to_owned)
}

/// The member of an object that stands for all members of the record, so that fixed values can be sent beside them.
const SPREAD: &str = "...";

/// Renders a JSON body. A text that is just `{record}` becomes the record, as the member `...` of an object it becomes the record's
/// members, which win over the object's own; variables in other texts are escaped.
pub(crate) fn body(template: &Value, variables: &Variables, record: Option<&Value>) -> Result<String> {
    let mut out = String::new();
    write_json(template, variables, record, &mut out)?;
    Ok(out)
}

/// Replaces variables in bytes, for signatures: what the variables hold is put in as it is.
pub(crate) fn bytes(template: &str, values: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces(template) {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable(name, _) => {
                let value = values.iter().find(|(known, _)| *known == name).map_or(&b""[..], |(_, value)| value);
                out.extend_from_slice(value);
            }
        }
    }
    out
}

/// None when a variable has no value.
fn render(template: &str, variables: &Variables, encode: impl Fn(&str) -> String) -> Result<Option<String>> {
    let mut out = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Variable(name, filter) => {
                let Some(value) = variables.0.get(name) else { return Ok(None) };
                out.push_str(&encode(&filtered(value, filter)?));
            }
        }
    }
    Ok(Some(out))
}

/// Like [`render`], with the literal parts encoded too, all but the hub's markup.
fn render_query(template: &str, variables: &Variables) -> Result<Option<String>> {
    if template.contains("{secret:") || template.contains("{base64:") {
        return render(template, variables, percent_encode);
    }
    Ok(render(template, variables, str::to_owned)?.map(|text| percent_encode(&text)))
}

fn filtered(value: &str, filter: Option<&str>) -> Result<String> {
    match filter {
        None => Ok(value.to_owned()),
        Some("quote") => quote(value, '\''),
        Some("double_quote") => quote(value, '"'),
        Some("json") => Ok(Value::from(value).to_string()),
        Some(other) => Err(Error::new(ErrorClass::Config, format!("no filter is called {other:?}: quote, double_quote, json"))),
    }
}

/// Escapes a quotation mark for a filter expression. A trailing backslash would escape the closing mark, so it is refused.
fn quote(value: &str, mark: char) -> Result<String> {
    if value.ends_with('\\') {
        return Err(Error::new(ErrorClass::InvalidRecord, "a value that ends with a backslash cannot be looked up"));
    }
    Ok(value.replace(mark, &format!("\\{mark}")))
}

fn write_json(template: &Value, variables: &Variables, record: Option<&Value>, out: &mut String) -> Result<()> {
    match (template, record) {
        (Value::String(text), Some(record)) if text == "{record}" => out.push_str(&escape_placeholders(&record.to_string())),
        (Value::String(text), _) => out.push_str(&json_text(text, variables)?),
        (Value::Array(entries), _) => {
            out.push('[');
            for (index, entry) in entries.iter().enumerate() {
                separate(index, out);
                write_json(entry, variables, record, out)?;
            }
            out.push(']');
        }
        (Value::Object(entries), _) => write_object(entries, variables, record, out)?,
        (scalar, _) => out.push_str(&scalar.to_string()),
    }
    Ok(())
}

fn write_object(entries: &Map<String, Value>, variables: &Variables, record: Option<&Value>, out: &mut String) -> Result<()> {
    let spread = match (entries.get(SPREAD), record.and_then(Value::as_object)) {
        (Some(Value::String(text)), Some(record)) if text == "{record}" => Some(record),
        _ => None,
    };
    let own = entries.iter().filter(|(name, _)| spread.is_none_or(|record| *name != SPREAD && !record.contains_key(*name)));
    out.push('{');
    let mut written = 0;
    for (name, entry) in own {
        write_name(&mut written, name, out);
        write_json(entry, variables, record, out)?;
    }
    for (name, value) in spread.into_iter().flatten() {
        write_name(&mut written, name, out);
        out.push_str(&escape_placeholders(&value.to_string()));
    }
    out.push('}');
    Ok(())
}

fn write_name(written: &mut usize, name: &str, out: &mut String) {
    separate(*written, out);
    *written += 1;
    out.push_str(&Value::from(name).to_string());
    out.push(':');
}

/// A JSON string; a variable without a value makes it null.
fn json_text(template: &str, variables: &Variables) -> Result<String> {
    let mut out = String::from('"');
    for piece in pieces(template) {
        let quoted = match piece {
            Piece::Literal(text) => Value::from(text).to_string(),
            Piece::Variable(name, filter) => match variables.0.get(name) {
                Some(value) => escape_placeholders(&Value::from(filtered(value, filter)?).to_string()),
                None => return Ok("null".to_owned()),
            },
        };
        out.push_str(&quoted[1..quoted.len() - 1]);
    }
    out.push('"');
    Ok(out)
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

fn missing(template: &str) -> Error {
    Error::new(ErrorClass::Config, format!("the path {template:?} names a variable that has no value here"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_plain_names_are_variables() {
        let table: [(&str, Vec<Piece<'_>>); 6] = [
            ("/a/{key}/b", vec![Piece::Literal("/a/"), Piece::Variable("key", None), Piece::Literal("/b")]),
            ("x={value|quote}", vec![Piece::Literal("x="), Piece::Variable("value", Some("quote"))]),
            ("{secret:api_token}", vec![Piece::Literal("{secret:api_token}")]),
            ("{base64:u:{secret:p}}", vec![Piece::Literal("{base64:u:{secret:p}}")]),
            ("{\"a\": {page}}", vec![Piece::Literal("{\"a\": "), Piece::Variable("page", None), Piece::Literal("}")]),
            ("open { only", vec![Piece::Literal("open { only")]),
        ];
        for (template, wanted) in table {
            assert_eq!(pieces(template), wanted, "{template}");
        }
    }

    #[test]
    fn a_key_cannot_climb_out_of_its_path() {
        let variables = Variables::default().with("key", "../x?y={secret:t}");
        assert_eq!(path("/r/{key}", &variables).unwrap(), "/r/..%2Fx%3Fy%3D%7Bsecret%3At%7D");
        assert_eq!(path("/r/{other}", &variables).unwrap_err().class, ErrorClass::Config);
    }

    #[test]
    fn a_parameter_without_a_value_is_left_out() {
        let parameters = BTreeMap::from([
            ("filter".to_owned(), "updated>='{since}'".to_owned()),
            ("page".to_owned(), "{page}".to_owned()),
            ("key".to_owned(), "{secret:api_token}".to_owned()),
        ]);
        let first = Variables::default().with("page", "1");
        assert_eq!(query(&parameters, &first).unwrap(), ["key={secret:api_token}", "page=1"]);
        let second = first.with("since", "2026-11-21 20:00:00Z");
        assert_eq!(query(&parameters, &second).unwrap()[0], "filter=updated%3E%3D%272026-11-21%2020%3A00%3A00Z%27");
    }

    #[test]
    fn a_looked_up_value_cannot_end_its_quotes() {
        let template = "a='{value|quote}'";
        let table = [("o'Hara", Some("a='o\\'Hara'")), ("x\\", None), ("plain", Some("a='plain'"))];
        for (value, wanted) in table {
            assert_eq!(
                render(template, &Variables::default().with("value", value), str::to_owned).ok().flatten().as_deref(),
                wanted,
                "{value}"
            );
        }
    }

    #[test]
    fn a_record_goes_into_its_place_and_cannot_pull_out_a_secret() {
        let template = json!({"token": "{secret:t}", "method": "create {key}", "params": ["{record}"], "none": "{version}"});
        let record = json!({"name": "{secret:t} \"x\""});
        let text = body(&template, &Variables::default().with("key", "k\"{secret:t}"), Some(&record)).unwrap();
        assert_eq!(text.matches("{secret:t}").count(), 1, "{text}");
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["params"][0], record);
        assert_eq!(parsed["method"], "create k\"{secret:t}");
        assert_eq!(parsed["none"], Value::Null);
    }

    #[test]
    fn fixed_values_stand_beside_the_records_own_and_give_way_to_them() {
        let table = [
            (json!({"queue": 1, "priority": 3, "...": "{record}"}), json!({"queue": 1, "priority": 2, "title": "{secret:t}"})),
            (json!({"data": {"...": "{record}"}}), json!({"data": {"priority": 2, "title": "{secret:t}"}})),
            (json!({"...": "literal"}), json!({"...": "literal"})),
        ];
        for (template, wanted) in table {
            let record = json!({"priority": 2, "title": "{secret:t}"});
            let text = body(&template, &Variables::default(), Some(&record)).unwrap();
            assert!(!text.contains("{secret:t}"), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted, "{template}");
        }
        assert_eq!(body(&json!({"...": "{record}"}), &Variables::default(), Some(&json!({}))).unwrap(), "{}");
    }

    #[test]
    fn a_header_refuses_what_could_break_it() {
        for value in ["a\r\nX: y", "{secret:t}"] {
            assert!(header("{version}", &Variables::default().with("version", value)).is_err(), "{value}");
        }
        let fine = header("\"{version}\"", &Variables::default().with("version", "45")).unwrap();
        assert_eq!(fine.as_deref(), Some("\"45\""));
    }
}
