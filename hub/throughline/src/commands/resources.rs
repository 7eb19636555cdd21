//! Webhooks, flows and policies as a file describes them: read, compared with what the hub has, made so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use throughline_domain::flow::FlowSpec;
use throughline_engine::{ContinuityPolicies, FlowVersionView, FlowView, WebhookView};

use super::apply::Secrets;
use super::connection_file;
use super::secrets::{self, Source};
use crate::client::{Client, Versioned};

const WEBHOOKS: &str = "/v1/webhooks";
const FLOWS: &str = "/v1/flows";
const CONTINUITY: &str = "/v1/policies/continuity";

/// A webhook in a file: what `POST /v1/webhooks` takes, with its secret by reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookFile {
    name: String,
    url: String,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default = "one")]
    at_once: u8,
    #[serde(default = "yes")]
    enabled: bool,
    secret: Source,
}

/// A flow in a file, or the path of a file with one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowFile {
    name: String,
    #[serde(default = "yes")]
    enabled: bool,
    /// Have it run, and not only stand there as a draft.
    #[serde(default = "yes")]
    publish: bool,
    spec: FlowSpec,
}

const fn one() -> u8 {
    1
}

const fn yes() -> bool {
    true
}

/// Policies in a file; those that it does not name stay as they are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoliciesFile {
    #[serde(default)]
    continuity: Option<ContinuityPolicies>,
}

/// What a file says of webhooks, flows and policies.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    webhooks: Vec<WebhookFile>,
    flows: Vec<FlowFile>,
    policies: PoliciesFile,
    base: PathBuf,
}

/// What the hub has of them.
pub(super) struct Known {
    webhooks: Vec<Versioned<WebhookView>>,
    flows: Vec<KnownFlow>,
    continuity: Versioned<ContinuityPolicies>,
}

struct KnownFlow {
    flow: Versioned<FlowView>,
    /// What runs.
    published: Option<FlowSpec>,
}

/// One thing to do with one of them.
pub(super) struct ResourceStep {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// `create` or `update`.
    pub(super) action: &'static str,
    /// Field, what the hub has, what the file says.
    pub(super) changes: Vec<(String, Value, Value)>,
    deeds: Vec<Deed>,
}

/// Kind and name of what is as the file says.
pub(super) type Unchanged = (&'static str, String);

/// A request.
enum Deed {
    /// Make it; what follows is done with what was made.
    Create(&'static str, Value),
    Patch(String, u64, Value),
    Post(String, Value),
    Put(&'static str, u64, Value),
    /// Publish what was made, or the flow at this path.
    Publish(Option<String>),
}

pub(super) fn read(webhooks: Vec<Value>, flows: Vec<Value>, policies: PoliciesFile, base: &Path) -> anyhow::Result<Wanted> {
    let webhooks: Vec<WebhookFile> = each("webhooks", webhooks, connection_file::typed)?;
    let flows: Vec<FlowFile> = each("flows", flows, |value| match value {
        Value::String(file) => {
            let path = base.join(file);
            connection_file::typed(connection_file::read(&path)?).with_context(|| format!("{} is wrong", path.display()))
        }
        value => connection_file::typed(value),
    })?;
    unique("webhooks", webhooks.iter().map(|webhook| webhook.name.as_str()))?;
    unique("flows", flows.iter().map(|flow| flow.name.as_str()))?;
    Ok(Wanted { webhooks, flows, policies, base: base.to_owned() })
}

fn each<T>(list: &str, values: Vec<Value>, read: impl Fn(Value) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let read_one = |(index, value)| read(value).with_context(|| format!("{list}[{index}]"));
    values.into_iter().enumerate().map(read_one).collect()
}

fn unique<'n>(list: &str, names: impl Iterator<Item = &'n str>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            bail!("{list}[{index}]: {name:?} is there twice");
        }
    }
    Ok(())
}

impl Known {
    pub(super) fn of(client: &Client) -> anyhow::Result<Self> {
        let webhooks = client.list(WEBHOOKS, &[], usize::MAX)?;
        let mut flows = Vec::new();
        for flow in client.list::<Versioned<FlowView>>(FLOWS, &[], usize::MAX)? {
            let versions: Vec<FlowVersionView> = match flow.value.published {
                Some(_) => client.list(&format!("{FLOWS}/{}/versions", flow.value.id), &[], usize::MAX)?,
                None => Vec::new(),
            };
            let published = versions.into_iter().find(|version| Some(version.version) == flow.value.published).map(|version| version.spec);
            flows.push(KnownFlow { flow, published });
        }
        Ok(Self { webhooks, flows, continuity: client.get(CONTINUITY, &[])? })
    }

