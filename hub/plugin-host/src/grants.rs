//! Which hosts a connection may reach: what the manifest asks for AND what the admin granted, with `{config.field}` resolved.
//!
//! Grammar: `scheme://host[:port]`, scheme one of `https http wss ws tls tcp`; the host a name, an address, `*.suffix` or
//! `{config.field}`; the port a number or `{config.field}`, needed for `tls` and `tcp`. `{config.field}` alone stands for a whole URL
//! in the config, of which scheme, host and port count. `tcp` covers STARTTLS. Default is deny; there is no bare `*`.
//!
//! This module compares names only; which address a name may lead to is [`address`](crate::address)'s affair.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;
use throughline_domain::connector::{Grants, PluginError};
use throughline_schemas::manifest::Manifest;
use url::{Host, Url};

/// How a connector talks to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Https,
    Http,
    Wss,
    Ws,
    Tls,
    Tcp,
}

impl Scheme {
    const ALL: [Self; 6] = [Self::Https, Self::Http, Self::Wss, Self::Ws, Self::Tls, Self::Tcp];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Wss => "wss",
            Self::Ws => "ws",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// The manifest's word for it in `capabilities.transports`.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Https | Self::Http => "http",
            Self::Wss | Self::Ws => "websocket",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    pub(crate) fn default_port(self) -> Option<u16> {
        match self {
            Self::Https | Self::Wss => Some(443),
            Self::Http | Self::Ws => Some(80),
            Self::Tls | Self::Tcp => None,
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Wss | Self::Tls)
    }
}

/// Where a connector wants to go. The host is in its canonical form, so that `127.1` and `0x7f000001` are what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn new(scheme: Scheme, host: &str, port: u16) -> Result<Self, String> {
        Ok(Self { scheme, host: canonical_host(host)?, port })
    }

    pub(crate) fn of_url(url: &Url) -> Result<Self, String> {
        let scheme = Scheme::parse(url.scheme()).ok_or_else(|| format!("the scheme {:?} is not one a connector can use", url.scheme()))?;
        let host = url.host_str().ok_or("the URL has no host")?;
        let port = url.port().or(scheme.default_port()).ok_or("the URL has no port")?;
        Self::new(scheme, host, port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.scheme.default_port() == Some(self.port) {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

/// Parses a host as browsers do, without a final dot.
pub(crate) fn canonical_host(host: &str) -> Result<Host, String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare_v6 = host.parse::<std::net::Ipv6Addr>().ok().map(Host::Ipv6);
    if host.is_empty() || host.contains(['*', '{', '}', '@']) {
        return Err(format!("{host:?} is not a host name"));
    }
    bare_v6.map_or_else(|| Host::parse(host).map_err(|error| format!("{host:?} is not a host name: {error}")), Ok)
}

/// A host pattern as a manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Url { field: String },
    Parts { scheme: Scheme, host: HostPart, port: PortPart },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPart {
    Exact(Host),
    /// `.suffix`, with its leading dot.
    Suffix(String),
    Field(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortPart {
    Number(u16),
    Field(String),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(field) = placeholder(text) {
            return Ok(Self::Url { field: field.to_owned() });
        }
        let (scheme, rest) = text.split_once("://").ok_or("it must look like scheme://host[:port]")?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| format!("{scheme:?} is not one of https, http, wss, ws, tls, tcp"))?;
        if rest.contains(['/', '?', '#', '@']) {
            return Err("only scheme, host and port count: no path, query or user".to_owned());
        }
        let (host, port) = split_port(rest);
        let port = match port {
            Some(port) => parse_port(port)?,
            None => PortPart::Number(scheme.default_port().ok_or_else(|| format!("{}:// needs a port", scheme.as_str()))?),
        };
        Ok(Self::Parts { scheme, host: parse_host(host)?, port })
    }

    /// The scheme, where the pattern itself says it.
    pub(crate) fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Url { .. } => None,
            Self::Parts { scheme, .. } => Some(*scheme),
        }
    }

    /// The pattern with the config's values; none if the config leaves a field out.
    fn resolve(&self, config: &ConfigView<'_>) -> Result<Option<Rule>, String> {
        match self {
            Self::Url { field } => config.text(field)?.map(|url| rule_of_url(field, &url)).transpose(),
            Self::Parts { scheme, host, port } => {
                let host = match host {
                    HostPart::Exact(host) => Some(RuleHost::Exact(host.clone())),
                    HostPart::Suffix(suffix) => Some(RuleHost::Suffix(suffix.clone())),
                    HostPart::Field(field) => config.text(field)?.map(|host| canonical_host(&host)).transpose()?.map(RuleHost::Exact),
                };
                let port = match port {
                    PortPart::Number(port) => Some(*port),
                    PortPart::Field(field) => config.text(field)?.map(|port| port_number(&port)).transpose()?,
                };
                Ok(host.zip(port).map(|(host, port)| Rule { scheme: *scheme, host, port }))
            }
        }
    }
}

