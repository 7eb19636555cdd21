//! Takes secrets out of whatever leaves a connection: logs, errors, response bodies and headers, emitted records.
//!
//! A secret is known in the forms it is likely to come back in: as it is, percent-encoded, JSON-escaped, and as base64 wherever it
//! stands inside a longer encoded text. Short secrets are only looked for in logs and errors: a password of six letters may well be
//! a word in a customer's e-mail, and data must not be changed for that.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use throughline_domain::connector::{PluginError, Secret};
use throughline_schemas::connector::ConnectorError;

use crate::template::{json_escaped, percent_encoded};

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";
const SHORTEST_IN_LOGS: usize = 4;
const SHORTEST_IN_DATA: usize = 8;
/// Fewer characters of base64 would match ordinary text.
const SHORTEST_ENCODED: usize = 8;

/// Values learned later than this many others are forgotten: a token that was replaced so often is worth nothing any more.
const MOST_LEARNED: usize = 16;

/// Knows one connection's secrets.
pub(crate) struct Redactor {
    searchers: RwLock<Arc<Searchers>>,
    known: Mutex<Known>,
}

struct Searchers {
    logs: Option<AhoCorasick>,
    data: Option<AhoCorasick>,
}

struct Known {
    given: Vec<Secret>,
    learned: VecDeque<Secret>,
}

impl Redactor {
    pub(crate) fn new(secrets: &BTreeMap<String, Secret>) -> Result<Self, PluginError> {
        let given: Vec<Secret> = secrets.values().cloned().collect();
        let searchers = RwLock::new(Arc::new(Searchers::new(&given)?));
        Ok(Self { searchers, known: Mutex::new(Known { given, learned: VecDeque::new() }) })
    }

    /// Learns values that came after the connection was opened: tokens.
    pub(crate) fn learn(&self, values: impl IntoIterator<Item = Secret>) -> Result<(), PluginError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            if !known.given.contains(&value) && !known.learned.contains(&value) {
                known.learned.push_back(value);
            }
        }
        while known.learned.len() > MOST_LEARNED {
            known.learned.pop_front();
        }
        let all: Vec<Secret> = known.given.iter().chain(&known.learned).cloned().collect();
        *self.searchers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Searchers::new(&all)?);
        Ok(())
    }

    fn searchers(&self) -> Arc<Searchers> {
        self.searchers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For logs and error messages.
    pub(crate) fn log<'t>(&self, text: &'t str) -> Cow<'t, str> {
        replace(self.searchers().logs.as_ref(), text)
    }

    /// For text that is data.
    pub(crate) fn data<'t>(&self, text: &'t str) -> Cow<'t, str> {
        replace(self.searchers().data.as_ref(), text)
    }

    /// For text that is data and already ours.
    pub(crate) fn owned(&self, text: String) -> String {
        match self.data(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => redacted,
        }
    }

    /// For bytes that are data.
    pub(crate) fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.searchers().data {
            Some(searcher) if searcher.is_match(&bytes) => searcher.replace_all_bytes(&bytes, &vec![REDACTED; searcher.patterns_len()]),
            _ => bytes,
        }
    }

    /// The error without secrets in any of its texts.
    pub(crate) fn error(&self, error: ConnectorError) -> ConnectorError {
        ConnectorError {
            message: self.log(&error.message).into_owned(),
            field: error.field.map(|field| self.log(&field).into_owned()),
            details: error.details.map(|details| self.log_value(details)),
            ..error
        }
    }

    fn log_value(&self, value: Value) -> Value {
        let text = value.to_string();
        match self.log(&text) {
            Cow::Borrowed(_) => value,
            // The replacement holds nothing that could break the text; should it ever, the details go rather than the secret out.
            Cow::Owned(redacted) => serde_json::from_str(&redacted).unwrap_or(Value::Null),
        }
    }
}

fn replace<'t>(searcher: Option<&AhoCorasick>, text: &'t str) -> Cow<'t, str> {
    match searcher {
        Some(searcher) if searcher.is_match(text) => Cow::Owned(searcher.replace_all(text, &vec![REDACTED; searcher.patterns_len()])),
        _ => Cow::Borrowed(text),
    }
}

