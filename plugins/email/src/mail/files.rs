//! The files that came with a mail.

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};
use throughline_plugin_sdk::schemas::Attachment;
use throughline_plugin_sdk::{Result, blobs, log};

use super::text;

/// Most files kept of one mail.
const MAX_FILES: usize = 500;

/// Where large content goes.
pub trait Files {
    /// Keeps a file and gives its reference.
    fn keep(&mut self, media_type: &str, name: Option<&str>, data: &[u8]) -> Result<String>;
}

/// The hub's content-addressed files.
pub struct Blobs;

impl Files for Blobs {
    fn keep(&mut self, media_type: &str, name: Option<&str>, data: &[u8]) -> Result<String> {
        blobs::put(media_type, name, data)
    }
}

/// Keeps everything that is not the mail's own text: attachments, inline pictures, mails within the mail.
pub(super) fn attachments(message: &Message<'_>, files: &mut dyn Files) -> Result<Vec<Attachment>> {
    let mut attachments = Vec::new();
    for (position, part) in message.parts.iter().enumerate() {
        if !is_file(message, position, part) {
            continue;
        }
        if attachments.len() == MAX_FILES {
            log::warn(format!("a mail has more than {MAX_FILES} files; the rest is left out"));
            break;
        }
        attachments.push(attachment(part, files)?);
    }
    Ok(attachments)
}

fn is_file(message: &Message<'_>, position: usize, part: &MessagePart<'_>) -> bool {
    match part.body {
        PartType::Multipart(_) => false,
        PartType::Text(_) | PartType::Html(_) => u32::try_from(position).is_ok_and(|position| message.attachments.contains(&position)),
        PartType::Binary(_) | PartType::InlineBinary(_) => text::unnamed_body(message).is_none(),
        PartType::Message(_) => true,
    }
}

fn attachment(part: &MessagePart<'_>, files: &mut dyn Files) -> Result<Attachment> {
    let media_type = media_type(part);
    let name = file_name(part, &media_type);
    let contents = part.contents();
    Ok(Attachment { reference: files.keep(&media_type, name.as_deref(), contents)?, name, media_type, size: contents.len() as u64 })
}

fn media_type(part: &MessagePart<'_>) -> String {
    let token =
        |text: &str| !text.is_empty() && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let named = part.content_type().and_then(|kind| Some((kind.ctype(), kind.subtype()?)));
    match (named, &part.body) {
        (Some((kind, sub)), _) if token(kind) && token(sub) => format!("{kind}/{sub}").to_ascii_lowercase(),
        (_, PartType::Message(_)) => "message/rfc822".to_owned(),
        (_, PartType::Text(_)) => "text/plain".to_owned(),
        _ => "application/octet-stream".to_owned(),
    }
}

fn file_name(part: &MessagePart<'_>, media_type: &str) -> Option<String> {
    let given = part.attachment_name().and_then(sanitise_name);
    given.or_else(|| (media_type == "message/rfc822").then(|| "message.eml".to_owned()))
}

/// A name that is only a name: no folders, nothing invisible, not hidden, not endless.
fn sanitise_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let invisible =
        |c: &char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let clean: String = last.chars().filter(|c| !invisible(c)).collect();
    let clean = clean.trim().trim_start_matches('.').trim();
    let count = clean.chars().count();
    // The end of a name says what the file is, so it is the middle that goes.
    let short = if count > 150 { clean.chars().take(100).chain(clean.chars().skip(count - 40)).collect() } else { clean.to_owned() };
    (!short.is_empty()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_names() {
        for (name, clean) in [
            ("invoice.pdf", Some("invoice.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\temp\\a b.txt", Some("a b.txt")),
            (".bashrc", Some("bashrc")),
            ("a\r\nb.txt", Some("ab.txt")),
            ("invoice\u{202e}fdp.exe", Some("invoicefdp.exe")),
            ("Rechnung für März.pdf", Some("Rechnung für März.pdf")),
            ("..", None),
            ("folder/", None),
            ("", None),
        ] {
            assert_eq!(sanitise_name(name).as_deref(), clean, "{name:?}");
        }
        let long = sanitise_name(&format!("{}.pdf", "é".repeat(1000))).unwrap();
        assert!(long.chars().count() == 140 && long.ends_with(".pdf"), "{long}");
    }
}
