//! What commands print: text for people, JSON with `--json`.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

/// Prints a result.
pub(crate) fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let mut out = if json { serde_json::to_string_pretty(value)? } else { text() };
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let written = std::io::stdout().lock().write_all(out.as_bytes());
    match written {
        // Whoever read has seen enough: `throughline timeline … | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Rows in columns; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Text from outside on one line, without what could move a terminal's cursor, cut to a length.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let flat = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= longest {
        return flat;
    }
    flat.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// A JSON value as a person writes it.
pub(crate) fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => one_line(text, 200),
        other => one_line(&other.to_string(), 200),
    }
}

/// Text as one segment of an address's path.
pub(crate) fn path_segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `a, b, c`, or a dash.
pub(crate) fn listed(words: &[impl AsRef<str>]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            table(&[row(&["NAME", "STATE"]), row(&["é", "healthy"]), row(&["support", ""])]),
            "NAME     STATE\né        healthy\nsupport\n"
        );
    }

    #[test]
    fn a_path_segment_holds_no_separator() {
        for (given, wanted) in [("contact", "contact"), ("a/b c", "a%2Fb%20c"), ("é", "%C3%A9")] {
            assert_eq!(path_segment(given), wanted);
        }
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        for (given, wanted) in [("a\r\n b\tc", "a b c"), ("\u{1b}[2Jx", "[2Jx"), ("abcdef", "abcd…"), ("", "")] {
            assert_eq!(one_line(given, 5), wanted, "{given:?}");
        }
    }
}
