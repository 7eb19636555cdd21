//! Looking after connections: another version of their plugin, reading anew, their webhook at the silo.

use std::process::ExitCode;

use serde_json::{Value, json};
use throughline_engine::{ConnectionView, HookState, HookView, PluginUpdate, UpdateOutcome};

use super::connection::{COLLECTION, find};
use crate::arguments::{ApproveUpdate, Remote, ResetCursor, Webhook};
use crate::client::{Client, Versioned};
use crate::output;

/// What became of a move to another version.
pub(crate) fn moved(view: &ConnectionView) -> String {
    match &view.pending_update {
        Some(pending) => format!(
            "{} stays with {} for now: version {} also asks for these hosts: {}\nNext: throughline connection approve {}",
            view.name,
            view.plugin_version,
            pending.plugin_version,
            output::listed(&pending.hosts),
            view.name
        ),
        None => format!("{} is changed; it runs with {} {}.", view.name, view.plugin, view.plugin_version),
    }
}

pub(crate) fn approve(arguments: &ApproveUpdate, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.remote)?;
    let found = find(&client, &arguments.connection)?;
    let body = if arguments.hosts.is_empty() { json!({}) } else { json!({ "hosts": arguments.hosts }) };
    let path = format!("{COLLECTION}/{}/update/approve", found.value.id);
    let now: Versioned<ConnectionView> = client.post_if(&path, found.version, &body)?;
    output::print(json, &now, || moved(&now.value))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn reset_cursor(arguments: &ResetCursor, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.remote)?;
    let found = find(&client, &arguments.connection)?;
    let entity = output::path_segment(&arguments.entity);
    client.order(ureq::http::Method::POST, &format!("{COLLECTION}/{}/cursors/{entity}/reset", found.value.id))?;
    let said = json!({ "connection": found.value.id, "entity": arguments.entity });
    output::print(json, &said, || format!("{} reads {} anew from the beginning.", found.value.name, arguments.entity))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn webhook(arguments: &Webhook, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.remote)?;
    let found = find(&client, &arguments.connection)?;
    let path = format!("{COLLECTION}/{}/webhook", found.value.id);
    if arguments.list {
        let listed: Value = client.get(&path, &[])?;
        output::print(json, &listed, || output::plain(&listed))?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.remove {
        client.order(ureq::http::Method::DELETE, &path)?;
        output::print(json, &json!({ "removed": true }), || format!("The system of {} no longer posts to the hub.", found.value.name))?;
        return Ok(ExitCode::SUCCESS);
    }
    let view: HookView = client.post(&path, &json!({}))?;
    output::print(json, &view, || in_words(&view))?;
    Ok(if view.state == HookState::Registered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(view: &HookView) -> String {
    let url = view.url.as_deref().unwrap_or_default();
    match view.state {
        HookState::Registered => format!("The system posts to {url}"),
        HookState::ByHand => format!("The plugin has no way to register it: enter {url} at the system by hand."),
        HookState::Removed => "The system does not post to the hub.".to_owned(),
        HookState::NoPublicUrl => {
            "The hub does not know where it is reached from outside: start it with --public-url https://…, or public_url in its file."
                .to_owned()
        }
        HookState::Failed => {
            let why = view.error.as_ref().map(|error| output::one_line(&error.message, 300)).unwrap_or_default();
            format!("The system does not take {url}: {why}. The hub tries again.")
        }
    }
}

/// Moves every connection of a plugin to another of its versions.
pub(crate) fn update_plugin(name: &str, to: Option<&str>, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(remote)?;
    let path = format!("/v1/plugins/{}/update", output::path_segment(name));
    let updates: Vec<PluginUpdate> = client.posted_list(&path, &json!({ "version": to }))?;
    output::print(json, &updates, || updates_text(name, &updates))?;
    let failed = updates.iter().any(|update| matches!(update.outcome, UpdateOutcome::Failed { .. }));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn updates_text(name: &str, updates: &[PluginUpdate]) -> String {
    if updates.is_empty() {
        return format!("No connection runs an older version of {name}.");
    }
    let line = |update: &PluginUpdate| match &update.outcome {
        UpdateOutcome::Moved => format!("{}: {} -> {}", update.name, update.from, update.to),
        UpdateOutcome::Pending { hosts } => format!(
            "{}: {} asks for {}; `throughline connection approve {}` lets it",
            update.name,
            update.to,
            output::listed(hosts),
            update.name
        ),
        UpdateOutcome::Failed { detail } => format!("{}: stays with {}: {}", update.name, update.from, output::one_line(detail, 300)),
    };
    updates.iter().map(line).collect::<Vec<_>>().join("\n")
}
