//! `throughline plugin run`: one call to a component in the real host, without a hub.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use throughline_plugin_host::kit::{self, Ask, Trial};

use super::connection::{from_flags, with_settings};
use super::connection_file;
use super::plugin::read_component;

/// Makes one call to a component in the real host, under the real limits, and prints the answer as JSON. No hub is needed; every host that
/// the manifest asks for is granted, and nothing is kept.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The component.
    component: PathBuf,
    /// `check`, `read ENTITY`, `get ENTITY KEY…` or `options FIELD [TEXT]`.
    #[arg(required = true, num_args = 1..)]
    call: Vec<String>,
    /// A file with the connection's config (YAML or JSON), or with a whole connection as in `connection add`.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A config value, as in `connection add`.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// A secret, as in `connection add`.
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
    /// A private, loopback or link-local host it may reach.
    #[arg(long = "private-host", value_name = "HOST")]
    private_hosts: Vec<String>,
    /// For `read`: where to go on, the `next` or `checkpoint` of a page before (JSON).
    #[arg(long, value_name = "JSON")]
    cursor: Option<String>,
    /// For `read`: how many records are wished for.
    #[arg(long, default_value_t = 100)]
    want: u32,
}

/// Runs it. What the plugin logs goes to standard error.
pub(crate) fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let ask = ask(run)?;
    let config = with_settings(config(run)?, &run.set)?;
    let trial = Trial {
        component: read_component(&run.component)?,
        cache: kit::default_cache(),
        config,
        secrets: from_flags(&run.secrets)?,
        private_hosts: run.private_hosts.clone(),
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    log.try_init().map_err(|error| anyhow::anyhow!("the log cannot be written: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let answer = runtime.block_on(kit::try_out(trial, ask))?;
    crate::output::print(true, &answer, String::new)?;
    Ok(ExitCode::SUCCESS)
}

/// The config of a file that holds a connection, or the file itself.
fn config(run: &Run) -> anyhow::Result<Value> {
    let Some(path) = &run.file else { return Ok(json!({})) };
    let mut value = connection_file::read(path)?;
    let is_connection = ["plugin", "name"].iter().any(|field| value.get(field).is_some());
    match value.get_mut("config").filter(|_| is_connection) {
        Some(config) => Ok(config.take()),
        None => Ok(value),
    }
}

fn ask(run: &Run) -> anyhow::Result<Ask> {
    let words: Vec<&str> = run.call.iter().map(String::as_str).collect();
    let cursor = run.cursor.as_deref().map(serde_json::from_str).transpose().context("--cursor is not JSON")?;
    match &words[..] {
        ["check"] => Ok(Ask::Check),
        ["read", entity] => Ok(Ask::Read { entity: (*entity).to_owned(), cursor, want: run.want }),
        ["get", entity, keys @ ..] if !keys.is_empty() => {
            Ok(Ask::Get { entity: (*entity).to_owned(), keys: keys.iter().map(ToString::to_string).collect() })
        }
        ["options", field] => Ok(Ask::Options { field: (*field).to_owned(), query: String::new() }),
        ["options", field, query] => Ok(Ask::Options { field: (*field).to_owned(), query: (*query).to_owned() }),
        _ => bail!("write `check`, `read ENTITY`, `get ENTITY KEY…` or `options FIELD [TEXT]`, not {:?}", words.join(" ")),
    }
}