impl Searchers {
    fn new(secrets: &[Secret]) -> Result<Self, PluginError> {
        Ok(Self { logs: searcher(secrets, SHORTEST_IN_LOGS)?, data: searcher(secrets, SHORTEST_IN_DATA)? })
    }
}

fn searcher(secrets: &[Secret], shortest: usize) -> Result<Option<AhoCorasick>, PluginError> {
    let forms: BTreeSet<String> = secrets.iter().map(Secret::expose).filter(|value| value.len() >= shortest).flat_map(forms).collect();
    if forms.is_empty() {
        return Ok(None);
    }
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(forms)
        .map(Some)
        .map_err(|error| PluginError::Internal(format!("the secrets cannot be searched for: {error}")))
}

fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([secret.to_owned(), percent_encoded(secret), json_escaped(secret)]);
    forms.insert(percent_encoded(secret).replace("%20", "+"));
    forms.insert(json_escaped(&json_escaped(secret)));
    for offset in 0..3 {
        forms.extend(encoded_inside(secret, offset).into_iter().filter(|form| form.len() >= SHORTEST_ENCODED));
    }
    forms
}

/// The characters of base64 that are the same whatever stands around the secret, when `offset` bytes (modulo 3) stand before it.
fn encoded_inside(secret: &str, offset: usize) -> [String; 2] {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(secret.as_bytes());
    // A character of base64 holds 6 bits: those that share bits with what stands before or after are left out.
    let first = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    let inside = |encoded: String| encoded.get(first..end).unwrap_or_default().to_owned();
    [inside(STANDARD.encode(&padded)), inside(URL_SAFE.encode(&padded))]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "c4nary/s3cret+\"value\"";

    fn redactor(secret: &str) -> Redactor {
        Redactor::new(&BTreeMap::from([("s".to_owned(), Secret::new(secret))])).unwrap()
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let redactor = redactor(CANARY);
        let cases = [
            CANARY.to_owned(),
            percent_encoded(CANARY),
            json_escaped(CANARY),
            format!("Basic {}", STANDARD.encode(CANARY)),
            format!("Basic {}", STANDARD.encode(format!("u:{CANARY}"))),
            format!("Basic {}", STANDARD.encode(format!("us:{CANARY}!"))),
            format!("Basic {}", URL_SAFE.encode(format!("use:{CANARY}!!"))),
        ];
        for text in cases {
            assert!(redactor.data(&text).contains(REDACTED), "{text}");
            assert!(redactor.log(&text).contains(REDACTED), "{text}");
        }
    }

    #[test]
    fn a_secret_that_is_learned_later_is_found_as_well_and_the_first_ones_are_not_forgotten() {
        let redactor = redactor(CANARY);
        for token in 0..100 {
            redactor.learn([Secret::new(format!("token-number-{token}."))]).unwrap();
        }
        assert_eq!(redactor.data("Bearer token-number-99."), "Bearer [redacted]");
        assert_eq!(redactor.log("Bearer token-number-98."), "Bearer [redacted]");
        assert_eq!(redactor.data(CANARY), REDACTED);
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        assert_eq!(redactor(CANARY).data("nothing to see"), "nothing to see");
        assert_eq!(redactor("abc").log("abc"), "abc", "three letters are no secret anyone could redact");
        assert_eq!(redactor("secret").data("a secret meeting"), "a secret meeting", "short secrets are not looked for in data");
        assert_eq!(redactor("secret").log("password is secret"), "password is [redacted]");
    }

    #[test]
    fn errors_are_redacted_in_all_their_parts() {
        let error = ConnectorError::new(throughline_schemas::connector::ErrorClass::Auth, format!("no {CANARY}"))
            .with_field(CANARY)
            .with_details(serde_json::json!({"sent": CANARY}));
        let redacted = serde_json::to_string(&redactor(CANARY).error(error)).unwrap();
        assert!(!redacted.contains("c4nary"), "{redacted}");
        assert!(redacted.contains(REDACTED));
    }
}
