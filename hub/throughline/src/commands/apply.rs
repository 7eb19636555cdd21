//! `throughline apply` and `diff`: make a hub what a YAML file says, or say what it would take. First everything is read and planned,
//! then done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use throughline_engine::{ConnectionView, NewConnection};
use throughline_plugin_host::inspect;
use throughline_schemas::ConnectionId;

use super::connection_file::{self, Described};
use super::plugin::Installed;
use super::resources::{self, Known, ResourceStep};
use super::{connection, plugin};
use crate::arguments::{Apply, Diff};
use crate::client::{Client, Versioned};
use crate::output;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Components to install, looked for beside the file.
    #[serde(default)]
    plugins: Vec<PathBuf>,
    /// Connections, each as `POST /v1/connections` takes it, but with secrets by reference; or the path of a file with one.
    #[serde(default)]
    connections: Vec<Value>,
    /// Outbound webhooks, each as `POST /v1/webhooks` takes it, but with its secret by reference.
    #[serde(default)]
    webhooks: Vec<Value>,
    /// Flows: `name`, `spec`, `enabled`; or the path of a file with one.
    #[serde(default)]
    flows: Vec<Value>,
    /// Policies: `continuity`, as `PUT /v1/policies/continuity` takes it.
    #[serde(default)]
    policies: resources::PoliciesFile,
}

/// A component that the file names.
struct Component {
    name: String,
    version: String,
    digest: String,
    bytes: Vec<u8>,
}

/// One thing to do, or to say.
enum Step {
    Install(Component),
    Create(Box<NewConnection>),
    Update {
        id: ConnectionId,
        version: u64,
        name: String,
        patch: Map<String, Value>,
        /// What the hub has where the patch says something else.
        have: Map<String, Value>,
    },
    Resource(ResourceStep),
    /// `pause` or `resume`.
    Order {
        id: ConnectionId,
        name: String,
        verb: &'static str,
    },
    Unchanged {
        kind: &'static str,
        name: String,
    },
}

