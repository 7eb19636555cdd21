//! What our own mail server found of the sender: DMARC verdicts in Authentication-Results (RFC 8601, RFC 7489).
//!
//! Anybody can write such a field. Only those that bear our own server's name count, which that server takes out of mails that come
//! from outside (RFC 8601, section 5); of several the topmost, which was added last.

use throughline_plugin_sdk::schemas::interaction::Authentication;

use super::headers::Headers;
use crate::config::Own;

/// The verdict; none if our server gave none.
pub(super) fn verdict(headers: &Headers<'_>, own: &Own) -> Option<Authentication> {
    let results = headers.all("Authentication-Results").find(|value| own.is_our_server(server(value)))?;
    results.split(';').skip(1).find_map(dmarc)
}

fn server(value: &str) -> &str {
    // The name may be followed by a version.
    value.split(';').next().unwrap_or("").split_whitespace().next().unwrap_or("")
}

fn dmarc(result: &str) -> Option<Authentication> {
    let (method, rest) = result.split_once('=')?;
    if !method.trim().eq_ignore_ascii_case("dmarc") {
        return None;
    }
    match rest.trim_start().split([' ', '\t', '\r', '\n', '(']).next().unwrap_or("").to_ascii_lowercase().as_str() {
        "pass" => Some(Authentication::Passed),
        "fail" => Some(Authentication::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;
    use crate::config::tests::config;

    fn check(header: &str, expected: Option<Authentication>) {
        let raw = format!("From: a@b.test\r\n{header}\r\n\r\nHello\r\n");
        let message = MessageParser::default().parse(raw.as_bytes()).unwrap();
        let config = crate::config::Config { authserv_id: Some("mx.shop.test".to_owned()), ..config() };
        assert_eq!(verdict(&Headers::of(&message), &config.own()), expected, "{header}");
        assert_eq!(verdict(&Headers::of(&message), &crate::config::tests::config().own()), None, "nobody is believed unless named");
    }

    #[test]
    fn only_our_own_servers_word_counts() {
        use Authentication::{Failed, Passed};
        check("Subject: x", None);
        check("Authentication-Results: mx.shop.test; spf=pass; dkim=pass header.d=b.test; dmarc=pass header.from=b.test", Some(Passed));
        check("Authentication-Results: MX.shop.test 1;\r\n dmarc=fail (p=reject) header.from=b.test", Some(Failed));
        check("Authentication-Results: mx.shop.test; dmarc=none; spf=fail", None);
        check("Authentication-Results: mx.shop.test; none", None);
        check("Authentication-Results: evil.test; dmarc=pass", None);
        check("Authentication-Results: evil.test; dmarc=pass\r\nAuthentication-Results: mx.shop.test; dmarc=fail", Some(Failed));
        check("Authentication-Results: mx.shop.test; dmarc=fail\r\nAuthentication-Results: mx.shop.test; dmarc=pass", Some(Failed));
    }
}