    /// As a file would say it. A secret is not shown by the hub: the name of a variable stands for it.
    pub(super) fn export(&self, file: &mut Map<String, Value>) -> anyhow::Result<()> {
        let webhook = |known: &Versioned<WebhookView>| {
            let view = &known.value;
            json!({
                "name": view.name, "url": view.url, "types": view.types, "at_once": view.at_once, "enabled": view.enabled,
                "secret": { "env": variable(&[&view.name, "secret"]) },
            })
        };
        let flow = |known: &KnownFlow| {
            let view = &known.flow.value;
            let spec = known.published.as_ref().unwrap_or(&view.spec);
            Ok(
                json!({ "name": view.name, "enabled": view.enabled, "publish": known.published.is_some(), "spec": serde_json::to_value(spec)? }),
            )
        };
        file.insert("webhooks".to_owned(), self.webhooks.iter().map(webhook).collect());
        file.insert("policies".to_owned(), json!({ "continuity": self.continuity.value }));
        file.insert("flows".to_owned(), self.flows.iter().map(flow).collect::<anyhow::Result<_>>()?);
        Ok(())
    }
}

/// `CRM_TOKEN` for the secret `token` of the connection `crm`.
pub(super) fn variable(words: &[&str]) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    words.join("_").chars().map(clean).collect()
}

impl Wanted {
    /// What has to be done, and what is so already.
    pub(super) fn plan(&self, known: &Known, secrets: Secrets) -> anyhow::Result<(Vec<ResourceStep>, Vec<Unchanged>)> {
        let (mut steps, mut unchanged) = (Vec::new(), Vec::new());
        for webhook in &self.webhooks {
            match self.plan_webhook(webhook, known, secrets)? {
                Some(step) => steps.push(step),
                None => unchanged.push(("webhook", webhook.name.clone())),
            }
        }
        for flow in &self.flows {
            match plan_flow(flow, known)? {
                Some(step) => steps.push(step),
                None => unchanged.push(("flow", flow.name.clone())),
            }
        }
        if let Some(continuity) = &self.policies.continuity {
            match plan_continuity(continuity, &known.continuity)? {
                Some(step) => steps.push(step),
                None => unchanged.push(("policy", "continuity".to_owned())),
            }
        }
        Ok((steps, unchanged))
    }

    fn secret(&self, webhook: &WebhookFile) -> anyhow::Result<String> {
        let sources = [("secret".to_owned(), webhook.secret.clone())].into();
        let mut fetched = secrets::fetch(&sources, &self.base).with_context(|| format!("the webhook {:?}", webhook.name))?;
        Ok(fetched.remove("secret").unwrap_or_default())
    }

    fn plan_webhook(&self, webhook: &WebhookFile, known: &Known, secrets: Secrets) -> anyhow::Result<Option<ResourceStep>> {
        let (kind, name) = ("webhook", webhook.name.clone());
        let Some(existing) = known.webhooks.iter().find(|known| known.value.name == webhook.name) else {
            if !webhook.enabled {
                bail!("the webhook {name:?} is not there yet: make it enabled, and disable it later");
            }
            let secret = if secrets == Secrets::Named { String::new() } else { self.secret(webhook)? };
            let body = json!({ "name": name, "url": webhook.url, "types": webhook.types, "at_once": webhook.at_once, "secret": secret });
            let deeds = vec![Deed::Create(WEBHOOKS, body)];
            return Ok(Some(ResourceStep { kind, name, action: "create", changes: Vec::new(), deeds }));
        };
        let (have, path) = (&existing.value, format!("{WEBHOOKS}/{}", existing.value.id));
        let pairs = [
            ("url", json!(have.url), json!(webhook.url)),
            ("types", json!(have.types), json!(webhook.types)),
            ("at_once", json!(have.at_once), json!(webhook.at_once)),
            ("enabled", json!(have.enabled), json!(webhook.enabled)),
        ];
        let mut changes = differing(pairs);
        let mut deeds = Vec::new();
        if !changes.is_empty() {
            deeds.push(Deed::Patch(path.clone(), existing.version, patch_of(&changes)));
        }
        if secrets == Secrets::All {
            changes.push(("secret".to_owned(), Value::Null, Value::from("…")));
            deeds.push(Deed::Post(format!("{path}/rotate"), json!({ "secret": self.secret(webhook)? })));
        }
        Ok((!deeds.is_empty()).then_some(ResourceStep { kind, name, action: "update", changes, deeds }))
    }
}

