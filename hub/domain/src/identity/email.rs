//! Mail addresses: one canonical form for all spellings that reach the same mailbox.

use throughline_schemas::Sharing;

use super::normalise::NormaliseError;

/// RFC 5321: a local part has at most 64 octets, a domain 255.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 253;

/// Mailboxes that stand for a role (RFC 2142 and use), not for a person.
const ROLES: [&str; 46] = [
    "abuse",
    "accounting",
    "accounts",
    "admin",
    "administrator",
    "billing",
    "buchhaltung",
    "career",
    "careers",
    "compras",
    "contact",
    "contacto",
    "contato",
    "customerservice",
    "einkauf",
    "enquiries",
    "feedback",
    "finance",
    "hello",
    "help",
    "helpdesk",
    "hostmaster",
    "hr",
    "info",
    "inquiries",
    "invoices",
    "jobs",
    "kontakt",
    "legal",
    "mail",
    "marketing",
    "media",
    "news",
    "newsletter",
    "office",
    "orders",
    "postmaster",
    "press",
    "privacy",
    "reception",
    "sales",
    "security",
    "service",
    "support",
    "team",
    "webmaster",
];
/// Senders behind which nobody reads.
const MACHINES: [&str; 9] =
    ["noreply", "donotreply", "mailerdaemon", "bounce", "bounces", "notification", "notifications", "alerts", "automailer"];
/// Words that people type into a mandatory field: `none@none.com`, `test@test.com`.
const PLACEHOLDERS: [&str; 16] =
    ["none", "no", "na", "null", "nil", "test", "unknown", "nobody", "noemail", "nomail", "noreply", "email", "x", "xx", "xxx", "asdf"];
/// Local parts that say by themselves that there is no address.
const NO_ADDRESS: [&str; 5] = ["noemail", "nomail", "noaddress", "emailunknown", "nomailaddress"];

pub(super) struct Email {
    pub(super) value: String,
    pub(super) sharing: Sharing,
}

pub(super) fn canonical(raw: &str) -> Result<Email, NormaliseError> {
    let address = bare_address(raw);
    refuse_words(address)?;
    let (local, domain) = address.rsplit_once('@').ok_or_else(|| NormaliseError::malformed("a mail address has the form name@domain"))?;
    let local = canonical_local(local)?;
    let domain = canonical_domain(domain)?;
    refuse_placeholders(&local, &domain)?;
    let sharing = sharing(&local);
    let (local, domain) = by_provider(&local, &domain);
    if local.is_empty() {
        return Err(NormaliseError::malformed("nothing is left of the mail address before its tag"));
    }
    Ok(Email { value: format!("{local}@{domain}"), sharing })
}

/// The address in `Ada Lovelace <ada@example.com>`, `<ada@example.com>` or `mailto:ada@example.com`.
fn bare_address(raw: &str) -> &str {
    let text = raw.trim();
    let text = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    };
    let text = text.trim();
    let scheme = "mailto:";
    match text.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => &text[scheme.len()..],
        _ => text,
    }
}

/// `<>` is the null return-path: nobody.
fn refuse_words(address: &str) -> Result<(), NormaliseError> {
    match address.to_ascii_lowercase().as_str() {
        "" | "anonymous" | "unknown" | "undisclosed-recipients:;" | "undisclosed recipients:;" | "withheld" => {
            Err(NormaliseError::Withheld)
        }
        "-1" | "-" | "n/a" | "none" | "null" | "0" => Err(NormaliseError::Blocked),
        _ => Ok(()),
    }
}

