//! Addresses: where a link of the system's leads, and whether that is still the system.

use throughline_plugin_sdk::{Error, ErrorClass, Result};

/// `https://host:port` of an absolute http address, in lower case; none for anything else.
pub(crate) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    let plain = !authority.contains(['@', ' ', '{', '}']) && (scheme == "http" || scheme == "https");
    let default = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.to_ascii_lowercase();
    plain.then(|| format!("{scheme}://{}", authority.strip_suffix(default).unwrap_or(&authority)))
}

/// Everything after the origin; `/` if there is nothing.
pub(crate) fn path_and_query(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find(['/', '?']).map_or("/", |at| &rest[at..])
}

/// Where a link leads, seen from `current`. A link to another system is refused: our credentials would go with the request.
pub(crate) fn follow(base_url: &str, current: &str, link: &str) -> Result<String> {
    let link = link.trim();
    let current_origin = origin(current).ok_or_else(|| foreign(current))?;
    let absolute = if link.contains("://") {
        link.to_owned()
    } else if let Some(rest) = link.strip_prefix("//") {
        format!("{}://{rest}", current_origin.split("://").next().unwrap_or_default())
    } else if link.starts_with('/') {
        format!("{current_origin}{link}")
    } else {
        let whole = current.split('#').next().unwrap_or(current);
        let path = whole.split('?').next().unwrap_or(whole);
        let folder = path_and_query(path).rsplit_once('/').map_or("", |(folder, _)| folder);
        if link.starts_with('?') { format!("{path}{link}") } else { format!("{current_origin}{folder}/{link}") }
    };
    if origin(&absolute).is_none() || origin(&absolute) != origin(base_url) {
        return Err(foreign(&absolute));
    }
    // A brace in the system's link is never our markup.
    Ok(absolute.replace('{', "%7B").replace('}', "%7D"))
}

/// The address of relation `next` in a Link header (RFC 8288).
pub(crate) fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(open) = rest.find('<') {
        let (target, after) = rest[open + 1..].split_once('>')?;
        let end = end_of_parameters(after);
        if after[..end].split(';').any(is_next) {
            return Some(target.to_owned());
        }
        rest = &after[end..];
    }
    None
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("rel")
        && value.trim().trim_matches('"').split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
}

/// Where this link's parameters end: at a comma outside of quotation marks.
fn end_of_parameters(text: &str) -> usize {
    let mut quoted = false;
    for (at, char) in text.char_indices() {
        match char {
            '"' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn foreign(link: &str) -> Error {
    let shown: String = link.chars().filter(|char| !char.is_control()).take(200).collect();
    Error::new(ErrorClass::Config, format!("the system's link to the next page leads to another system: {shown}")).with_field("base_url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let table = [
            ("https://A.example/x", Some("https://a.example")),
            ("https://a.example:443", Some("https://a.example")),
            ("http://a.example:443?x", Some("http://a.example:443")),
            ("http://127.0.0.1:8090/api", Some("http://127.0.0.1:8090")),
            ("ftp://a.example", None),
            ("https://user:pw@a.example", None),
            ("a.example", None),
            ("https://", None),
            ("", None),
        ];
        for (url, wanted) in table {
            assert_eq!(origin(url).as_deref(), wanted, "{url}");
        }
        assert_eq!(path_and_query("https://a.example"), "/");
        assert_eq!(path_and_query("https://a.example/x?y=/z"), "/x?y=/z");
    }

    #[test]
    fn a_link_is_followed_within_the_system_only() {
        let (base, current) = ("https://a.example/api", "https://a.example/api/v2/items?page=1");
        let table = [
            ("https://a.example/api/v2/items?page=2", Some("https://a.example/api/v2/items?page=2")),
            ("https://A.EXAMPLE:443/x", Some("https://A.EXAMPLE:443/x")),
            ("/api/v2/items?page=2", Some("https://a.example/api/v2/items?page=2")),
            ("?page=2", Some("https://a.example/api/v2/items?page=2")),
            ("items?page=2", Some("https://a.example/api/v2/items?page=2")),
            ("/x?a={secret:api_token}", Some("https://a.example/x?a=%7Bsecret:api_token%7D")),
            ("https://evil.example/api", None),
            ("http://a.example/api", None),
            ("//evil.example/x", None),
            ("https://a.example@evil.example/", None),
            ("javascript://a.example/", None),
        ];
        for (link, wanted) in table {
            assert_eq!(follow(base, current, link).ok().as_deref(), wanted, "{link}");
        }
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        let table = [
            (r#"<https://a/x?page=2>; rel="next", <https://a/x?page=9>; rel="last""#, Some("https://a/x?page=2")),
            (r#"<https://a/x?page=1,2>; rel="prev"; title="a, b", </x?page=3>; rel=next"#, Some("/x?page=3")),
            (r#"<https://a/first>; rel="first next""#, Some("https://a/first")),
            (r#"<https://a/x>; rel="last""#, None),
            ("<unfinished", None),
            ("", None),
        ];
        for (header, wanted) in table {
            assert_eq!(next_link(header).as_deref(), wanted, "{header}");
        }
    }
}