fn plan_flow(flow: &FlowFile, known: &Known) -> anyhow::Result<Option<ResourceStep>> {
    let (kind, name) = ("flow", flow.name.clone());
    let spec = serde_json::to_value(&flow.spec)?;
    let Some(existing) = known.flows.iter().find(|known| known.flow.value.name == flow.name) else {
        let mut deeds = vec![Deed::Create(FLOWS, json!({ "name": name, "enabled": flow.enabled, "spec": spec }))];
        if flow.publish {
            deeds.push(Deed::Publish(None));
        }
        return Ok(Some(ResourceStep { kind, name, action: "create", changes: Vec::new(), deeds }));
    };
    let (have, path) = (&existing.flow.value, format!("{FLOWS}/{}", existing.flow.value.id));
    // What runs is compared; a draft that somebody is writing is left alone if the file is what runs.
    let compared = if flow.publish { existing.published.as_ref() } else { Some(&have.spec) };
    let pairs =
        [("spec", compared.map_or(Ok(Value::Null), serde_json::to_value)?, spec), ("enabled", json!(have.enabled), json!(flow.enabled))];
    let changes = differing(pairs);
    if changes.is_empty() {
        return Ok(None);
    }
    let publishes = flow.publish && changes.iter().any(|(field, ..)| field == "spec");
    let mut deeds = vec![Deed::Patch(path.clone(), existing.flow.version, patch_of(&changes))];
    if publishes {
        deeds.push(Deed::Publish(Some(path)));
    }
    Ok(Some(ResourceStep { kind, name, action: "update", changes, deeds }))
}

fn plan_continuity(want: &ContinuityPolicies, known: &Versioned<ContinuityPolicies>) -> anyhow::Result<Option<ResourceStep>> {
    let (have, want) = (serde_json::to_value(&known.value)?, serde_json::to_value(want)?);
    let of = |policies: &Value, field: &str| policies.get(field).cloned().unwrap_or_default();
    let changes = differing(["default", "rules"].map(|field| (field, of(&have, field), of(&want, field))));
    let deeds = vec![Deed::Put(CONTINUITY, known.version, want)];
    let step = ResourceStep { kind: "policy", name: "continuity".to_owned(), action: "update", changes, deeds };
    Ok((!step.changes.is_empty()).then_some(step))
}

fn differing<const N: usize>(pairs: [(&str, Value, Value); N]) -> Vec<(String, Value, Value)> {
    pairs.into_iter().filter(|(_, have, want)| have != want).map(|(field, have, want)| (field.to_owned(), have, want)).collect()
}

fn patch_of(changes: &[(String, Value, Value)]) -> Value {
    Value::Object(changes.iter().map(|(field, _, want)| (field.clone(), want.clone())).collect())
}

impl ResourceStep {
    pub(super) fn carry_out(self, client: &Client) -> anyhow::Result<()> {
        let mut made = None;
        for deed in self.deeds {
            match deed {
                Deed::Create(path, body) => {
                    let answer: Value = client.post(path, &body)?;
                    made = answer["id"].as_str().map(|id| format!("{path}/{id}"));
                }
                Deed::Patch(path, version, patch) => drop(client.patch::<Value>(&path, version, &patch)?),
                Deed::Post(path, body) => drop(client.post::<Value>(&path, &body)?),
                Deed::Put(path, version, body) => drop(client.put::<Value>(path, version, &body)?),
                Deed::Publish(path) => {
                    let path = path.or_else(|| made.clone()).context("the hub did not say what it made")?;
                    client.post::<Value>(&format!("{path}/publish"), &json!({}))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(webhooks: &str, flows: &str) -> anyhow::Result<Wanted> {
        read(serde_yaml_ng::from_str(webhooks).unwrap(), serde_yaml_ng::from_str(flows).unwrap(), PoliciesFile::default(), Path::new("."))
    }

    #[test]
    fn mistakes_name_their_place_and_secrets_are_references_only() {
        for (webhooks, flows, words) in [
            ("[{name: a, url: 'https://x', secret: whsec_hunter2}]", "[]", ["webhooks[0]", "secret"]),
            ("[{name: a, url: 'https://x'}]", "[]", ["webhooks[0]", "secret"]),
            ("[{name: a, url: u, secret: {env: A}}, {name: a, url: u, secret: {env: A}}]", "[]", ["webhooks[1]", "twice"]),
            ("[]", "[{name: a, spec: {trigger: {change: [x]}, steps: [{name: s, do: {sleep: {}}}]}}]", ["flows[0]", "spec.steps[0].do"]),
            ("[]", "[missing.yaml]", ["flows[0]", "missing.yaml"]),
        ] {
            let error = format!("{:#}", wanted(webhooks, flows).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_example_is_in_order() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/config/flows.yaml");
        let mut file = connection_file::read(&path).unwrap();
        let mut list = |name: &str| file[name].take().as_array().unwrap().clone();
        let (webhooks, flows) = (list("webhooks"), list("flows"));
        let wanted = read(webhooks, flows, PoliciesFile::default(), connection_file::folder_of(&path)).unwrap();
        assert_eq!((wanted.webhooks.len(), wanted.flows.len()), (1, 1));
        throughline_domain::flow::Program::compile(&wanted.flows[0].spec).unwrap();
        connection_file::typed::<PoliciesFile>(file["policies"].take()).unwrap();
    }

    #[test]
    fn variables_are_named_after_what_they_hold() {
        assert_eq!(variable(&["support mail", "password"]), "SUPPORT_MAIL_PASSWORD");
    }
}
