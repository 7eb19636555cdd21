//! `throughline export`: what a hub is configured to do, as a file that `apply` takes. Secrets appear as the names of variables.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use throughline_engine::ConnectionView;

use super::resources::{Known, variable};
use super::{connection, plugin};
use crate::arguments::Export;
use crate::client::Client;
use crate::output;

pub(crate) fn run(export: &Export, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&export.remote)?;
    let connections = connection::all(&client)?;
    let mut file = Map::new();
    file.insert("connections".to_owned(), connections.iter().map(|connection| described(&connection.value)).collect());
    Known::of(&client)?.export(&mut file)?;
    let file = Value::Object(file);
    let text = if json { serde_json::to_string_pretty(&file)? + "\n" } else { head(&client)? + &serde_yaml_ng::to_string(&file)? };
    match &export.file {
        Some(path) => std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?,
        None => output::print(false, &Value::Null, || text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Components are not in the hub's answers: their names help to find them.
fn head(client: &Client) -> anyhow::Result<String> {
    let mut text =
        String::from("# What this hub does; `throughline apply --file` makes another one the same. Set the variables that secrets name.\n");
    for installed in plugin::installed(client)? {
        text.push_str(&format!("# Needs the plugin {} {} ({})\n", installed.manifest.name, installed.manifest.version, installed.digest));
    }
    Ok(text)
}

fn described(view: &ConnectionView) -> Value {
    let secrets: Map<String, Value> =
        view.secret_names.iter().map(|name| (name.clone(), json!({ "env": variable(&[&view.name, name]) }))).collect();
    let mut fields = json!({
        "name": view.name, "plugin": view.plugin, "plugin_version": view.plugin_version, "brand": view.brand, "config": view.config,
        "secrets": secrets, "grants": view.grants, "sync": view.sync, "extract": view.extract, "paused": view.paused,
    });
    if let (Some(region), Some(fields)) = (&view.region, fields.as_object_mut()) {
        fields.insert("region".to_owned(), json!(region));
    }
    fields
}
