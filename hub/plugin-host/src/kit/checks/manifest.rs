//! What the plugin declares, and what stands beside it.

use serde_json::Value;
use throughline_domain::connector::BoxFuture;
use throughline_schemas::manifest::{AuthMethod, Manifest};

use super::{Check, Extra, Verdict};
use crate::kit::context::Context;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "manifest/valid", needs: &[], run: valid },
    Check { name: "manifest/secrets-marked", needs: &[], run: secrets_marked },
    Check { name: "manifest/breaking-changes", needs: &[], run: breaking_changes },
    Check { name: "manifest/readme", needs: &[], run: readme },
];

fn manifest(context: &Context) -> &Manifest {
    &context.rig.plugin().manifest
}

/// It is loaded, so it is a manifest; beyond that its config schema must be one, and take the kit's config.
fn valid<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let schema = &manifest(context).config;
        let validator = jsonschema::draft202012::new(schema).map_err(|error| format!("config is no JSON Schema 2020-12: {error}"))?;
        if let Some(error) = validator.iter_errors(context.config()).next() {
            return Err(format!("the kit's config does not fit the manifest's schema at {}: {error}", error.instance_path()));
        }
        if schema["additionalProperties"] != Value::Bool(false) {
            return Err("config must say \"additionalProperties\": false, so that a misspelt field is noticed".to_owned());
        }
        if manifest(context).kinds.is_empty() || manifest(context).summary.trim().is_empty() {
            return Err("kinds and summary must not be empty".to_owned());
        }
        Ok(())
    })
}

const SOUNDS_SECRET: &[&str] = &["password", "secret", "token", "api_key", "apikey", "private_key"];

/// A secret is declared in `auth`, or named by a config field marked `x-secret`; it is never a plain config field.
fn secrets_marked<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let manifest = manifest(context);
        let mut marked: Vec<String> = manifest.auth.iter().filter_map(secret_of).collect();
        let no_fields = serde_json::Map::new();
        let fields = manifest.config["properties"].as_object().unwrap_or(&no_fields);
        let mut unmarked = Vec::new();
        collect(fields, &mut marked, &mut unmarked);
        if let Some(field) = unmarked.first() {
            return Err(format!("the config field {field:?} sounds like a secret and is not marked x-secret"));
        }
        let undeclared: Vec<&String> = context.plan.secrets.keys().filter(|name| !marked.contains(name)).collect();
        if !undeclared.is_empty() && !marked.iter().any(|name| name == "*") {
            return Err(format!("the kit needs the secrets {undeclared:?}, which the manifest declares neither in auth nor by x-secret"));
        }
        let short: Vec<&String> = context.plan.secrets.iter().filter(|(_, value)| value.len() < 12).map(|(name, _)| name).collect();
        if !short.is_empty() {
            return Err(format!("the kit's secrets {short:?} are too short to be told from other text: 12 characters at least"));
        }
        Ok(())
    })
}

fn secret_of(method: &AuthMethod) -> Option<String> {
    match method {
        AuthMethod::Basic { secret } | AuthMethod::ApiKey { secret, .. } | AuthMethod::Hmac { secret } => Some(secret.clone()),
        AuthMethod::None {} | AuthMethod::Oauth2 { .. } => None,
    }
}

/// Fields marked `x-secret` hold secrets' names: those they default to, or any if they have no default.
fn collect(fields: &serde_json::Map<String, Value>, marked: &mut Vec<String>, unmarked: &mut Vec<String>) {
    for (name, schema) in fields {
        if schema["x-secret"] == Value::Bool(true) {
            marked.push(schema["default"].as_str().unwrap_or("*").to_owned());
        } else if schema["type"] == "string" && SOUNDS_SECRET.contains(&name.as_str()) && schema["enum"].is_null() {
            unmarked.push(name.clone());
        }
    }
}

/// From 1.0 on a breaking change comes with a major version, before that with a minor one; and none is for a version yet to come.
fn breaking_changes<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let manifest = manifest(context);
        let parse = |text: &str| semver::Version::parse(text).map_err(|error| format!("{text:?} is no version: {error}"));
        let version = parse(&manifest.version)?;
        for (at, text) in &manifest.breaking_changes {
            let change = parse(at)?;
            let is_major = if change.major == 0 { change.patch == 0 } else { change.minor == 0 && change.patch == 0 };
            if !is_major || change > version || !change.pre.is_empty() {
                return Err(format!("a breaking change cannot come with version {at} of a plugin at {version}"));
            }
            if text.trim().is_empty() {
                return Err(format!("the breaking change of {at} is not described"));
            }
        }
        Ok(())
    })
}

/// Section of the README, and how its heading may begin or what it may hold.
const SECTIONS: &[(&str, &[&str])] =
    &[("what it does", &["what it"]), ("configuration", &["config", "set it up"]), ("limits", &["limits", "what it does not"])];

fn readme<'a>(_: &'a Context, extra: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let text = std::fs::read_to_string(&extra.readme).map_err(|error| format!("{}: {error}", extra.readme.display()))?;
        let headings: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(str::to_lowercase).collect();
        for (section, words) in SECTIONS {
            if !headings.iter().any(|heading| words.iter().any(|word| heading.contains(word))) {
                return Err(format!("README.md has no section for {section}: a heading with {}", words.join(" or ")));
            }
        }
        if extra.declared["auth"].as_array().is_some_and(|auth| !auth.is_empty()) && !text.to_lowercase().contains("secret") {
            return Err("README.md does not name the secrets".to_owned());
        }
        Ok(())
    })
}
