//! A CRM behind HTTP in this process, and the `rest` plugin in a real host to write to it, one record a call.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, patch};
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;
use throughline_domain::connector::PluginHost;
use throughline_plugin_host::{Host, HostOptions};
use tokio::net::TcpListener;

use crate::in_process::{InProcess, folder};
use crate::plugin::component;
use crate::scripted::Script;

/// A hub with a connection of the `rest` plugin to the CRM.
pub(crate) struct RestSilo {
    pub(crate) world: InProcess,
    /// Holds the plugin.
    pub(crate) folder: TempDir,
}

impl RestSilo {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = folder()?;
        let host = Host::new(HostOptions::new(folder.path().join("plugins"), folder.path().join("cache")))?;
        host.install(component("rest")?).await?;
        let world = InProcess::with_plugins(host)?;
        let port = serve(Arc::clone(&world.script)).await?;
        world.connect(connection(port)).await?;
        Ok(Self { world, folder })
    }
}

async fn serve(script: Arc<Script>) -> anyhow::Result<u16> {
    let app = Router::new().route("/cases", get(nothing).post(create)).route("/cases/{key}", patch(update)).with_state(script);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    // Ends with the process: nothing is measured after the last part.
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

/// No case is found by a key of the hub's: each is asked for once, before it is made.
async fn nothing() -> Json<Value> {
    Json(json!({ "items": [] }))
}

async fn create(State(script): State<Arc<Script>>, Json(record): Json<Value>) -> Json<Value> {
    let key = record["hub_id"].as_str().unwrap_or_default().to_owned();
    keep(&script, &key, record)
}

async fn update(State(script): State<Arc<Script>>, Path(key): Path<String>, Json(record): Json<Value>) -> Json<Value> {
    keep(&script, &key, record)
}

fn keep(script: &Script, key: &str, mut record: Value) -> Json<Value> {
    if let Some(order) = record["order_number"].as_str() {
        script.note_written(order);
    }
    record["id"] = key.into();
    Json(record)
}

fn connection(port: u16) -> Value {
    json!({
        "name": "crm", "plugin": "rest",
        "config": {
            "base_url": format!("http://127.0.0.1:{port}"),
            "entities": { "cases": {
                "canonical": "enquiry", "id": "/id",
                "list": { "path": "/cases", "items": "/items", "pagination": { "kind": "none" } },
                "cursor": { "kind": "none" },
                "fields": { "reason": "/reason", "status": "/status", "order_number": "/order_number", "hub_id": "/hub_id" },
                "write": {
                    "create": { "path": "/cases" },
                    "update": { "path": "/cases/{key}" },
                    "idempotency": { "kind": "upsert", "field": "hub_id" },
                },
                "lookups": { "hub_id": { "path": "/cases", "query": { "hub_id": "{value}" }, "items": "/items" } },
            } },
        },
        "grants": { "hosts": ["{config.base_url}"], "private_hosts": ["127.0.0.1"] },
        "sync": { "cases": { "direction": "out", "create_remote": true, "poll_seconds": 3600 } },
    })
}
