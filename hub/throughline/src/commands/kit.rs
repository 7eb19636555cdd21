//! `throughline plugin test`: the conformance kit on a component, offline.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use throughline_plugin_host::kit::{self, Line, Logs, Report, Subject};

use super::plugin::read_component;

/// Tries a component out against the silos that its kit scripts: offline, in the real host, under the real limits.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The component.
    component: PathBuf,
    /// The folder with kit.json; else the plugin's folder is looked for around the component.
    #[arg(long, value_name = "DIR")]
    kit: Option<PathBuf>,
}

/// Runs the kit. Exit code 1 when a check failed.
pub(crate) fn run(test: &Test, json: bool) -> anyhow::Result<ExitCode> {
    let component = read_component(&test.component)?;
    let logs = Logs::default();
    collect(&logs)?;
    let kit = match &test.kit {
        Some(kit) => kit.clone(),
        None => find(&test.component, &component)?,
    };
    let subject = Subject { component, kit, cache: kit::default_cache(), logs: Some(logs) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let report = runtime.block_on(kit::test(subject, |line| {
        if !json {
            say_line(line)
        }
    }))?;
    say(&report, json)?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is logged goes to the kit, which looks for secrets in it, and not to the screen.
fn collect(logs: &Logs) -> anyhow::Result<()> {
    let logs = logs.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG).with_writer(move || logs.clone());
    subscriber.try_init().map_err(|error| anyhow::anyhow!("the log cannot be collected: {error}"))
}

/// The kit of a built plugin: `kit/` in its folder, above `target/plugins/` or, in a workspace, below `plugins/` and `examples/`.
fn find(component: &Path, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let name = throughline_plugin_host::inspect(bytes)?.manifest.name;
    let path = component.canonicalize().with_context(|| format!("cannot find {}", component.display()))?;
    let below = [format!("plugins/{name}/kit"), format!("examples/{name}-plugin/kit"), "kit".to_owned()];
    let candidates: Vec<PathBuf> = path.ancestors().skip(1).flat_map(|folder| below.iter().map(move |below| folder.join(below))).collect();
    let found = candidates.iter().find(|folder| folder.join("kit.json").is_file());
    match found {
        Some(folder) => Ok(folder.clone()),
        None => bail!("the plugin {name:?} has no kit beside {}: name its folder with --kit DIR", component.display()),
    }
}

fn say_line(line: &Line) {
    let text = line.to_string();
    let coloured = if std::io::stdout().is_terminal() { colour(&text) } else { text };
    // Whoever closed the pipe does not read on; the exit code says it all.
    drop(writeln!(std::io::stdout(), "{coloured}"));
}

fn colour(text: &str) -> String {
    let code = match text.chars().next() {
        Some('✓') => "32",
        Some('✗') => "31",
        _ => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

fn say(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(report)? } else { report.summary() };
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
