//! Templates that a guest writes where a secret is to go: `{secret:NAME}`, `{base64:…}`, `{quoted:…}`.
//!
//! The value is put in by the host on the way out, encoded for the place it goes to, so it never enters the guest. Everything else in
//! braces is plain text. This module knows no network: whether the place may have the secret has been decided before.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use throughline_domain::connector::Secret;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

/// Where a template stands, hence how what is put in must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Path or query of a URL, or a form body: percent-encoded.
    Percent,
    /// A header's value: no line ends.
    Header,
    /// Inside a JSON text's string: escaped.
    Json,
    /// Bytes on a stream: no line ends inside a value.
    Line,
}

/// A rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// Whether it holds a secret now.
    pub(crate) has_secret: bool,
}

const MAX_DEPTH: u32 = 4;
const KEPT_IN_URLS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether the text holds anything to put in.
pub(crate) fn is_template(text: &str) -> bool {
    ["{secret:", "{base64:", "{quoted:"].iter().any(|start| text.contains(start))
}

/// Puts the secrets in.
pub(crate) fn render(template: &str, secrets: &BTreeMap<String, Secret>, place: Place) -> Result<Rendered, ConnectorError> {
    if !is_template(template) {
        return Ok(Rendered { text: template.to_owned(), has_secret: false });
    }
    let mut renderer = Renderer { secrets, has_secret: false };
    let (text, rest) = renderer.sequence(template, place, 0)?;
    debug_assert!(rest.is_empty(), "the outermost sequence ends with the text");
    Ok(Rendered { text, has_secret: renderer.has_secret })
}

struct Renderer<'a> {
    secrets: &'a BTreeMap<String, Secret>,
    has_secret: bool,
}

impl Renderer<'_> {
    /// Renders up to the closing brace of the enclosing part, or to the end at depth 0. Returns what follows.
    fn sequence<'t>(&mut self, mut text: &'t str, place: Place, depth: u32) -> Result<(String, &'t str), ConnectorError> {
        if depth > MAX_DEPTH {
            return Err(bug("a secret template is nested too deeply"));
        }
        let mut out = String::with_capacity(text.len());
        loop {
            let stop = if depth == 0 { text.find('{') } else { text.find(['{', '}']) };
            let Some(stop) = stop else {
                out.push_str(text);
                return if depth == 0 { Ok((out, "")) } else { Err(bug("a secret template lacks its closing brace")) };
            };
            out.push_str(&text[..stop]);
            text = &text[stop..];
            if let Some(rest) = text.strip_prefix('}') {
                return Ok((out, rest));
            }
            text = self.part(text, place, depth, &mut out)?;
        }
    }

    /// Renders what begins with this opening brace and returns what follows it.
    fn part<'t>(&mut self, text: &'t str, place: Place, depth: u32, out: &mut String) -> Result<&'t str, ConnectorError> {
        if let Some(rest) = text.strip_prefix("{secret:") {
            let (name, rest) = rest.split_once('}').ok_or_else(|| bug("a secret template lacks its closing brace"))?;
            out.push_str(&self.secret(name, place, depth)?);
            return Ok(rest);
        }
        if let Some(rest) = text.strip_prefix("{base64:") {
            let (inner, rest) = self.sequence(rest, place, depth + 1)?;
            out.push_str(&encode(&STANDARD.encode(inner), place, depth));
            return Ok(rest);
        }
        if let Some(rest) = text.strip_prefix("{quoted:") {
            let (inner, rest) = self.sequence(rest, place, depth + 1)?;
            out.push_str(&encode(&quote(&inner)?, place, depth));
            return Ok(rest);
        }
        out.push('{');
        Ok(&text[1..])
    }

    fn secret(&mut self, name: &str, place: Place, depth: u32) -> Result<String, ConnectorError> {
        let value = self.secrets.get(name).ok_or_else(|| {
            ConnectorError::new(ErrorClass::Config, format!("the connection has no secret named {name:?}")).with_field(name)
        })?;
        self.has_secret = true;
        let value = value.expose();
        let breaks_lines = matches!(place, Place::Header | Place::Line) && value.contains(['\r', '\n', '\0']);
        if depth == 0 && breaks_lines {
            return Err(ConnectorError::new(
                ErrorClass::Config,
                format!("the secret {name:?} holds a line end, which cannot be sent here"),
            )
            .with_field(name));
        }
        Ok(encode(value, place, depth))
    }
}

// Inside base64 or quotes the value goes in as it is; only the outermost result is written for its place.
fn encode(value: &str, place: Place, depth: u32) -> String {
    match place {
        _ if depth > 0 => value.to_owned(),
        Place::Percent => utf8_percent_encode(value, KEPT_IN_URLS).to_string(),
        Place::Json => json_escaped(value),
        Place::Header | Place::Line => value.to_owned(),
    }
}

/// The text as it stands between the quotes of a JSON string.
pub(crate) fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::String(value.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The text percent-encoded as in a URL's query.
pub(crate) fn percent_encoded(value: &str) -> String {
    utf8_percent_encode(value, KEPT_IN_URLS).to_string()
}

fn quote(value: &str) -> Result<String, ConnectorError> {
    if value.contains(['\r', '\n', '\0']) {
        return Err(ConnectorError::new(ErrorClass::Config, "a value to be quoted holds a line end, which cannot be sent"));
    }
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn bug(message: &str) -> ConnectorError {
    ConnectorError::new(ErrorClass::Bug, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<String, Secret> {
        [("password", "pa\"ss\\w&rd"), ("plain", "hunter2"), ("lines", "a\r\nb")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .collect()
    }

    fn rendered(template: &str, place: Place) -> Result<String, ErrorClass> {
        render(template, &secrets(), place).map(|rendered| rendered.text).map_err(|error| error.class)
    }

    #[test]
    fn secrets_are_written_for_their_place() {
        let cases = [
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
        ];
        for (template, place, expected) in cases {
            assert_eq!(rendered(template, place).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_sent_safely_is_refused() {
        let cases = [
            ("{secret:absent}", Place::Line, ErrorClass::Config),
            ("{secret:lines}", Place::Header, ErrorClass::Config),
            ("{secret:lines}", Place::Line, ErrorClass::Config),
            ("{quoted:{secret:lines}}", Place::Line, ErrorClass::Config),
            ("{secret:plain", Place::Line, ErrorClass::Bug),
            ("{base64:{secret:plain}", Place::Line, ErrorClass::Bug),
            ("{base64:{base64:{base64:{base64:{base64:{base64:x}}}}}}", Place::Line, ErrorClass::Bug),
        ];
        for (template, place, class) in cases {
            assert_eq!(rendered(template, place), Err(class), "{template}");
        }
    }

    #[test]
    fn it_says_whether_a_secret_went_in() {
        assert!(render("{base64:{secret:plain}}", &secrets(), Place::Header).unwrap().has_secret);
        assert!(!render("{base64:nothing}", &secrets(), Place::Header).unwrap().has_secret);
    }
}
