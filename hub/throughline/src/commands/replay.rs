//! `throughline plugin replay`: a recording through the real plugin in the real host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};
use throughline_plugin_host::kit;

use crate::arguments::DataFolder;
use crate::config::Config;

const PLUGINS_FOLDER: &str = "THROUGHLINE_PLUGINS";

/// Runs a recording through a plugin and prints the interactions that come of it, one JSON object a line.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The plugin's name.
    name: String,
    /// The recording's folder.
    #[arg(value_name = "DIR")]
    recording: PathBuf,
    /// The plugin's component; else it is looked for by its name.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The connection's settings as JSON (trunk_endpoints, agent_endpoints, region...), where the PBX is not the one of the project's recordings.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[command(flatten)]
    folder: DataFolder,
}

pub(crate) fn run(replay: &Replay) -> anyhow::Result<ExitCode> {
    let component = component(replay)?;
    let bytes = std::fs::read(&component).with_context(|| format!("cannot read the component {}", component.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let settings = settings(replay.settings.as_deref())?;
    let replayed = runtime.block_on(kit::replay(bytes, &replay.recording, &settings, kit::default_cache()))?;
    for note in replayed.notes {
        eprintln!("note: {note}");
    }
    let mut out = std::io::stdout().lock();
    for call in replayed.calls {
        writeln!(out, "{call}").context("cannot write to standard output")?;
    }
    out.flush().context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// The settings in a file, which must be one JSON object.
fn settings(file: Option<&Path>) -> anyhow::Result<Map<String, Value>> {
    let Some(file) = file else { return Ok(Map::new()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the settings {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("the settings {} are not one JSON object", file.display()))
}

/// Where the component is: as told, else among what was built, else among what is installed.
fn component(replay: &Replay) -> anyhow::Result<PathBuf> {
    if let Some(component) = &replay.component {
        return Ok(component.clone());
    }
    let plain = !replay.name.is_empty() && replay.name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
    if !plain {
        bail!("{:?} is no plugin's name: names are lower-case letters, digits and hyphens", replay.name);
    }
    let file = format!("{}.wasm", replay.name);
    let mut places: Vec<PathBuf> = std::env::var_os(PLUGINS_FOLDER).map(|folder| Path::new(&folder).join(&file)).into_iter().collect();
    let here = std::env::current_dir().context("the current folder is gone")?;
    places.extend(here.ancestors().map(|folder| folder.join("target/plugins").join(&file)));
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let installed = Config::data_folder(&replay.folder)?.join("plugins").join(&replay.name);
    if let Some(found) = newest(&installed) {
        return Ok(found);
    }
    let looked: Vec<String> = places.iter().chain([&installed]).map(|place| format!("  {}", place.display())).collect();
    bail!(
        "no component of the plugin {:?} was found. Build it with `cargo xtask plugins`, or name it with --component. Looked for:\n{}",
        replay.name,
        looked.join("\n")
    )
}

/// The component of the highest version in an installed plugin's folder.
fn newest(folder: &Path) -> Option<PathBuf> {
    let components = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version = path.file_name()?.to_str()?.strip_suffix(".wasm")?.parse::<semver::Version>().ok()?;
        Some((version, path))
    });
    components.max().map(|(_, path)| path)
}
