//! Putting secrets into a template, as the hub does it: `{secret:NAME}`, `{base64:…}`, `{quoted:…}`; all else stays as it is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, ErrorClass, Result};

/// Renders a text template.
pub fn render(template: &str, secrets: &BTreeMap<String, String>) -> Result<String> {
    let mut rest = template;
    parts(&mut rest, secrets, Nesting::Top)
}

/// Renders a body, which may be no text at all: then nothing in it is a placeholder.
pub fn render_bytes(template: &[u8], secrets: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    match std::str::from_utf8(template) {
        Ok(text) => Ok(render(text, secrets)?.into_bytes()),
        Err(_) => Ok(template.to_vec()),
    }
}

/// The value of a secret.
pub(super) fn secret<'a>(secrets: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str> {
    let missing = || config(format!("the connection has no secret called {name:?}")).with_field(name);
    secrets.get(name).map(String::as_str).ok_or_else(missing)
}

#[derive(Clone, Copy, PartialEq)]
enum Nesting {
    /// A closing brace is text.
    Top,
    /// A closing brace ends the part.
    Inside,
}

/// Reads parts up to the end of the text or, inside, up to the brace that closes.
fn parts(rest: &mut &str, secrets: &BTreeMap<String, String>, nesting: Nesting) -> Result<String> {
    let mut rendered = String::new();
    while let Some(char) = rest.chars().next() {
        if nesting == Nesting::Inside && char == '}' {
            *rest = &rest[1..];
            return Ok(rendered);
        }
        if let Some(after) = rest.strip_prefix("{secret:") {
            let Some((name, after)) = after.split_once('}') else { return Err(unclosed("{secret:")) };
            rendered.push_str(secret(secrets, name)?);
            *rest = after;
        } else if let Some(after) = rest.strip_prefix("{base64:") {
            *rest = after;
            rendered.push_str(&STANDARD.encode(parts(rest, secrets, Nesting::Inside)?));
        } else if let Some(after) = rest.strip_prefix("{quoted:") {
            *rest = after;
            rendered.push_str(&quoted(&parts(rest, secrets, Nesting::Inside)?)?);
        } else {
            rendered.push(char);
            *rest = &rest[char.len_utf8()..];
        }
    }
    match nesting {
        Nesting::Top => Ok(rendered),
        Nesting::Inside => Err(unclosed("{base64:` or `{quoted:")),
    }
}

/// A quoted string of IMAP and AMI. A line break would end the command it stands in.
fn quoted(text: &str) -> Result<String> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(config("a secret with a line break cannot be sent to this silo"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn unclosed(what: &str) -> Error {
    Error::new(ErrorClass::Bug, format!("a template opens `{what}` and does not close it"))
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<String, String> {
        [("password", "s\"e\\c}ret"), ("lines", "a\r\nb")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let table = [
            ("Bearer {secret:password}", "Bearer s\"e\\c}ret"),
            (r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 1}}"#),
            ("a1 LOGIN ada {quoted:{secret:password}}\r\n", "a1 LOGIN ada \"s\\\"e\\\\c}ret\"\r\n"),
            ("{base64:\0ada\0{secret:password}}", "AGFkYQBzImVcY31yZXQ="),
            ("{base64:{quoted:a}}!", "ImEi!"),
            ("ü {secret:password}", "ü s\"e\\c}ret"),
            ("{secret", "{secret"),
        ];
        for (template, wanted) in table {
            assert_eq!(render(template, &secrets()).unwrap(), wanted, "{template}");
        }
        assert_eq!(render_bytes(b"\xff{secret:password}", &secrets()).unwrap(), b"\xff{secret:password}");
    }

    #[test]
    fn what_cannot_be_rendered_is_classified() {
        let table = [
            ("{secret:none}", ErrorClass::Config),
            ("{quoted:{secret:lines}}", ErrorClass::Config),
            ("{secret:password", ErrorClass::Bug),
            ("{base64:a", ErrorClass::Bug),
        ];
        for (template, class) in table {
            assert_eq!(render(template, &secrets()).unwrap_err().class, class, "{template}");
        }
    }
}