fn rule_of_url(field: &str, url: &str) -> Result<Rule, String> {
    let url = Url::parse(url).map_err(|error| format!("config field {field} is not a URL: {error}"))?;
    let Target { scheme, host, port } = Target::of_url(&url)?;
    Ok(Rule { scheme, host: RuleHost::Exact(host), port })
}

fn placeholder(text: &str) -> Option<&str> {
    let field = text.strip_prefix("{config.")?.strip_suffix('}')?;
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    field.split('.').all(is_name).then_some(field)
}

// A placeholder holds no colon and an IPv6 address stands in brackets, so that the port follows the last colon outside them.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_brackets..].rfind(':') {
        Some(at) => (&text[..after_brackets + at], Some(&text[after_brackets + at + 1..])),
        None => (text, None),
    }
}

fn parse_port(text: &str) -> Result<PortPart, String> {
    match placeholder(text) {
        Some(field) => Ok(PortPart::Field(field.to_owned())),
        None => port_number(text).map(PortPart::Number),
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{text:?} is not a port number"))
}

fn parse_host(text: &str) -> Result<HostPart, String> {
    if let Some(field) = placeholder(text) {
        return Ok(HostPart::Field(field.to_owned()));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return match canonical_host(suffix)? {
            Host::Domain(domain) if domain.contains('.') => Ok(HostPart::Suffix(format!(".{domain}"))),
            _ => Err(format!("*.{suffix} is too wide: the suffix must be a domain of at least two labels")),
        };
    }
    if text.contains('*') {
        return Err("a wildcard stands only at the start, as in *.example.com; a bare * is refused".to_owned());
    }
    canonical_host(text).map(HostPart::Exact)
}

/// The connection's config, with the schema's defaults for what it leaves out.
struct ConfigView<'a> {
    config: &'a Value,
    schema: &'a Value,
}

impl ConfigView<'_> {
    fn text(&self, field: &str) -> Result<Option<String>, String> {
        let pointer = format!("/{}", field.replace('.', "/"));
        let default = format!("/properties/{}/default", field.replace('.', "/properties/"));
        let value = self.config.pointer(&pointer).filter(|value| !value.is_null()).or_else(|| self.schema.pointer(&default));
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(format!("config field {field} is neither text nor number, so no host can be made of it")),
        }
    }
}

