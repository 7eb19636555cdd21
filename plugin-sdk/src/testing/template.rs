//! Putting secrets into a template, as the hub does it: `{secret:NAME}`, `{base64:…}`, `{quoted:…}`; all else stays as it is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::percent_encode;
use crate::{Error, ErrorClass, Result, Value};

/// How deeply parts may stand in each other.
const MAX_DEPTH: u32 = 4;

/// Where a template stands, hence how what is put in must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Path or query of a URL, or a form body: percent-encoded.
    Percent,
    /// A header's value: no line breaks.
    Header,
    /// Inside a string of JSON text: escaped.
    Json,
    /// Bytes on a stream: no line breaks inside a value.
    Line,
}

/// Renders a template.
pub fn render(template: &str, secrets: &BTreeMap<String, String>, place: Place) -> Result<String> {
    let mut renderer = Renderer { rest: template, secrets, place };
    renderer.parts(0)
}

/// The value of a secret.
pub(super) fn secret<'a>(secrets: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str> {
    let missing = || config(format!("the connection has no secret named {name:?}")).with_field(name);
    secrets.get(name).map(String::as_str).ok_or_else(missing)
}

struct Renderer<'a> {
    rest: &'a str,
    secrets: &'a BTreeMap<String, String>,
    place: Place,
}

impl Renderer<'_> {
    /// Reads up to the end of the text or, inside a part, up to the brace that closes it.
    fn parts(&mut self, depth: u32) -> Result<String> {
        if depth > MAX_DEPTH {
            return Err(bug("a secret template is nested too deeply"));
        }
        let mut rendered = String::new();
        while let Some(char) = self.rest.chars().next() {
            if depth > 0 && self.eat("}") {
                return Ok(rendered);
            }
            if self.eat("{secret:") {
                rendered.push_str(&self.secret(depth)?);
            } else if self.eat("{base64:") {
                let inner = self.parts(depth + 1)?;
                rendered.push_str(&self.encode(&STANDARD.encode(inner), depth));
            } else if self.eat("{quoted:") {
                let inner = self.parts(depth + 1)?;
                rendered.push_str(&self.encode(&quoted(&inner)?, depth));
            } else {
                rendered.push(char);
                self.rest = &self.rest[char.len_utf8()..];
            }
        }
        if depth > 0 { Err(unclosed()) } else { Ok(rendered) }
    }

    fn eat(&mut self, mark: &str) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn secret(&mut self, depth: u32) -> Result<String> {
        let (name, rest) = self.rest.split_once('}').ok_or_else(unclosed)?;
        self.rest = rest;
        let value = secret(self.secrets, name)?;
        if depth == 0 && matches!(self.place, Place::Header | Place::Line) && breaks_lines(value) {
            return Err(config(format!("the secret {name:?} holds a line break, which cannot be sent here")).with_field(name));
        }
        Ok(self.encode(value, depth))
    }

    /// Inside base64 or quotes a value goes in as it is; only the outermost result is written for its place.
    fn encode(&self, value: &str, depth: u32) -> String {
        match self.place {
            _ if depth > 0 => value.to_owned(),
            Place::Percent => percent_encode(value),
            Place::Json => {
                let quoted = Value::from(value).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Place::Header | Place::Line => value.to_owned(),
        }
    }
}

/// A quoted string of IMAP and AMI. A line break would end the command it stands in.
fn quoted(text: &str) -> Result<String> {
    if breaks_lines(text) {
        return Err(config("a value to be quoted holds a line break, which cannot be sent"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn breaks_lines(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}

fn unclosed() -> Error {
    bug("a secret template lacks its closing brace")
}

fn bug(message: &str) -> Error {
    Error::new(ErrorClass::Bug, message)
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorClass::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, place: Place) -> std::result::Result<String, ErrorClass> {
        let secrets = [("password", "pa\"ss\\w&rd"), ("plain", "hunter2"), ("brace", "a}b"), ("lines", "a\r\nb")];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        render(template, &secrets, place).map_err(|error| error.class)
    }

    /// The same table as the plugin host's: a plugin must not find another host in production than in its tests.
    #[test]
    fn secrets_are_written_for_their_place() {
        let table = [
            ("key={secret:password}", Place::Percent, "key=pa%22ss%5Cw%26rd"),
            ("Bearer {secret:plain}", Place::Header, "Bearer hunter2"),
            (r#"{"p":"{secret:password}"}"#, Place::Json, r#"{"p":"pa\"ss\\w&rd"}"#),
            ("a1 LOGIN \"u\" {quoted:{secret:password}}\r\n", Place::Line, "a1 LOGIN \"u\" \"pa\\\"ss\\\\w&rd\"\r\n"),
            ("Basic {base64:user:{secret:plain}}", Place::Header, "Basic dXNlcjpodW50ZXIy"),
            ("{base64:\0user\0{secret:plain}}", Place::Line, "AHVzZXIAaHVudGVyMg=="),
            ("k={base64:{secret:plain}}", Place::Percent, "k=aHVudGVyMg%3D%3D"),
            ("{base64:{secret:lines}}", Place::Header, "YQ0KYg=="),
            ("no {braces} {here", Place::Line, "no {braces} {here"),
            ("{a{secret:plain}b}", Place::Line, "{ahunter2b}"),
            ("{base64:{secret:brace}}ü", Place::Line, "YX1iü"),
        ];
        for (template, place, wanted) in table {
            assert_eq!(rendered(template, place).as_deref(), Ok(wanted), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_sent_safely_is_refused() {
        let table = [
            ("{secret:absent}", Place::Line, ErrorClass::Config),
            ("{secret:lines}", Place::Header, ErrorClass::Config),
            ("{secret:lines}", Place::Line, ErrorClass::Config),
            ("{quoted:{secret:lines}}", Place::Line, ErrorClass::Config),
            ("{secret:plain", Place::Line, ErrorClass::Bug),
            ("{base64:{secret:plain}", Place::Line, ErrorClass::Bug),
            ("{base64:{base64:{base64:{base64:{base64:{base64:x}}}}}}", Place::Line, ErrorClass::Bug),
        ];
        for (template, place, class) in table {
            assert_eq!(rendered(template, place), Err(class), "{template}");
        }
    }
}
