//! Whether a request comes from the system: HMAC over a template, a shared token, or nothing if the admin said so in so many words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{HttpRequest, Result, secrets};

use crate::config::{Composite, DeliveryId, Encoding, Signature, Webhook};
use crate::template;

/// A request that is proven.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// What no second request can have, if the signature covers the time.
    pub unique: Option<String>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The proof is missing or wrong.
    Forged,
    /// The proof is right, its time is not.
    Stale,
}

/// Verifies a request.
pub(crate) fn verify(webhook: &Webhook, request: &HttpRequest, now: Timestamp) -> Result<std::result::Result<Proof, Refusal>> {
    match &webhook.signature {
        Signature::None => Ok(Ok(Proof::default())),
        Signature::Token { secret, header, prefix } => {
            let presented =
                super::header(request, header).and_then(|value| value.strip_prefix(prefix.as_str())).filter(|token| !token.is_empty());
            let Some(presented) = presented else { return Ok(Err(Refusal::Forged)) };
            Ok(if secrets::equals(secret, presented.as_bytes())? { Ok(Proof::default()) } else { Err(Refusal::Forged) })
        }
        Signature::HmacSha256 { .. } => hmac(webhook, request, now),
    }
}

/// Whether signatures cover a time.
pub(crate) fn has_time(webhook: &Webhook) -> bool {
    matches!(&webhook.signature, Signature::HmacSha256 { template, timestamp_header, composite, .. }
        if (timestamp_header.is_some() || composite.is_some()) && template.contains("{timestamp}"))
}

fn hmac(webhook: &Webhook, request: &HttpRequest, now: Timestamp) -> Result<std::result::Result<Proof, Refusal>> {
    let Signature::HmacSha256 { secret, header, prefix, encoding, template, timestamp_header, composite, tolerance_seconds } =
        &webhook.signature
    else {
        return Ok(Err(Refusal::Forged));
    };
    let Some(value) = super::header(request, header) else { return Ok(Err(Refusal::Forged)) };
    let timestamp = match composite {
        Some(composite) => part(value, &composite.timestamp).next(),
        None => timestamp_header.as_deref().and_then(|name| super::header(request, name)),
    };
    if has_time(webhook) && timestamp.is_none() {
        return Ok(Err(Refusal::Forged));
    }
    let timestamp = timestamp.unwrap_or_default();
    let delivery = match &webhook.delivery_id {
        Some(DeliveryId::Header(name)) => super::header(request, name).unwrap_or_default(),
        _ => "",
    };
    let body = request.body.as_deref().unwrap_or_default();
    let signed = template::bytes(template, &[("timestamp", timestamp.as_bytes()), ("delivery_id", delivery.as_bytes()), ("body", body)]);
    let expected = secrets::hmac_sha256(secret, &signed)?;
    let Some(presented) = candidates(value, composite.as_ref(), prefix).find(|text| fits(text, *encoding, &expected)) else {
        return Ok(Err(Refusal::Forged));
    };
    if !has_time(webhook) {
        return Ok(Ok(Proof::default()));
    }
    if !is_recent(timestamp, *tolerance_seconds, now) {
        return Ok(Err(Refusal::Stale));
    }
    Ok(Ok(Proof { unique: Some(format!("{timestamp} {}", presented.to_ascii_lowercase())) }))
}

/// The values of one name in `t=…,v1=…`.
fn part<'v>(value: &'v str, name: &'v str) -> impl Iterator<Item = &'v str> {
    value
        .split([',', ' ', ';'])
        .filter_map(|piece| piece.trim().split_once('='))
        .filter(move |(known, _)| *known == name)
        .map(|(_, text)| text)
}

/// The signatures in a header: systems that change their key send two.
fn candidates<'v>(value: &'v str, composite: Option<&'v Composite>, prefix: &'v str) -> Box<dyn Iterator<Item = &'v str> + 'v> {
    match composite {
        Some(composite) => Box::new(part(value, &composite.signature)),
        None => Box::new(value.split([',', ' ']).filter_map(move |piece| piece.trim().strip_prefix(prefix))),
    }
}

fn fits(text: &str, encoding: Encoding, expected: &[u8]) -> bool {
    let bytes = match encoding {
        Encoding::Hex => unhex(text),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    };
    bytes.is_some_and(|bytes| equal(&bytes, expected))
}

/// Takes as long for a wrong first byte as for a wrong last.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0_u8, |difference, (left, right)| difference | (left ^ right)) == 0
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    (pairs.remainder().is_empty() && !digits.is_empty()).then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Seconds since the Unix epoch, or milliseconds if the number can only be that; both ways, because clocks differ.
fn is_recent(timestamp: &str, tolerance_seconds: u64, now: Timestamp) -> bool {
    let Ok(stamp) = timestamp.trim().parse::<i64>() else { return false };
    let millis = if stamp.abs() > 100_000_000_000 { stamp } else { stamp.saturating_mul(1000) };
    now.as_millis().saturating_sub(millis).unsigned_abs() <= tolerance_seconds.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hexadecimal_are_read_in_either_case() {
        let table = [("00fF", Some(vec![0, 255])), ("0", None), ("", None), ("zz", None), ("é0", None)];
        for (text, wanted) in table {
            assert_eq!(unhex(text), wanted, "{text}");
        }
    }

    #[test]
    fn only_equal_bytes_are_equal() {
        assert!(equal(b"abc", b"abc"));
        for (left, right) in [(&b"abc"[..], &b"abd"[..]), (b"abc", b"ab"), (b"", b"a"), (b"xbc", b"abc")] {
            assert!(!equal(left, right));
        }
    }

    #[test]
    fn a_time_is_recent_within_the_tolerance_on_both_sides() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let table = [
            ("1700000000", true),
            ("1699999700", true),
            ("1699999699", false),
            ("1700000301", false),
            ("1700000000123", true),
            ("x", false),
            ("", false),
        ];
        for (stamp, wanted) in table {
            assert_eq!(is_recent(stamp, 300, now), wanted, "{stamp}");
        }
    }

    #[test]
    fn parts_of_a_composite_header_are_found() {
        assert_eq!(part("t=12,v1=ab,v1=cd", "v1").collect::<Vec<_>>(), ["ab", "cd"]);
        assert_eq!(part("t=12, v1=a=b", "v1").next(), Some("a=b"));
        assert_eq!(candidates("v1,AAA= v1,BBB=", None, "").filter(|text| text.len() > 2).collect::<Vec<_>>(), ["AAA=", "BBB="]);
    }
}
