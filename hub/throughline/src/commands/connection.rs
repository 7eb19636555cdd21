//! `throughline connection`: adding, changing, checking, listing, pausing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};
use throughline_engine::{ConnectionView, HealthView, NewConnection};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::CheckReport;

use super::connection_file::{self, Described};
use super::{connection_upkeep, plan, plugin, secrets};
use crate::arguments::{AddConnection, Connection, OneConnection, Remote, SetConnection};
use crate::client::{Client, Versioned};
use crate::output;

pub(super) const COLLECTION: &str = "/v1/connections";

/// A connection and how it is.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    connection: Versioned<ConnectionView>,
    health: HealthView,
}

pub(crate) fn run(command: Connection, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Connection::Add(add) => run_add(&add, json),
        Connection::Set(set) => run_set(&set, json),
        Connection::Check(one) => check(&one, json),
        Connection::List { remote } => list(&remote, json),
        Connection::Pause(one) => pause_or_resume(&one, "pause", json),
        Connection::Resume(one) => pause_or_resume(&one, "resume", json),
        Connection::Approve(approve) => connection_upkeep::approve(&approve, json),
        Connection::ResetCursor(reset) => connection_upkeep::reset_cursor(&reset, json),
        Connection::Backfill(what) => plan::backfill(&what, json),
        Connection::Webhook(webhook) => connection_upkeep::webhook(&webhook, json),
    }
}

/// All connections of a hub.
pub(crate) fn all(client: &Client) -> anyhow::Result<Vec<Versioned<ConnectionView>>> {
    client.list(COLLECTION, &[], usize::MAX)
}

pub(crate) fn create(client: &Client, new: &NewConnection) -> anyhow::Result<Versioned<ConnectionView>> {
    client.post(COLLECTION, new)
}

pub(crate) fn update(client: &Client, id: ConnectionId, version: u64, patch: &Value) -> anyhow::Result<Versioned<ConnectionView>> {
    client.patch(&format!("{COLLECTION}/{id}"), version, patch)
}

/// `pause` or `resume`.
pub(crate) fn order(client: &Client, id: ConnectionId, verb: &str) -> anyhow::Result<Versioned<ConnectionView>> {
    client.post(&format!("{COLLECTION}/{id}/{verb}"), &json!({}))
}

pub(crate) fn health(client: &Client, id: ConnectionId) -> anyhow::Result<HealthView> {
    client.get(&format!("{COLLECTION}/{id}/health"), &[])
}

/// By id if it is one, else by name.
pub(super) fn find(client: &Client, wanted: &str) -> anyhow::Result<Versioned<ConnectionView>> {
    if wanted.parse::<ConnectionId>().is_ok() {
        return client.get(&format!("{COLLECTION}/{wanted}"), &[]);
    }
    let connections = all(client)?;
    let names: Vec<String> = connections.iter().map(|connection| connection.value.name.clone()).collect();
    let found = connections.into_iter().find(|connection| connection.value.name == wanted);
    found.with_context(|| format!("no connection is called {wanted:?}; there are: {}", output::listed(&names)))
}

