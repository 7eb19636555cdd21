//! Reads and judges a plugin's manifest, and holds it against what the component really imports and exports. Runs nothing.

use std::collections::BTreeSet;

use serde_json::Value;
use throughline_domain::connector::{InstalledPlugin, PluginError};
use throughline_schemas::WIT_VERSIONS;
use throughline_schemas::manifest::{AuthMethod, MANIFEST_SECTION, Manifest};

use crate::compiled::digest_of;
use crate::grants::Pattern;
use crate::keys::PublicKey;
use crate::signature;
use crate::surface::{self, Surface};
use crate::trust::PluginTrust;

const KINDS: &[&str] = &["pbx", "email", "crm", "sms", "social", "chat", "kb", "helpdesk"];
const TRANSPORTS: &[&str] = &["http", "tls", "tcp", "websocket"];
const LONGEST_NAME: usize = 64;

/// What can be known of a component without compiling or running it.
pub type Inspection = InstalledPlugin;

/// A component's inspection with the key that signed it.
pub(crate) struct Examined {
    pub(crate) plugin: InstalledPlugin,
    pub(crate) signer: Option<PublicKey>,
}

/// Reads manifest, imports, exports and signature out of a component's bytes and refuses what does not fit together.
pub fn inspect(component: &[u8]) -> Result<Inspection, PluginError> {
    inspect_with(component, &PluginTrust::default())
}

/// As [`inspect`], and refuses what a hub with this trust does not take.
pub fn inspect_with(component: &[u8], trust: &PluginTrust) -> Result<Inspection, PluginError> {
    examine(component, trust).map(|examined| examined.plugin)
}

pub(crate) fn examine(component: &[u8], trust: &PluginTrust) -> Result<Examined, PluginError> {
    let surface = surface::read(component)?;
    // Before anything in the component is believed.
    let signer = signature::signer(component)?;
    trust.admit(signer.as_ref())?;
    let Some(section) = &surface.manifest else {
        return Err(error("", format!("the component has no custom section {MANIFEST_SECTION:?}")));
    };
    let manifest = parse(section)?;
    validate(&manifest)?;
    agree(&manifest, &surface)?;
    let plugin = InstalledPlugin {
        manifest,
        digest: digest_of(component),
        exports: surface.exports.into_iter().collect(),
        imports: surface.imports.into_iter().collect(),
        signed_by: signer.as_ref().map(|key| trust.in_words(key)),
    };
    Ok(Examined { plugin, signer })
}

fn error(pointer: impl Into<String>, detail: impl Into<String>) -> PluginError {
    PluginError::Manifest { pointer: pointer.into(), detail: detail.into() }
}

