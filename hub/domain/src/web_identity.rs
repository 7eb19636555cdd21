//! Signed web identities: what a website says of its signed-in visitor, as a JSON Web Token (RFC 7519), and what of it is believed.
//!
//! Whether the signature holds is found out elsewhere; here stands what RFC 8725 (best practices for JWT) asks beside that: an expiry
//! that is enforced and near, the issuer and audience that were agreed on, and that only verified addresses (OpenID Connect, 5.1) count.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_schemas::{IdentityType, Timestamp};

/// Clocks differ by so much, in seconds.
const LEEWAY: i64 = 60;
/// A token that holds for longer could be used by whoever finds it, in seconds.
const LONGEST: i64 = 24 * 3600;
/// The longest subject, in bytes.
const LONGEST_SUBJECT: usize = 200;

/// How a key signs. A key has exactly one algorithm: whoever presents a token does not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256, by a secret of at least 32 bytes.
    HS256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// RSA-PSS with SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// The claims that are looked at.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// Who it is, as the website calls them.
    #[serde(default)]
    pub sub: Option<String>,
    /// When it stops to hold, in seconds since 1970.
    #[serde(default)]
    pub exp: Option<f64>,
    /// When it begins to hold.
    #[serde(default)]
    pub nbf: Option<f64>,
    /// Who issued it.
    #[serde(default)]
    pub iss: Option<String>,
    /// For whom: a text or a list of texts.
    #[serde(default)]
    pub aud: Option<Value>,
    /// A mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the website has verified it.
    #[serde(default)]
    pub email_verified: Option<bool>,
    /// A phone number.
    #[serde(default)]
    pub phone_number: Option<String>,
    /// Whether the website has verified it.
    #[serde(default)]
    pub phone_number_verified: Option<bool>,
}

/// What was agreed on with the website.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The issuer, if one was named.
    pub issuer: Option<String>,
    /// The audience, if one was named.
    pub audience: Option<String>,
}

/// The identities that the claims prove, best first; or why they prove nothing.
///
/// # Errors
/// Says what is wrong in words for whoever issues the tokens.
pub fn proven(claims: &Claims, agreed: &Agreed, now: Timestamp) -> Result<Vec<(IdentityType, String)>, String> {
    let seconds = now.as_millis() / 1000;
    let expires = claims.exp.ok_or("the token has no exp: it must expire")? as i64;
    if seconds >= expires {
        return Err("the token has expired".to_owned());
    }
    if expires - seconds > LONGEST + LEEWAY {
        return Err("the token holds for longer than a day".to_owned());
    }
    if claims.nbf.is_some_and(|not_before| (not_before as i64) > seconds + LEEWAY) {
        return Err("the token does not hold yet".to_owned());
    }
    if agreed.issuer.is_some() && claims.iss != agreed.issuer {
        return Err("the token is of another issuer".to_owned());
    }
    if let Some(audience) = &agreed.audience
        && !is_for(claims.aud.as_ref(), audience)
    {
        return Err("the token is for another audience".to_owned());
    }
    let subject = claims.sub.as_deref().map(str::trim).filter(|subject| !subject.is_empty() && subject.len() <= LONGEST_SUBJECT);
    let subject = subject.ok_or("the token has no sub, or one of more than 200 bytes")?;
    let mut proven = vec![(IdentityType::External, subject.to_owned())];
    let verified = |value: &Option<String>, is: Option<bool>| value.clone().filter(|_| is == Some(true));
    proven.extend(verified(&claims.email, claims.email_verified).map(|email| (IdentityType::Email, email)));
    proven.extend(verified(&claims.phone_number, claims.phone_number_verified).map(|phone| (IdentityType::Phone, phone)));
    Ok(proven)
}

fn is_for(given: Option<&Value>, wanted: &str) -> bool {
    match given {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn check(claims: Value, wanted: Result<usize, &str>) {
        let agreed = Agreed { issuer: Some("shop".to_owned()), audience: Some("throughline".to_owned()) };
        let read: Claims = serde_json::from_value(claims.clone()).unwrap();
        let found = proven(&read, &agreed, Timestamp::from_millis(NOW * 1000));
        match wanted {
            Ok(count) => assert_eq!(found.as_ref().map(Vec::len), Ok(count), "{claims}: {found:?}"),
            Err(why) => assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{claims}: {found:?}"),
        }
    }

    #[test]
    fn expiry_issuer_audience_and_verified_addresses_are_enforced() {
        let good = || json!({"sub": "u1", "exp": NOW + 60, "iss": "shop", "aud": ["other", "throughline"]});
        let with = |name: &str, value: Value| {
            let mut claims = good();
            claims[name] = value;
            claims
        };
        check(good(), Ok(1));
        check(with("exp", Value::Null), Err("no exp"));
        check(with("exp", json!(NOW)), Err("expired"));
        check(with("exp", json!(NOW + 2 * 86_400)), Err("longer than a day"));
        check(with("nbf", json!(NOW + 600)), Err("not hold yet"));
        check(with("iss", json!("evil")), Err("issuer"));
        check(with("aud", json!("other")), Err("audience"));
        check(with("aud", Value::Null), Err("audience"));
        check(with("sub", json!(" ")), Err("no sub"));
        check(with("email", json!("ada@example.com")), Ok(1));
        let mut verified = with("email", json!("ada@example.com"));
        verified["email_verified"] = json!(true);
        verified["phone_number"] = json!("+447700900101");
        verified["phone_number_verified"] = json!(false);
        check(verified, Ok(2));
    }
}
