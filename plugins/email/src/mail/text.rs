//! A mail's text and its HTML form.

use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, MimeHeaders, PartType};

/// Longer text goes to a file in full, and only its beginning into the interaction.
pub(super) const MAX_TEXT: usize = 2_000;

/// The text, from plain text parts where there are any, otherwise from HTML. Quoted earlier mails stay in.
pub(super) fn of(message: &Message<'_>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => texts.push(text.replace("\r\n", "\n")),
            PartType::Html(html) => texts.push(html_to_text(&with_line_ends(html))),
            _ => {}
        }
    }
    if let Some(body) = unnamed_body(message).filter(|_| texts.is_empty()) {
        texts.push(String::from_utf8_lossy(body).replace("\r\n", "\n"));
    }
    tidy(&texts.join("\n"))
}

/// The body of a mail that calls itself a multipart but has no parts: it is text all the same.
pub(super) fn unnamed_body<'x>(message: &'x Message<'_>) -> Option<&'x [u8]> {
    let [only] = message.parts.as_slice() else { return None };
    let is_multipart = only.content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("multipart"));
    (is_multipart && !matches!(only.body, PartType::Multipart(_))).then(|| only.contents())
}

/// The HTML form, if the mail has one.
pub(super) fn html(message: &Message<'_>) -> Option<String> {
    let parts: Vec<&str> =
        message.html_bodies().filter_map(|part| if let PartType::Html(html) = &part.body { Some(html.as_ref()) } else { None }).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// Whether a text is too long for the interaction itself.
pub(super) fn is_long(text: &str) -> bool {
    text.chars().nth(MAX_TEXT).is_some()
}

/// As much of a text as the interaction holds.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// No control characters, no white space at the end of lines, at most one empty line at a time.
fn tidy(text: &str) -> String {
    let visible: String = text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
    let mut tidy = String::with_capacity(visible.len());
    let mut empty_lines = 0;
    for line in visible.lines().map(str::trim_end) {
        empty_lines = if line.is_empty() { empty_lines + 1 } else { 0 };
        if empty_lines < 2 {
            tidy.push_str(line);
            tidy.push('\n');
        }
    }
    tidy.trim().to_owned()
}

/// Marks where a browser would begin a new line or table cell; the conversion to text knows only paragraphs and `<br>`.
fn with_line_ends(html: &str) -> String {
    const BLOCKS: [&str; 13] = ["div", "li", "tr", "table", "ul", "ol", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"];
    const CELLS: [&str; 2] = ["td", "th"];
    let mut marked = String::with_capacity(html.len() + html.len() / 8);
    let mut rest = html;
    while let Some(at) = rest.find("</") {
        marked.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
        if BLOCKS.iter().any(|block| block.eq_ignore_ascii_case(name)) {
            marked.push_str("<br>");
        } else if CELLS.iter().any(|cell| cell.eq_ignore_ascii_case(name)) {
            marked.push(' ');
        }
        marked.push_str("</");
    }
    marked.push_str(rest);
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &str) {
        assert_eq!(tidy(&html_to_text(&with_line_ends(html))), expected, "{html}");
    }

    #[test]
    fn html_as_text() {
        check("<p>Hello <b>you</b> &amp; me</p><p>Bye</p>", "Hello you & me\nBye");
        check("<div>one</div><div>two</div>", "one\ntwo");
        check("<UL><LI>one</LI><LI>two</LI></UL>end", "one\ntwo\n\nend");
        check("<table><tr><td>order</td><td>4711</td></tr><tr><td>size</td><td>XL</td></tr></table>", "order 4711\nsize XL");
        check("a<br/>b<style>p{}</style><script>x</script><!-- note -->c", "a\nbc");
        check("un</closed <b", "un");
        check("</", "");
        check("5 &lt; 6 é</é>", "5 < 6 é");
    }

    #[test]
    fn texts_are_tidied() {
        for (text, expected) in [("a  \n\n\n\n\nb\0\r\n", "a\n\nb"), ("  a", "a"), ("\t\n", "")] {
            assert_eq!(tidy(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_limit_counts_characters() {
        let text = "é".repeat(MAX_TEXT);
        assert!(!is_long(&text));
        assert!(is_long(&format!("{text}x")));
        assert_eq!(beginning(&format!("{text}x")), text);
    }
}
