//! Mails to inject, written by hand so that a test sees every byte.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A plain mail to be written.
#[derive(Debug, Clone, Default)]
pub struct Mail<'a> {
    /// From whom.
    pub from: &'a str,
    /// What it says it is about.
    pub subject: &'a str,
    /// Its Message-ID without brackets.
    pub id: &'a str,
    /// Further header lines, each with its line end.
    pub more: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Mail<'_> {
    fn head(&self) -> String {
        let Self { from, subject, id, more, .. } = self;
        format!("From: {from}\r\nTo: agent@mail.test\r\nSubject: {subject}\r\nMessage-ID: <{id}>\r\n{more}")
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        format!("{}\r\n{}\r\n", self.head(), self.text).into_bytes()
    }

    /// Its bytes with one attachment.
    pub fn with_attachment(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let mut mail = self.head();
        let _ = write!(mail, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut-here\r\n\r\n");
        let _ = write!(mail, "--cut-here\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n", self.text);
        let _ = write!(mail, "--cut-here\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n");
        let _ = write!(mail, "Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n");
        let encoded = STANDARD.encode(content);
        for line in encoded.as_bytes().chunks(76) {
            mail.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            mail.push_str("\r\n");
        }
        mail.push_str("--cut-here--\r\n");
        mail.into_bytes()
    }
}
