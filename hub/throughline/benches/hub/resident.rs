//! The real program with its three connectors and a thousand profiles: how long until it is ready, how much memory when idle.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::in_process::folder;
use crate::mails::address;
use crate::measure::{Durations, resident};
use crate::plugin::component;
use crate::process::{Process, log_of};
use crate::report::Part;
use crate::stand_ins::{CONTACTS, Ports, StandIns};

const STARTS: u32 = 7;
/// Long enough for every listener to be waiting again.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) async fn measure() -> anyhow::Result<Part> {
    tokio::task::block_in_place(blocking)
}

fn blocking() -> anyhow::Result<Part> {
    let folder = folder()?;
    let stand_ins = StandIns::start()?;
    let hub = Process::start(folder.path())?;
    let mut part = Part::new("process");
    part.figure("from starting the program to ready, nothing stored yet", ms(hub.ready_after), "ms");
    connect(&hub, stand_ins.ports).with_context(|| log_of(folder.path()))?;
    until_filled(&hub, folder.path())?;
    hub.stop()?;
    let mut starts = Durations::default();
    for _ in 1..STARTS {
        let hub = Process::start(folder.path())?;
        starts.push(hub.ready_after);
        hub.stop()?;
    }
    let hub = Process::start(folder.path())?;
    starts.push(hub.ready_after);
    until_healthy(&hub, folder.path())?;
    std::thread::sleep(SETTLED);
    let idle = resident(&hub.pid())?;
    let (alone, nothing) = alone()?;
    hub.stop()?;
    part.figure(format!("the same with 3 connections and {CONTACTS} profiles: median of {STARTS}"), starts.percentile_ms(0.5), "ms");
    part.figure("the same, slowest", starts.percentile_ms(1.0), "ms");
    part.figure("idle hub with 3 connections: resident", idle.all / 1024.0, "MiB");
    part.figure("of that not pages of files", idle.anonymous / 1024.0, "MiB");
    part.figure("idle hub without plugins: resident", alone / 1024.0, "MiB");
    part.figure("of that not pages of files", nothing / 1024.0, "MiB");
    part.at_most("start to ready on a small store", starts.percentile_ms(0.5), 1000.0, "ms");
    part.at_most("idle hub with the three connections", idle.all * 1024.0 / 1e6, 60.0, "MB");
    Ok(part)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A hub with nothing in it: all its memory, and what of that is not pages of files.
fn alone() -> anyhow::Result<(f64, f64)> {
    let folder = folder()?;
    let hub = Process::start(folder.path())?;
    std::thread::sleep(SETTLED);
    let idle = resident(&hub.pid())?;
    hub.stop()?;
    Ok((idle.all, idle.anonymous))
}

fn connect(hub: &Process, ports: Ports) -> anyhow::Result<()> {
    for plugin in ["email", "asterisk", "rest"] {
        hub.post("/v1/plugins", "application/wasm", &component(plugin)?)?;
    }
    for connection in [mailbox(ports), pbx(ports), crm(ports)] {
        hub.post("/v1/connections", "application/json", &serde_json::to_vec(&connection)?)?;
    }
    Ok(())
}

fn mailbox(ports: Ports) -> Value {
    json!({
        "name": "mailbox", "plugin": "email",
        "config": {
            "address": "help@shop.example", "username": "help",
            "imap_host": "127.0.0.1", "imap_port": ports.imap, "imap_security": "plain",
            "smtp_host": "127.0.0.1", "smtp_port": ports.smtp, "smtp_security": "plain", "smtp_auth": false,
        },
        "secrets": { "password": "secret" },
        "grants": {
            "hosts": ["tcp://{config.imap_host}:{config.imap_port}", "tcp://{config.smtp_host}:{config.smtp_port}"],
            "private_hosts": ["127.0.0.1"],
        },
    })
}

fn pbx(ports: Ports) -> Value {
    json!({
        "name": "pbx", "plugin": "asterisk",
        "config": { "pbx_id": "pbx-1", "ami_host": "127.0.0.1", "ami_port": ports.ami, "ami_security": "plain", "ami_username": "hub" },
        "secrets": { "ami_secret": "secret" },
        "grants": { "hosts": ["tcp://{config.ami_host}:{config.ami_port}"], "private_hosts": ["127.0.0.1"] },
    })
}

fn crm(ports: Ports) -> Value {
    json!({
        "name": "crm", "plugin": "rest",
        "config": {
            "base_url": format!("http://127.0.0.1:{}", ports.crm),
            "entities": { "contacts": {
                "canonical": "profile", "id": "/id",
                "version": "/updated", "updated": { "pointer": "/updated", "format": "rfc3339" },
                "list": { "path": "/contacts", "items": "/items", "pagination": { "kind": "none" } },
                "cursor": { "kind": "none" },
                "fields": { "display_name": "/name", "email": "/email", "phone": "/phone" },
            } },
        },
        "grants": { "hosts": ["{config.base_url}"], "private_hosts": ["127.0.0.1"] },
        "sync": { "contacts": { "direction": "in", "poll_seconds": 3600 } },
    })
}

/// Waits until the CRM's last contact is known.
fn until_filled(hub: &Process, folder: &Path) -> anyhow::Result<()> {
    let last = address(CONTACTS - 1);
    eventually(folder, "the contacts are taken in", || Ok(hub.get(&format!("/v1/lookup?email={last}"))?["known"] == true))
}

fn until_healthy(hub: &Process, folder: &Path) -> anyhow::Result<()> {
    let connections = hub.get("/v1/connections")?;
    let ids: Vec<String> =
        connections["items"].as_array().into_iter().flatten().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
    ensure!(ids.len() == 3, "there are {} connections", ids.len());
    for id in ids {
        eventually(folder, "a connection is healthy", || Ok(hub.get(&format!("/v1/connections/{id}/health"))?["state"] == "healthy"))?;
    }
    Ok(())
}

fn eventually(folder: &Path, what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so()? {
        ensure!(Instant::now() < deadline, "never: {what}; the hub said: {}", log_of(folder));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
