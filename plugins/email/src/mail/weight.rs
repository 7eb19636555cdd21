//! Will taking this mail apart fit into the plugin's memory? An estimate from above, made before anything is taken apart.
//!
//! Running out of memory ends the instance, and the next one would meet the same mail again: a mail made for the purpose would stop
//! the mailbox for good. So whatever makes the parser use much more memory than the mail has bytes is counted: text whose character set is
//! converted, header fields, addresses, parts. Base64 that is no text, which is what large mails are made of, shrinks.

/// What may be used of the 96 MiB that the manifest asks for.
const BUDGET: usize = 88 * 1024 * 1024;
/// Copies of a text that exist at the same time, at worst.
const PER_BYTE_OF_TEXT: usize = 8;
/// A header field, or a line that might be one.
const PER_LINE: usize = 160;
/// An address, a reference or a parameter, or a character that might begin one.
const PER_ENTRY: usize = 100;
/// A part with its header, or a line that might begin one.
const PER_PART: usize = 1024;

/// Whether the mail can be taken apart.
pub(crate) fn fits(raw: &[u8]) -> bool {
    // The mail itself, and its files decoded.
    let mut weight = raw.len() + raw.len() / 4 * 3;
    let mut part = Part::default();
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"--") {
            part = Part::default();
            weight += PER_PART;
        }
        if !(part.is_base64_file() && is_base64(line)) {
            part.read_header_line(line);
            let entries = line.iter().filter(|byte| matches!(byte, b',' | b';' | b':' | b'<')).count();
            weight += line.len() * PER_BYTE_OF_TEXT + PER_LINE + entries * PER_ENTRY;
        }
        if weight > BUDGET {
            return false;
        }
    }
    true
}

/// What is known of the part that the lines belong to.
#[derive(Default)]
struct Part {
    base64: Option<bool>,
    file: Option<bool>,
}

impl Part {
    fn is_base64_file(&self) -> bool {
        self.base64 == Some(true) && self.file == Some(true)
    }

    /// A field that stands twice counts as what is worse.
    fn read_header_line(&mut self, line: &[u8]) {
        if let Some(value) = field(line, b"content-transfer-encoding:") {
            self.base64 = Some(self.base64 != Some(false) && value.starts_with("base64"));
        } else if let Some(value) = field(line, b"content-type:") {
            let light = ["application/", "image/", "audio/", "video/", "font/", "model/"].iter().any(|kind| value.starts_with(kind));
            self.file = Some(self.file != Some(false) && light);
        }
    }
}

fn field(line: &[u8], name: &[u8]) -> Option<String> {
    let start = line.get(..name.len())?;
    let value = &line[name.len()..line.len().min(name.len() + 64)];
    start.eq_ignore_ascii_case(name).then(|| String::from_utf8_lossy(value).trim().to_ascii_lowercase())
}

fn is_base64(line: &[u8]) -> bool {
    line.trim_ascii_end().iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn filled(head: &str, filling: &str, bytes: usize) -> Vec<u8> {
        let mut raw = head.as_bytes().to_vec();
        raw.extend(std::iter::repeat_n(filling.as_bytes(), bytes / filling.len()).flatten());
        raw
    }

    fn check(what: &str, head: &str, filling: &str, bytes: usize, expected: bool) {
        assert_eq!(fits(&filled(head, filling, bytes)), expected, "{what}");
    }

    #[test]
    fn what_people_send_fits() {
        let base64 = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
        let file = "From: a@b.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        let text = "From: a@b.test\r\n\r\n";
        check("a 25 MB attachment", file, base64, 35 * MIB, true);
        check("a very long text", text, "Just a line of quite usual length, as people write them.\r\n", 5 * MIB, true);
        check(
            "a newsletter with pictures in its text",
            text,
            "<td class=\"a\"><img src=\"data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAA\">",
            3 * MIB,
            true,
        );
    }

    #[test]
    fn what_would_burst_the_memory_does_not() {
        let part = |kind: &str, encoding: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            )
        };
        let letters = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
        check("text in base64", &part("text/plain; charset=gb18030", "base64"), letters, 34 * MIB, false);
        check("a mail in base64", &part("message/rfc822", "base64"), letters, 34 * MIB, false);
        check("quoted-printable", &part("application/zip", "quoted-printable"), letters, 34 * MIB, false);
        check("two encodings", &part("application/zip", "quoted-printable\r\nContent-Transfer-Encoding: base64"), letters, 34 * MIB, false);
        check("header fields", &format!("{}X: y\r\n", part("application/zip", "base64")), "a:b\r\n", 20 * MIB, false);
        check("addresses", "To: a", ",a", 4 * MIB, false);
        check("references", "References: ", "<a>", 4 * MIB, false);
        check("parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\n", 4 * MIB, false);
        check("plain text", "From: a@b.test\r\n\r\n", "0123456789abcdef\r\n", 34 * MIB, false);
    }
}
