//! From an identifier as a silo writes it to the canonical key that is compared.
//!
//! Knows no store and no connection; the region that national phone numbers need is handed in. The raw form is kept beside the
//! canonical one, because it is what is sent to.

use std::fmt;

use throughline_schemas::{IdentityType, Sharing};

use super::{email, phone};

/// Longer than any address or handle in use; what is longer is not an identifier.
const MAX_LENGTH: usize = 320;

/// An identity as it is compared: two of them are the same if and only if all three parts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityKey {
    /// What kind.
    pub kind: IdentityType,
    /// Scope of handles and external ids; empty for phone and mail.
    pub namespace: String,
    /// The canonical value.
    pub value: String,
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if !self.namespace.is_empty() {
            write!(f, ":{}", self.namespace)?;
        }
        write!(f, ":{}", self.value)
    }
}

/// A canonical key with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// The canonical key.
    pub key: IdentityKey,
    /// As it arrived, without surrounding blanks: what is sent to.
    pub raw: String,
    /// Whether one person alone uses it, as far as the value itself tells.
    pub sharing: Sharing,
}

/// Why a text gives no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NormaliseError {
    /// There is none: empty, `anonymous`, `unknown`, `restricted`.
    #[error("the identifier is withheld")]
    Withheld,
    /// A placeholder that many records carry: `-1`, `000000`, `none@none.com`.
    #[error("the identifier is a placeholder that many records share")]
    Blocked,
    /// It is no identifier of this kind.
    #[error("{detail}")]
    Malformed {
        /// What is wrong and what would be right.
        detail: String,
    },
}

impl NormaliseError {
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed { detail: detail.into() }
    }
}

/// The canonical form of an identifier. `region` (ISO 3166, two letters) says how national phone numbers are meant.
pub fn normalise(kind: IdentityType, namespace: &str, raw: &str, region: Option<&str>) -> Result<Normalised, NormaliseError> {
    let raw = raw.trim();
    if raw.is_empty() {
        return Err(NormaliseError::Withheld);
    }
    if raw.len() > MAX_LENGTH {
        return Err(NormaliseError::malformed(format!("an identifier has at most {MAX_LENGTH} bytes, this has {}", raw.len())));
    }
    if raw.chars().any(char::is_control) {
        return Err(NormaliseError::malformed("an identifier has no control characters"));
    }
    let (namespace, value, sharing) = match kind {
        IdentityType::Phone => {
            let phone = phone::canonical(raw, region)?;
            (String::new(), phone.value, phone.sharing)
        }
        IdentityType::Email => {
            let email = email::canonical(raw)?;
            (String::new(), email.value, email.sharing)
        }
        IdentityType::Handle | IdentityType::External => (scope(kind, namespace)?, raw.to_owned(), Sharing::Exclusive),
    };
    Ok(Normalised { key: IdentityKey { kind, namespace, value }, raw: raw.to_owned(), sharing })
}

fn scope(kind: IdentityType, namespace: &str) -> Result<String, NormaliseError> {
    let namespace = namespace.trim();
    if namespace.is_empty() {
        let kind = kind.as_str();
        return Err(NormaliseError::malformed(format!("a {kind} identity needs a namespace: whose {kind} is it?")));
    }
    Ok(namespace.to_owned())
}

/// Why a look-up text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no look-up: {detail}; write phone:+441632960123, email:ada@example.com, handle:NAMESPACE:NAME or external:NAMESPACE:ID"
)]
pub struct QueryError {
    /// What was given, cut to a readable length.
    pub given: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

/// Reads `phone:+44…`, `email:a@b`, `handle:namespace:name`, `external:namespace:id` into kind, namespace and raw value.
///
/// A namespace may hold colons itself (a connection and an entity), so the last colon divides it from the value.
pub fn parse_query(text: &str) -> Result<(IdentityType, String, String), QueryError> {
    let fail = |detail| QueryError { given: text.chars().take(80).collect(), detail };
    let (kind, rest) = text.trim().split_once(':').ok_or_else(|| fail("there is no colon after the kind"))?;
    let kind = match kind.trim().to_ascii_lowercase().as_str() {
        "phone" | "tel" => IdentityType::Phone,
        "email" | "mailto" => IdentityType::Email,
        "handle" => IdentityType::Handle,
        "external" => IdentityType::External,
        _ => return Err(fail("the kind is none of phone, email, handle, external")),
    };
    let (namespace, value) = match kind {
        IdentityType::Phone | IdentityType::Email => ("", rest),
        _ => rest.rsplit_once(':').ok_or_else(|| fail("a handle or external id needs a namespace"))?,
    };
    let (namespace, value) = (namespace.trim(), value.trim());
    if value.is_empty() {
        return Err(fail("there is no value after the colon"));
    }
    // In a URL's query an unescaped plus arrives as a blank, which trimming took away.
    let value = if kind == IdentityType::Phone && rest.starts_with(' ') { format!("+{value}") } else { value.to_owned() };
    Ok((kind, namespace.to_owned(), value))
}