/// Lower case although RFC 5321 lets a host tell cases apart: none in use does, and people never mean it.
fn canonical_local(local: &str) -> Result<String, NormaliseError> {
    let local = local.trim();
    // Quotes that quote nothing: "ada"@example.com is ada@example.com.
    let unquoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|inner| inner.chars().all(is_atom));
    let local = unquoted.unwrap_or(local);
    if local.is_empty() {
        return Err(NormaliseError::malformed("the mail address has nothing before the @"));
    }
    if local.len() > MAX_LOCAL {
        return Err(NormaliseError::malformed(format!("a mail address has at most {MAX_LOCAL} bytes before the @")));
    }
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    if !quoted && !local.chars().all(is_atom) {
        return Err(NormaliseError::malformed("the mail address has characters before the @ that none may have"));
    }
    Ok(local.to_lowercase())
}

/// Dots in odd places are against the grammar and in use all the same.
fn is_atom(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
}

fn canonical_domain(domain: &str) -> Result<String, NormaliseError> {
    let domain = domain.trim().trim_end_matches('.');
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return domain_literal(literal);
    }
    let ascii =
        idna::domain_to_ascii_strict(domain).map_err(|_| NormaliseError::malformed("the mail address has no valid domain after the @"))?;
    if ascii.is_empty() || ascii.len() > MAX_DOMAIN || !ascii.contains('.') && ascii != "localhost" {
        return Err(NormaliseError::malformed("the domain of a mail address has at least two labels, for instance example.com"));
    }
    Ok(ascii)
}

fn domain_literal(literal: &str) -> Result<String, NormaliseError> {
    let lower = literal.to_ascii_lowercase();
    let address = lower.strip_prefix("ipv6:").unwrap_or(&lower);
    let address: std::net::IpAddr =
        address.parse().map_err(|_| NormaliseError::malformed("the mail address has no valid address in its brackets"))?;
    match address {
        std::net::IpAddr::V4(address) => Ok(format!("[{address}]")),
        std::net::IpAddr::V6(address) => Ok(format!("[ipv6:{address}]")),
    }
}

fn refuse_placeholders(local: &str, domain: &str) -> Result<(), NormaliseError> {
    let word = letters_and_digits(local);
    let host = domain.split('.').next().unwrap_or(domain);
    let said_twice = word == host && PLACEHOLDERS.contains(&word.as_str());
    // RFC 2606: .invalid is for addresses that are meant to be none; SIP writes anonymous@anonymous.invalid.
    if domain.ends_with(".invalid") && word == "anonymous" {
        return Err(NormaliseError::Withheld);
    }
    if said_twice || NO_ADDRESS.contains(&word.as_str()) || domain.ends_with(".invalid") {
        return Err(NormaliseError::Blocked);
    }
    Ok(())
}

fn letters_and_digits(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

fn sharing(local: &str) -> Sharing {
    if is_role(local) { Sharing::Shared } else { Sharing::Exclusive }
}

pub(super) fn is_role(local: &str) -> bool {
    let word = letters_and_digits(local.split('+').next().unwrap_or(local));
    ROLES.contains(&word.as_str()) || MACHINES.contains(&word.as_str())
}

/// What a provider does with dots and tags. Only where it is known: elsewhere `ada+x` may be somebody else.
fn by_provider(local: &str, domain: &str) -> (String, String) {
    let untagged = |mark: char| local.split(mark).next().unwrap_or(local);
    match domain {
        "gmail.com" | "googlemail.com" => (untagged('+').replace('.', ""), "gmail.com".to_owned()),
        "outlook.com" | "hotmail.com" | "live.com" | "msn.com" | "icloud.com" | "me.com" | "mac.com" | "fastmail.com" | "fastmail.fm"
        | "hey.com" | "zoho.com" | "mailbox.org" | "posteo.de" => (untagged('+').to_owned(), domain.to_owned()),
        "proton.me" | "protonmail.com" | "pm.me" => (untagged('+').replace(['.', '-', '_'], ""), "proton.me".to_owned()),
        "yandex.ru" | "yandex.com" | "ya.ru" => (untagged('+').replace('.', "-"), "yandex.ru".to_owned()),
        _ => (local.to_owned(), domain.to_owned()),
    }
}