fn run_add(add: &AddConnection, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&add.remote)?;
    let mut new = described(add)?;
    if add.grant_all_hosts {
        new.grants.hosts = hosts_asked_for(&client, &new)?;
    }
    let made = create(&client, &new)?;
    output::print(json, &made, || {
        let view = &made.value;
        format!(
            "{} is connected as {} (plugin {} {}).\nNext: throughline connection check {}\nThe system can post to {}{}",
            view.name,
            view.id,
            view.plugin,
            view.plugin_version,
            view.name,
            client.base(),
            view.hook_path
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The file's connection, if there is one, with what the flags say on top.
fn described(add: &AddConnection) -> anyhow::Result<NewConnection> {
    let mut value = match &add.file {
        Some(path) => connection_file::read(path)?,
        None => json!({}),
    };
    let Value::Object(fields) = &mut value else {
        bail!("the file must hold one connection, a map of fields; for a list use `throughline apply`")
    };
    if fields.contains_key("connections") {
        bail!("this file holds a list of connections; use `throughline apply --file`");
    }
    for (name, given) in [("plugin", &add.plugin), ("name", &add.name), ("brand", &add.brand), ("region", &add.region)] {
        if let Some(given) = given {
            fields.insert(name.to_owned(), json!(given));
        }
    }
    let Some(plugin) = fields.get("plugin").cloned() else {
        bail!("name the plugin: `throughline connection add PLUGIN`, or `plugin:` in the file")
    };
    fields.entry("name").or_insert(plugin);
    let base = add.file.as_deref().map_or(Path::new("."), connection_file::folder_of);
    let in_file = add.file.as_ref().map_or_else(|| "the connection".to_owned(), |path| path.display().to_string());
    let described = Described::parse(value, base).with_context(|| format!("{in_file} is wrong"))?;
    let mut new = described.with_secrets()?;
    new.config = with_settings(new.config, &add.set)?;
    new.secrets.extend(from_flags(&add.secrets)?);
    new.grants.private_hosts.extend(add.private_hosts.iter().cloned());
    Ok(new)
}

pub(super) fn from_flags(arguments: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let sources = arguments.iter().map(|argument| secrets::parse(argument)).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    secrets::fetch(&sources, Path::new("."))
}

fn hosts_asked_for(client: &Client, new: &NewConnection) -> anyhow::Result<Vec<String>> {
    let installed = plugin::installed(client)?;
    let wanted = |version: &str| new.plugin_version.as_deref().is_none_or(|wanted| wanted == version);
    // The hub lists versions in order and takes the newest as well.
    let found = installed.iter().rfind(|plugin| plugin.manifest.name == new.plugin && wanted(&plugin.manifest.version));
    match found {
        Some(plugin) => Ok(plugin.manifest.hosts_asked()),
        None => {
            let names: Vec<&str> = installed.iter().map(|plugin| plugin.manifest.name.as_str()).collect();
            let (plugin, names) = (&new.plugin, output::listed(&names));
            bail!("the plugin {plugin:?} is not installed; installed are: {names}. `throughline plugin install FILE.wasm` installs one")
        }
    }
}

/// A config with `FIELD=VALUE` settings; `a.b=1` sets a field of a field.
pub(super) fn with_settings(config: Value, settings: &[String]) -> anyhow::Result<Value> {
    let mut fields = match config {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => bail!("config must be a map of fields, not {other}"),
    };
    for setting in settings {
        let (path, text) = setting.split_once('=').with_context(|| format!("--set {setting:?}: write FIELD=VALUE"))?;
        // What is no JSON is a text: `imap_host=mail.example.com`.
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        insert(&mut fields, path, value).with_context(|| format!("--set {setting:?}"))?;
    }
    Ok(Value::Object(fields))
}

fn insert(fields: &mut Map<String, Value>, path: &str, value: Value) -> anyhow::Result<()> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if first.is_empty() {
        bail!("a field has no name");
    }
    let Some(rest) = rest else {
        fields.insert(first.to_owned(), value);
        return Ok(());
    };
    match fields.entry(first).or_insert_with(|| json!({})) {
        Value::Object(inner) => insert(inner, rest, value),
        other => bail!("{first} is {other} and has no fields"),
    }
}

fn run_set(set: &SetConnection, json: bool) -> anyhow::Result<ExitCode> {
    if set.set.is_empty() && set.secrets.is_empty() && set.plugin_version.is_none() {
        bail!("nothing to change: give --set FIELD=VALUE, --secret NAME=SOURCE or --plugin-version VERSION");
    }
    let client = Client::new(&set.remote)?;
    let secrets = from_flags(&set.secrets)?;
    let found = find(&client, &set.connection)?;
    let mut patch = json!({ "secrets": secrets });
    if !set.set.is_empty() {
        patch["config"] = with_settings(found.value.config, &set.set)?;
    }
    if let Some(version) = &set.plugin_version {
        patch["plugin_version"] = json!(version);
    }
    let changed = update(&client, found.value.id, found.version, &patch)?;
    output::print(json, &changed, || connection_upkeep::moved(&changed.value))?;
    Ok(ExitCode::SUCCESS)
}

fn check(one: &OneConnection, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&one.remote)?;
    let found = find(&client, &one.connection)?;
    let report: CheckReport = client.post(&format!("{COLLECTION}/{}/check", found.value.id), &json!({}))?;
    output::print(json, &report, || {
        let mut text =
            format!("{} works: account {} ({}).", found.value.name, output::one_line(&report.account_name, 100), report.account_id);
        for scope in &report.missing_scopes {
            text.push_str(&format!("\n  missing right: {}", output::one_line(scope, 200)));
        }
        for warning in &report.warnings {
            text.push_str(&format!("\n  warning: {}", output::one_line(warning, 300)));
        }
        text
    })?;
    // Connected, but not able to do what it is configured to do.
    Ok(if report.missing_scopes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(remote)?;
    let mut lines = Vec::new();
    for connection in all(&client)? {
        let health = health(&client, connection.value.id)?;
        lines.push(Line { connection, health });
    }
    output::print(json, &lines, || list_text(&lines))?;
    Ok(ExitCode::SUCCESS)
}

fn list_text(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "There are no connections; `throughline connection add PLUGIN` makes one.".to_owned();
    }
    let mut rows = vec![["NAME", "PLUGIN", "HEALTH", "WAITING", "ID", "WHAT IS WRONG"].map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|Line { connection, health }| {
        let view = &connection.value;
        vec![
            view.name.clone(),
            format!("{} {}", view.plugin, view.plugin_version),
            state_of(health),
            health.deliveries_waiting.to_string(),
            view.id.to_string(),
            trouble(view, health),
        ]
    }));
    output::table(&rows)
}

/// The state as JSON spells it.
pub(crate) fn state_of(health: &HealthView) -> String {
    output::plain(&json!(health.state))
}

/// The last failure, if it still holds.
pub(crate) fn trouble(view: &ConnectionView, health: &HealthView) -> String {
    use throughline_engine::HealthState::{Healthy, Paused};
    match (&health.last_error, &view.paused_because) {
        (_, Some(reason)) => output::one_line(reason, 200),
        (Some(error), None) if !matches!(health.state, Healthy | Paused) => output::one_line(&error.message, 200),
        _ => String::new(),
    }
}

fn pause_or_resume(one: &OneConnection, verb: &str, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&one.remote)?;
    let found = find(&client, &one.connection)?;
    let now = order(&client, found.value.id, verb)?;
    output::print(json, &now, || format!("{} is {}.", now.value.name, if now.value.paused { "paused" } else { "running" }))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_json_where_they_can_be_and_text_else() {
        let settings = ["host=mail.example.com", "port=993", "tls=true", "deep.er=x", "deep.list=[1]", "text=\"5\"", "eq=a=b"];
        let found = with_settings(json!({"kept": 1, "port": 1}), &settings.map(str::to_owned)).unwrap();
        let wanted = json!({
            "kept": 1, "host": "mail.example.com", "port": 993, "tls": true, "deep": {"er": "x", "list": [1]}, "text": "5", "eq": "a=b"
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (config, setting) in [(json!({}), "noequals"), (json!({}), "=x"), (json!({"a": 1}), "a.b=1"), (json!([]), "a=1")] {
            assert!(with_settings(config, &[setting.to_owned()]).is_err(), "{setting}");
        }
    }
}