pub(crate) fn run(apply: &Apply, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = read(&apply.file)?;
    let client = Client::new(&apply.remote)?;
    let steps = plan(wanted, &client, if apply.secrets { Secrets::All } else { Secrets::Missing })?;
    if apply.dry_run {
        let lines: Vec<Value> = steps.iter().map(|step| step.described("would be done")).collect();
        output::print(json, &lines, || steps.iter().map(|step| step.text("would ", "")).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    carry_out(&client, steps, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what `apply` would change, field by field. Secrets are compared by whether the hub has them: it never shows one.
pub(crate) fn diff(diff: &Diff, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = read(&diff.file)?;
    let client = Client::new(&diff.remote)?;
    let mut steps = plan(wanted, &client, Secrets::Named)?;
    steps.retain(|step| !matches!(step, Step::Unchanged { .. }));
    let lines: Vec<Value> = steps.iter().map(Step::difference).collect();
    output::print(json, &lines, || {
        if steps.is_empty() {
            "nothing would change".to_owned()
        } else {
            steps.iter().map(Step::difference_text).collect::<Vec<_>>().join("\n")
        }
    })?;
    Ok(if steps.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the file says, everything it names read.
struct Wanted {
    components: Vec<Component>,
    connections: Vec<Described>,
    resources: resources::Wanted,
}

fn read(path: &Path) -> anyhow::Result<Wanted> {
    let base = connection_file::folder_of(path);
    let wrong = || format!("{} is wrong", path.display());
    let file: File = connection_file::typed(connection_file::read(path)?).with_context(wrong)?;
    let components = file.plugins.iter().map(|path| component(&base.join(path))).collect::<anyhow::Result<_>>()?;
    let mut connections = Vec::new();
    let mut names = BTreeSet::new();
    for (index, value) in file.connections.into_iter().enumerate() {
        let one = describe(value, base).with_context(|| format!("connections[{index}]")).with_context(wrong)?;
        if !names.insert(one.connection.name.clone()) {
            return Err(anyhow::anyhow!("connections[{index}]: {:?} is there twice", one.connection.name)).with_context(wrong);
        }
        connections.push(one);
    }
    let resources = resources::read(file.webhooks, file.flows, file.policies, base).with_context(wrong)?;
    Ok(Wanted { components, connections, resources })
}

fn plan(wanted: Wanted, client: &Client, secrets: Secrets) -> anyhow::Result<Vec<Step>> {
    let mut steps = plan_plugins(wanted.components, &plugin::installed(client)?)?;
    steps.extend(plan_connections(&wanted.connections, &connection::all(client)?, secrets)?);
    let (changed, unchanged) = wanted.resources.plan(&Known::of(client)?, secrets)?;
    steps.extend(changed.into_iter().map(Step::Resource));
    steps.extend(unchanged.into_iter().map(|(kind, name)| Step::Unchanged { kind, name }));
    Ok(steps)
}

fn describe(value: Value, base: &Path) -> anyhow::Result<Described> {
    let Value::String(file) = value else { return Described::parse(value, base) };
    let path = base.join(file);
    Described::parse(connection_file::read(&path)?, connection_file::folder_of(&path))
        .with_context(|| format!("{} is wrong", path.display()))
}

fn component(path: &Path) -> anyhow::Result<Component> {
    let bytes = plugin::read_component(path)?;
    let found = inspect(&bytes).with_context(|| format!("{} cannot be installed", path.display()))?;
    Ok(Component { name: found.manifest.name, version: found.manifest.version, digest: found.digest, bytes })
}

fn plan_plugins(components: Vec<Component>, have: &[Installed]) -> anyhow::Result<Vec<Step>> {
    components.into_iter().map(|component| plan_plugin(component, have)).collect()
}

fn plan_plugin(component: Component, have: &[Installed]) -> anyhow::Result<Step> {
    let Component { name, version, digest, .. } = &component;
    match have.iter().find(|plugin| plugin.manifest.name == *name && plugin.manifest.version == *version) {
        None => Ok(Step::Install(component)),
        Some(installed) if installed.digest == *digest => Ok(Step::Unchanged { kind: "plugin", name: format!("{name} {version}") }),
        Some(_) => bail!("the plugin {name} {version} is installed with other bytes; raise the version in its manifest"),
    }
}

/// Which secrets of connections that exist are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Those that the hub does not have.
    Missing,
    All,
    /// None: those that the hub does not have are only named.
    Named,
}

fn plan_connections(want: &[Described], have: &[Versioned<ConnectionView>], secrets: Secrets) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for described in want {
        let name = &described.connection.name;
        match have.iter().find(|connection| connection.value.name == *name) {
            None if secrets == Secrets::Named => steps.push(Step::Create(Box::new(described.connection.clone()))),
            None => steps.push(Step::Create(Box::new(described.with_secrets()?))),
            Some(existing) => steps.extend(plan_existing(described, existing, secrets)?),
        }
    }
    Ok(steps)
}

fn plan_existing(described: &Described, existing: &Versioned<ConnectionView>, secrets: Secrets) -> anyhow::Result<Vec<Step>> {
    let (have, want) = (&existing.value, &described.connection);
    let (id, name) = (have.id, have.name.clone());
    if have.plugin != want.plugin {
        bail!("{name:?} is a connection of the plugin {:?} and cannot become one of {:?}; use another name", have.plugin, want.plugin);
    }
    let mut patch = differences(have, want);
    let is_wanted = |name: &String| secrets == Secrets::All || !have.secret_names.contains(name);
    if secrets == Secrets::Named {
        let missing: Vec<&String> = described.secrets.keys().filter(|name| is_wanted(name)).collect();
        if !missing.is_empty() {
            patch.insert("secrets".to_owned(), json!(missing));
        }
    } else {
        let fetched = described.fetch_secrets(is_wanted)?;
        if !fetched.is_empty() {
            patch.insert("secrets".to_owned(), json!(fetched));
        }
    }
    let mut steps = Vec::new();
    if !patch.is_empty() {
        let shown = json!(have);
        let have = patch.keys().map(|field| (field.clone(), shown.get(field).cloned().unwrap_or_default())).collect();
        steps.push(Step::Update { id, version: existing.version, name: name.clone(), patch, have });
    }
    if described.says_paused && have.paused != want.paused {
        let verb = if want.paused { "pause" } else { "resume" };
        steps.push(Step::Order { id, name: name.clone(), verb });
    }
    if steps.is_empty() {
        steps.push(Step::Unchanged { kind: "connection", name });
    }
    Ok(steps)
}

/// What has to change, field by field. A region or version that the file does not name stays as it is.
fn differences(have: &ConnectionView, want: &NewConnection) -> Map<String, Value> {
    let empty = json!({});
    let config = if want.config.is_null() { &empty } else { &want.config };
    let pairs = [
        ("config", have.config != *config, json!(config)),
        ("grants", have.grants != want.grants, json!(want.grants)),
        ("sync", have.sync != want.sync, json!(want.sync)),
        ("extract", have.extract != want.extract, json!(want.extract)),
        ("brand", have.brand != want.brand, json!(want.brand)),
        ("region", want.region.is_some() && have.region != want.region, json!(want.region)),
        ("plugin_version", want.plugin_version.as_ref().is_some_and(|version| *version != have.plugin_version), json!(want.plugin_version)),
    ];
    pairs.into_iter().filter(|(_, differs, _)| *differs).map(|(name, _, value)| (name.to_owned(), value)).collect()
}

fn carry_out(client: &Client, steps: Vec<Step>, json: bool) -> anyhow::Result<()> {
    let mut done: Vec<Value> = Vec::new();
    let total = steps.len();
    for (index, step) in steps.into_iter().enumerate() {
        let (what, line, description) = (step.text("", ""), step.text("", "d"), step.described("done"));
        step.carry_out(client).with_context(|| format!("could not {what}; {}", how_far(index, total)))?;
        done.push(description);
        if !json {
            output::print(false, &Value::Null, || line)?;
        }
    }
    if json {
        output::print(true, &done, String::new)?;
    }
    Ok(())
}

fn how_far(before: usize, total: usize) -> String {
    let after = total - before - 1;
    format!("{before} steps before it were done, {after} after it were not; apply the file again when the cause is removed")
}

impl Step {
    fn carry_out(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Install(component) => plugin::install_bytes(client, component.bytes).map(drop),
            Self::Create(new) => connection::create(client, &new).map(drop),
            Self::Update { id, version, patch, .. } => connection::update(client, id, version, &Value::Object(patch)).map(drop),
            Self::Order { id, verb, .. } => connection::order(client, id, verb).map(drop),
            Self::Resource(step) => step.carry_out(client),
            Self::Unchanged { .. } => Ok(()),
        }
    }

    fn parts(&self) -> (&'static str, &'static str, String, Vec<&str>) {
        match self {
            Self::Install(component) => ("install", "plugin", format!("{} {}", component.name, component.version), Vec::new()),
            Self::Create(new) => ("create", "connection", new.name.clone(), Vec::new()),
            Self::Update { name, patch, .. } => ("update", "connection", name.clone(), patch.keys().map(String::as_str).collect()),
            Self::Order { name, verb, .. } => (verb, "connection", name.clone(), Vec::new()),
            Self::Resource(step) => {
                (step.action, step.kind, step.name.clone(), step.changes.iter().map(|(field, ..)| field.as_str()).collect())
            }
            Self::Unchanged { kind, name } => ("unchanged", kind, name.clone(), Vec::new()),
        }
    }

    /// Field, what the hub has, what the file says; of secrets only their names.
    fn changes(&self) -> Vec<(String, Value, Value)> {
        match self {
            Self::Update { patch, have, .. } => {
                let pair = |(field, want): (&String, &Value)| (field.clone(), have.get(field).cloned().unwrap_or_default(), want.clone());
                patch.iter().map(pair).collect()
            }
            Self::Resource(step) => step.changes.clone(),
            _ => Vec::new(),
        }
    }

    fn difference(&self) -> Value {
        let mut described = self.described("differs");
        let change = |(field, have, want)| json!({ "field": field, "hub": have, "file": want });
        described["changes"] = self.changes().into_iter().map(change).collect();
        described
    }

    fn difference_text(&self) -> String {
        let mut text = self.text("would ", "");
        for (field, have, want) in self.changes() {
            for (sign, value) in [('-', have), ('+', want)] {
                text.push_str(&format!("\n  {sign} {field}: {}", output::one_line(&value.to_string(), 2_000)));
            }
        }
        text
    }

    fn described(&self, state: &str) -> Value {
        let (action, kind, name, fields) = self.parts();
        json!({ "action": action, "kind": kind, "name": name, "fields": fields, "state": state })
    }

    /// `would create connection x`, `created connection x`.
    fn text(&self, before: &str, after: &str) -> String {
        let (action, kind, name, fields) = self.parts();
        if matches!(self, Self::Unchanged { .. }) {
            return format!("{kind} {name}: unchanged");
        }
        let verb = match (after, action.ends_with('e')) {
            ("", _) => action.to_owned(),
            (_, true) => format!("{action}d"),
            (_, false) => format!("{action}ed"),
        };
        let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        format!("{before}{verb} {kind} {name}{fields}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(fields: Value) -> Versioned<ConnectionView> {
        let mut view = json!({
            "id": ConnectionId::from_bytes([1; 16]), "name": "crm", "plugin": "rest", "plugin_version": "0.1.0",
            "config": {"a": 1}, "secret_names": ["token"], "grants": {"hosts": ["h"], "private_hosts": []}, "sync": {}, "extract": [],
            "brand": "default", "region": null, "paused": false, "paused_because": null, "account_id": null, "hook_path": "/hooks/x",
            "entities": [], "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "version": 7
        });
        view.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    fn planned(yaml: &str, have: Value, secrets: Secrets) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t"), "secret").unwrap();
        let want = describe(serde_yaml_ng::from_str(yaml).unwrap(), folder.path()).unwrap();
        let steps = plan_connections(&[want], &[existing(have)], secrets).unwrap();
        steps.iter().map(|step| step.text("", "d")).collect()
    }

    const SAME: &str = "{name: crm, plugin: rest, config: {a: 1}, grants: {hosts: [h]}, secrets: {token: {file: t}}}";

    #[test]
    fn only_what_differs_is_done() {
        assert_eq!(planned(SAME, json!({}), Secrets::Missing), ["connection crm: unchanged"]);
        assert_eq!(planned(SAME, json!({}), Secrets::All), ["updated connection crm (secrets)"]);
        assert_eq!(planned(SAME, json!({"secret_names": []}), Secrets::Missing), ["updated connection crm (secrets)"]);
        assert_eq!(planned(SAME, json!({"config": {"a": 2}, "brand": "x"}), Secrets::Missing), ["updated connection crm (brand, config)"]);
        assert_eq!(planned(SAME, json!({"region": "GB", "paused": true}), Secrets::Missing), ["connection crm: unchanged"]);
        let paused = SAME.replace("name: crm", "name: crm, paused: true");
        assert_eq!(planned(&paused, json!({}), Secrets::Missing), ["paused connection crm"]);
        assert_eq!(planned(&SAME.replace("name: crm", "name: other"), json!({}), Secrets::Missing), ["created connection other"]);
    }

    #[test]
    fn a_connection_can_be_in_a_file_of_its_own_with_its_secrets_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/crm.yaml"), SAME).unwrap();
        std::fs::write(folder.path().join("sub/t"), "secret").unwrap();
        let described = describe(json!("sub/crm.yaml"), folder.path()).unwrap();
        assert_eq!(described.with_secrets().unwrap().secrets["token"], "secret");
        std::fs::write(folder.path().join("sub/crm.yaml"), "{name: crm, plugin: rest, colour: red}").unwrap();
        let error = format!("{:#}", describe(json!("sub/crm.yaml"), folder.path()).unwrap_err());
        assert!(error.contains("crm.yaml") && error.contains("colour"), "{error}");
    }

    #[test]
    fn a_connection_keeps_its_plugin() {
        let want = describe(serde_yaml_ng::from_str("{name: crm, plugin: email}").unwrap(), Path::new(".")).unwrap();
        let error = plan_connections(&[want], &[existing(json!({}))], Secrets::Missing).err().unwrap().to_string();
        assert!(error.contains("email") && error.contains("rest"), "{error}");
    }
}