/// The text with each `{config.field}` replaced by the connection's config; none if the config leaves a field out.
pub(crate) fn filled(template: &str, manifest: &Manifest, config: &Value) -> Result<Option<String>, String> {
    const START: &str = "{config.";
    let view = ConfigView { config, schema: &manifest.config };
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find(START) {
        let end = rest[at..].find('}').ok_or("a placeholder lacks its closing brace")? + at + 1;
        let field = placeholder(&rest[at..end]).ok_or_else(|| format!("{:?} is not a placeholder", &rest[at..end]))?;
        let Some(value) = view.text(field)? else { return Ok(None) };
        out.push_str(&rest[..at]);
        rest = &rest[end..];
        // Whoever writes a base URL may end it with a slash or not.
        out.push_str(if rest.starts_with('/') { value.trim_end_matches('/') } else { &value });
    }
    out.push_str(rest);
    Ok(Some(out))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    scheme: Scheme,
    host: RuleHost,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RuleHost {
    Exact(Host),
    Suffix(String),
}

impl Rule {
    fn covers(&self, target: &Target) -> bool {
        self.scheme == target.scheme
            && self.port == target.port
            && match (&self.host, &target.host) {
                (RuleHost::Exact(host), wanted) => host == wanted,
                (RuleHost::Suffix(suffix), Host::Domain(domain)) => domain.ends_with(suffix.as_str()),
                (RuleHost::Suffix(_), _) => false,
            }
    }
}

/// What one connection may reach.
#[derive(Debug, Clone)]
pub(crate) struct Reachable {
    granted: Vec<Rule>,
    /// Asked for by the manifest, in the manifest's words: to name the grant that is missing.
    asked: Vec<(String, Rule)>,
    private_hosts: BTreeSet<String>,
    /// Names are not compared; addresses are judged all the same.
    any_host: bool,
}

impl Reachable {
    /// Resolves what was granted; refuses grants that go beyond the manifest.
    pub(crate) fn resolve(manifest: &Manifest, grants: &Grants, config: &Value) -> Result<Self, PluginError> {
        let asked = manifest.hosts_asked();
        if let Some(beyond) = grants.hosts.iter().find(|host| !asked.contains(host)) {
            return Err(PluginError::Grants(format!("{beyond:?} is not among the hosts the plugin asks for ({})", listed(&asked))));
        }
        let config = ConfigView { config, schema: &manifest.config };
        let mut reachable = Self { granted: Vec::new(), asked: Vec::new(), private_hosts: private_hosts(grants)?, any_host: false };
        for text in &asked {
            let rule = Pattern::parse(text).and_then(|pattern| pattern.resolve(&config));
            let Some(rule) = rule.map_err(|detail| PluginError::Grants(format!("host pattern {text:?}: {detail}")))? else { continue };
            if manifest.capabilities.hosts.contains(text) {
                check_transport(manifest, text, &rule)?;
            }
            if grants.hosts.contains(text) {
                reachable.granted.push(rule.clone());
            }
            reachable.asked.push((text.clone(), rule));
        }
        Ok(reachable)
    }

    /// Any public host, and these private ones: for what the hub itself sends where its admin tells it to.
    pub(crate) fn anywhere(hosts: &[String]) -> Result<Self, PluginError> {
        let private_hosts = private_hosts(&Grants { hosts: Vec::new(), private_hosts: hosts.to_vec() })?;
        Ok(Self { granted: Vec::new(), asked: Vec::new(), private_hosts, any_host: true })
    }

    pub(crate) fn allows(&self, target: &Target) -> bool {
        self.any_host || self.granted.iter().any(|rule| rule.covers(target))
    }

    /// The line of configuration that would allow the target.
    pub(crate) fn missing_grant(&self, target: &Target) -> String {
        match self.asked.iter().find(|(_, rule)| rule.covers(target)) {
            Some((pattern, _)) => format!("grants.hosts: {pattern:?}"),
            None => format!("manifest capabilities.hosts and grants.hosts: {:?}", target.to_string()),
        }
    }

    /// Whether the admin said that this host, or this very address, may be a private one.
    pub(crate) fn allows_private(&self, host: &str) -> bool {
        self.private_hosts.contains(host)
    }
}

fn listed(asked: &[String]) -> String {
    if asked.is_empty() { "none".to_owned() } else { asked.join(", ") }
}

fn private_hosts(grants: &Grants) -> Result<BTreeSet<String>, PluginError> {
    let canonical = |host: &String| canonical_host(host.trim_start_matches('[').trim_end_matches(']')).map(|host| bare(&host));
    grants.private_hosts.iter().map(canonical).collect::<Result<_, _>>().map_err(PluginError::Grants)
}

/// The host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &Host) -> String {
    match host {
        Host::Domain(domain) => domain.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

// A pattern that is a whole URL from the config says its scheme only now.
fn check_transport(manifest: &Manifest, pattern: &str, rule: &Rule) -> Result<(), PluginError> {
    let transport = rule.scheme.transport();
    if manifest.capabilities.transports.iter().any(|declared| declared == transport) {
        return Ok(());
    }
    Err(PluginError::Grants(format!(
        "host pattern {pattern:?} resolves to {}://, but the plugin does not ask for the transport {transport:?}",
        rule.scheme.as_str()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(hosts: &[&str]) -> Manifest {
        serde_json::from_value(json!({
            "name": "x", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "x", "kinds": ["crm"],
            "config": {"properties": {"port": {"default": 993}}},
            "capabilities": {"hosts": hosts, "transports": ["http", "tls", "tcp", "websocket"]},
        }))
        .unwrap()
    }

    fn reachable(hosts: &[&str], config: Value) -> Result<Reachable, PluginError> {
        let grants = Grants { hosts: hosts.iter().map(ToString::to_string).collect(), private_hosts: vec![] };
        Reachable::resolve(&manifest(hosts), &grants, &config)
    }

    #[test]
    fn a_template_takes_its_values_from_the_config() {
        let manifest = manifest(&[]);
        let config = json!({"host": "x.com", "base": "https://x.com/api/"});
        let cases = [
            ("https://{config.host}:{config.port}/a", Ok(Some("https://x.com:993/a"))),
            ("{config.base}/a", Ok(Some("https://x.com/api/a"))),
            ("{config.base}", Ok(Some("https://x.com/api/"))),
            ("https://{config.absent}/", Ok(None)),
            ("plain {braces}", Ok(Some("plain {braces}"))),
            ("{config.host", Err(())),
            ("{config.a b}", Err(())),
        ];
        for (template, expected) in cases {
            let filled = filled(template, &manifest, &config);
            assert_eq!(filled.as_ref().map(|text| text.as_deref()).map_err(|_| ()), expected, "{template}");
        }
    }

    fn allowed(pattern: &str, config: Value, url: &str) -> bool {
        let (scheme, rest) = url.split_once("://").unwrap();
        let scheme = Scheme::parse(scheme).unwrap();
        let (host, port) = split_port(rest);
        let port = port.map_or(scheme.default_port().unwrap_or(1), |port| port.parse().unwrap());
        reachable(&[pattern], config).unwrap().allows(&Target::new(scheme, host, port).unwrap())
    }

    #[test]
    fn patterns_cover_exactly_what_they_say() {
        let cases = [
            ("https://api.x.com", "https://api.x.com", true),
            ("https://api.x.com", "https://API.X.com:443", true),
            ("https://api.x.com", "https://api.x.com.", true),
            ("https://api.x.com", "http://api.x.com", false),
            ("https://api.x.com", "https://api.x.com:8443", false),
            ("https://api.x.com", "https://api.x.com.evil.com", false),
            ("https://api.x.com", "wss://api.x.com", false),
            ("https://*.x.com:8443", "https://a.b.x.com:8443", true),
            ("https://*.x.com:8443", "https://x.com:8443", false),
            ("https://*.x.com:8443", "https://evilx.com:8443", false),
            ("https://127.0.0.1", "https://0x7f.1", true),
            ("https://[::1]:8443", "https://[::1]:8443", true),
            ("tls://imap.x.com:993", "tls://imap.x.com:993", true),
            ("tls://imap.x.com:993", "tcp://imap.x.com:993", false),
        ];
        for (pattern, url, expected) in cases {
            assert_eq!(allowed(pattern, json!({}), url), expected, "{pattern} {url}");
        }
    }

    #[test]
    fn placeholders_are_resolved_for_each_connection() {
        let config =
            json!({"host": "imap.example.org", "smtp": {"host": "mx.example.org", "port": 587}, "base": "http://crm.example:8080/api"});
        let cases = [
            ("tls://{config.host}:{config.port}", "tls://imap.example.org:993", true),
            ("tls://{config.host}:{config.port}", "tls://other.example.org:993", false),
            ("tcp://{config.smtp.host}:{config.smtp.port}", "tcp://mx.example.org:587", true),
            ("{config.base}", "http://crm.example:8080", true),
            ("{config.base}", "https://crm.example:8080", false),
            ("https://{config.absent}", "https://anything.example", false),
        ];
        for (pattern, url, expected) in cases {
            assert_eq!(allowed(pattern, config.clone(), url), expected, "{pattern} {url}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let bad = [
            "*",
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "ftp://x.com",
            "x.com",
            "tls://x.com",
            "https://x.com/path",
            "https://u@x.com",
            "https://x.com:0",
            "https://x.com:99999",
            "https://",
            "https://{config.}",
            "https://{env.HOME}",
            "{config.a b}",
        ];
        for pattern in bad {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_config_value_cannot_widen_a_grant() {
        for host in ["*", "*.com", "a.com/..", "x@y", "a b", "{config.host}"] {
            assert!(reachable(&["https://{config.host}"], json!({"host": host})).is_err(), "{host}");
        }
    }

    #[test]
    fn grants_stay_within_the_manifest_and_name_what_is_missing() {
        let manifest = manifest(&["https://a.com", "https://b.com"]);
        let grants = |hosts: &[&str]| Grants { hosts: hosts.iter().map(ToString::to_string).collect(), private_hosts: vec![] };
        assert!(matches!(Reachable::resolve(&manifest, &grants(&["https://c.com"]), &json!({})), Err(PluginError::Grants(_))));
        let reachable = Reachable::resolve(&manifest, &grants(&["https://a.com"]), &json!({})).unwrap();
        let missing = |host| reachable.missing_grant(&Target::new(Scheme::Https, host, 443).unwrap());
        assert_eq!(missing("b.com"), "grants.hosts: \"https://b.com\"");
        assert_eq!(missing("c.com"), "manifest capabilities.hosts and grants.hosts: \"https://c.com\"");
        assert!(!reachable.allows(&Target::new(Scheme::Https, "b.com", 443).unwrap()));
    }
}