/// Parses the section, naming the place of whatever does not belong.
fn parse(section: &[u8]) -> Result<Manifest, PluginError> {
    let value: Value = serde_json::from_slice(section).map_err(|fault| error("", format!("it is not JSON: {fault}")))?;
    // A manifest of another WIT version may have fields we do not know: say that first.
    if let Some(wit) = value.get("wit").and_then(Value::as_str)
        && !WIT_VERSIONS.contains(&wit)
    {
        return Err(surface::wit_version(wit));
    }
    serde_path_to_error::deserialize(value).map_err(|fault| error(pointer(fault.path()), fault.inner().to_string()))
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// Checks everything that the types do not say.
fn validate(manifest: &Manifest) -> Result<(), PluginError> {
    check_name(&manifest.name)?;
    semver::Version::parse(&manifest.version)
        .map_err(|fault| error("/version", format!("{:?} is not a semantic version: {fault}", manifest.version)))?;
    if manifest.kinds.is_empty() {
        return Err(error("/kinds", format!("name at least one of {}", KINDS.join(", "))));
    }
    check_words("/kinds", &manifest.kinds, KINDS)?;
    check_words("/capabilities/transports", &manifest.capabilities.transports, TRANSPORTS)?;
    for (index, host) in manifest.capabilities.hosts.iter().enumerate() {
        Pattern::parse(host).map_err(|fault| error(format!("/capabilities/hosts/{index}"), format!("{host:?}: {fault}")))?;
    }
    check_schema("/config", &manifest.config)?;
    if manifest.config.get("type") != Some(&Value::String("object".to_owned())) {
        return Err(error("/config/type", "the config must be an object: \"type\": \"object\""));
    }
    check_auth(manifest)?;
    check_budgets(manifest)?;
    for (name, action) in &manifest.actions {
        check_schema(&format!("/actions/{name}/input"), &action.input)?;
        check_schema(&format!("/actions/{name}/output"), &action.output)?;
    }
    check_entities(manifest)
}

fn check_name(name: &str) -> Result<(), PluginError> {
    let good = (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if good {
        return Ok(());
    }
    Err(error(
        "/name",
        format!("{name:?} is not a plugin name: lower-case letters, digits and hyphens, a letter first, {LONGEST_NAME} at most"),
    ))
}

fn check_words(pointer: &str, words: &[String], known: &[&str]) -> Result<(), PluginError> {
    match words.iter().position(|word| !known.contains(&word.as_str())) {
        Some(index) => Err(error(format!("{pointer}/{index}"), format!("{:?} is not one of {}", words[index], known.join(", ")))),
        None => Ok(()),
    }
}

fn check_schema(pointer: &str, schema: &Value) -> Result<(), PluginError> {
    jsonschema::draft202012::meta::validate(schema)
        .map_err(|fault| error(format!("{pointer}{}", fault.instance_path()), format!("not a JSON Schema 2020-12: {fault}")))?;
    // Finds references that lead nowhere; ours has no means to fetch remote ones, which is as it should be.
    jsonschema::draft202012::new(schema).map(drop).map_err(|fault| error(pointer, format!("not a usable JSON Schema: {fault}")))
}

fn check_auth(manifest: &Manifest) -> Result<(), PluginError> {
    for (index, method) in manifest.auth.iter().enumerate() {
        let AuthMethod::Oauth2 { authorize_url, token_url, .. } = method else { continue };
        for (name, url) in [("authorize_url", authorize_url), ("token_url", token_url)] {
            let good = url.starts_with("https://") || url.starts_with("http://") || url.starts_with("{config.");
            if !good {
                return Err(error(format!("/auth/{index}/{name}"), format!("{url:?} is not a URL of http or https")));
            }
        }
    }
    // The origin of a token URL is a host pattern like any other.
    for host in manifest.hosts_asked() {
        Pattern::parse(&host).map_err(|fault| error("/auth", format!("token_url: {host:?}: {fault}")))?;
    }
    Ok(())
}

fn check_budgets(manifest: &Manifest) -> Result<(), PluginError> {
    let mut names = BTreeSet::new();
    for (index, budget) in manifest.rate_budgets.iter().enumerate() {
        let at = |field: &str| format!("/rate_budgets/{index}/{field}");
        if budget.name.is_empty() || !names.insert(budget.name.as_str()) {
            return Err(error(at("name"), format!("{:?} is empty or there twice", budget.name)));
        }
        if !["connection", "account"].contains(&budget.scope.as_str()) {
            return Err(error(at("scope"), format!("{:?} is not one of connection, account", budget.scope)));
        }
        if budget.requests == 0 {
            return Err(error(at("requests"), "no request could ever be made"));
        }
        if budget.per_seconds == 0 {
            return Err(error(at("per_seconds"), "a window of no length limits nothing"));
        }
    }
    Ok(())
}

fn check_entities(manifest: &Manifest) -> Result<(), PluginError> {
    let mut names = BTreeSet::new();
    for (index, entity) in manifest.entities.iter().enumerate() {
        if entity.name.is_empty() || !names.insert(entity.name.as_str()) {
            return Err(error(format!("/entities/{index}/name"), format!("{:?} is empty or there twice", entity.name)));
        }
    }
    Ok(())
}

/// Refuses a manifest that says other things than the component does.
fn agree(manifest: &Manifest, surface: &Surface) -> Result<(), PluginError> {
    if surface.versions.iter().any(|version| *version != manifest.wit) {
        let found = surface.versions.iter().cloned().collect::<Vec<_>>().join(", ");
        return Err(PluginError::Mismatch(format!("the manifest says WIT {}, the component was built with {found}", manifest.wit)));
    }
    agree_on_transports(manifest, surface)?;
    agree_on_exports(manifest, surface)
}

fn agree_on_transports(manifest: &Manifest, surface: &Surface) -> Result<(), PluginError> {
    let declared = |transport: &str| manifest.capabilities.transports.iter().any(|each| each == transport);
    let streams = ["tls", "tcp", "websocket"].iter().any(|transport| declared(transport));
    let cases =
        [("http", declared("http"), "the transport \"http\""), ("net", streams, "one of the transports \"tls\", \"tcp\", \"websocket\"")];
    for (interface, is_declared, transport) in cases {
        match (surface.imports.contains(interface), is_declared) {
            (true, false) => return Err(PluginError::Mismatch(format!("it imports {interface} but does not declare {transport}"))),
            (false, true) => return Err(PluginError::Mismatch(format!("it declares {transport} but does not import {interface}"))),
            _ => {}
        }
    }
    for host in &manifest.capabilities.hosts {
        let scheme = Pattern::parse(host).ok().and_then(|pattern| pattern.scheme());
        if let Some(transport) = scheme.map(crate::grants::Scheme::transport)
            && !declared(transport)
        {
            return Err(PluginError::Mismatch(format!("it asks for the host {host:?} but does not declare the transport {transport:?}")));
        }
    }
    Ok(())
}

fn agree_on_exports(manifest: &Manifest, surface: &Surface) -> Result<(), PluginError> {
    let exports = |interface: &str| surface.exports.contains(interface);
    for entity in &manifest.entities {
        if entity.readable && !exports("source") {
            return Err(PluginError::Mismatch(format!("it declares {:?} readable but does not export source", entity.name)));
        }
        let writable = entity.writes.create || entity.writes.update || entity.writes.delete;
        if writable && !exports("sink") {
            return Err(PluginError::Mismatch(format!("it declares {:?} writable but does not export sink", entity.name)));
        }
    }
    let channel = !manifest.channels.is_empty() || !manifest.actions.is_empty();
    if channel && !exports("channel") {
        return Err(PluginError::Mismatch("it declares channels or actions but does not export channel".to_owned()));
    }
    Ok(())
}
