//! Secrets by name. Their values never enter the plugin: it writes `{secret:NAME}` and the hub puts the value in, towards granted hosts only.
//!
//! That works in the path and query of a URL (percent-encoded), in header values, in form bodies (percent-encoded), in other bodies with
//! `secrets_in_body` (JSON-escaped in JSON), and in [`write_secret`](crate::net::Connection::write_secret). `{base64:…}` encodes whatever
//! stands in it, `{quoted:…}` renders it as a quoted string with backslash escapes (IMAP, AMI). They nest:
//! `Authorization: Basic {base64:ada:{secret:password}}`.

use crate::{Error, ErrorClass, Result, sys};

/// HMAC-SHA-256 of the data under a secret.
pub fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>> {
    sys::hmac_sha256(name, data)
}

/// Whether the data is the secret, in constant time: for silos that authenticate a webhook by sending a shared token.
pub fn equals(name: &str, data: &[u8]) -> Result<bool> {
    sys::secret_equals(name, data)
}

/// Text from config that goes into a template as it is; refused with class `config` if the hub would take a part of it for markup.
pub fn literal(text: &str) -> Result<&str> {
    let markup = text.contains('}') || MARKUP.iter().any(|mark| text.contains(mark));
    if markup {
        return Err(Error::new(ErrorClass::Config, "braces are not possible in a value that is sent together with a secret"));
    }
    Ok(text)
}

/// What begins markup in a template.
pub(crate) const MARKUP: [&str; 3] = ["{secret:", "{base64:", "{quoted:"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_cannot_smuggle_markup_into_a_template() {
        assert_eq!(literal("ada@example.com").unwrap(), "ada@example.com");
        assert_eq!(literal("{ada").unwrap(), "{ada");
        for smuggled in ["a}", "{secret:other", "{base64:x"] {
            assert_eq!(literal(smuggled).unwrap_err().class, ErrorClass::Config, "{smuggled}");
        }
    }
}
