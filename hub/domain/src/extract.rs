//! Context variables out of message texts: what an admin's patterns find, nothing guessed.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use throughline_schemas::Classification;

/// How much of a text is searched, in bytes: patterns run on every message.
const SEARCHED: usize = 16 * 1024;
/// Largest compiled pattern, in bytes: bounds the time of a search, which is linear anyway.
const PATTERN_SIZE: usize = 256 * 1024;

/// A pattern whose first group (or whole match) becomes a variable of the enquiry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExtractRule {
    /// The variable's name.
    pub variable: String,
    /// A regular expression in the syntax of the Rust `regex` crate, matched without case.
    pub pattern: String,
    /// Who may see the value.
    #[serde(default)]
    pub classification: Classification,
}

/// A rule whose pattern has been compiled.
#[derive(Debug, Clone)]
pub struct Extractor {
    rule: ExtractRule,
    pattern: Regex,
}

impl Extractor {
    /// Compiles a rule; the error says what is wrong with the pattern.
    pub fn new(rule: ExtractRule) -> Result<Self, String> {
        if rule.variable.is_empty() {
            return Err("the variable needs a name".to_owned());
        }
        let pattern =
            RegexBuilder::new(&rule.pattern).case_insensitive(true).size_limit(PATTERN_SIZE).build().map_err(|error| error.to_string())?;
        Ok(Self { rule, pattern })
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &ExtractRule {
        &self.rule
    }

    /// The first value found in the text.
    #[must_use]
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut end = text.len().min(SEARCHED);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let found = self.pattern.captures(&text[..end])?;
        let value = found.get(1).or_else(|| found.get(0))?.as_str().trim();
        (!value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, text: &str) -> Option<String> {
        let rule = ExtractRule { variable: "order".to_owned(), pattern: pattern.to_owned(), classification: Classification::Internal };
        Extractor::new(rule).unwrap().find(text).map(str::to_owned)
    }

    #[test]
    fn the_first_group_or_the_whole_match_is_the_value() {
        let table = [
            (r"order\s+#?(\d{4,})", "My Order #4711 and order 4712", Some("4711")),
            (r"\d{4,}", "about 4711", Some("4711")),
            (r"order (\d*)x", "order x", None),
            (r"order", "nothing", None),
        ];
        for (pattern, text, wanted) in table {
            assert_eq!(find(pattern, text).as_deref(), wanted, "{pattern} in {text}");
        }
        assert_eq!(find("é", &"é".repeat(SEARCHED)).as_deref(), Some("é"));
    }

    #[test]
    fn a_bad_pattern_is_refused_with_a_reason() {
        let rule = ExtractRule { variable: "x".to_owned(), pattern: "(".to_owned(), classification: Classification::Internal };
        assert!(Extractor::new(rule).unwrap_err().contains("unclosed group"));
    }
}
