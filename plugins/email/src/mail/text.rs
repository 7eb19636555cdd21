//! A mail's text and its HTML form.

use mail_parser::{Message, PartType};

/// Longer text goes to a file in full, and only its beginning into the interaction.
pub(super) const MAX_TEXT: usize = 2_000;

/// The text, from plain text parts where there are any, otherwise from HTML. Quoted earlier mails stay in.
pub(super) fn of(message: &Message<'_>) -> String {
    let parts: Vec<_> = (0..message.text_body_count()).filter_map(|position| message.body_text(position)).collect();
    let text = parts.join("\n").replace("\r\n", "\n");
    text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect::<String>().trim().to_owned()
}

/// The HTML form, if the mail has one.
pub(super) fn html(message: &Message<'_>) -> Option<String> {
    let parts: Vec<&str> = message
        .html_bodies()
        .filter_map(|part| if let PartType::Html(html) = &part.body { Some(html.as_ref()) } else { None })
        .collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_characters() {
        let text = "é".repeat(MAX_TEXT);
        assert!(!is_long(&text));
        assert!(is_long(&format!("{text}x")));
        assert_eq!(beginning(&format!("{text}x")), text);
    }
}
