//! `throughline doctor`: looks at config, data folder and hub, and says what is wrong and what helps. Changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use throughline_engine::HealthState;
use throughline_plugin_host::{PluginTrust, inspect_with};
use throughline_store::port::StoreError;

use super::connection;
use crate::arguments::{DEFAULT_URL, Doctor};
use crate::client::Client;
use crate::config::{self, Config};
use crate::data::Data;
use crate::output;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Wrong,
    /// Nothing wrong, nothing to be said for it: not there, not asked.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    about: String,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// What was found so far.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn good(&mut self, about: &str, detail: impl Into<String>) {
        self.add(about, State::Good, detail.into(), None);
    }

    fn skipped(&mut self, about: &str, detail: impl Into<String>) {
        self.add(about, State::Skipped, detail.into(), None);
    }

    fn wrong(&mut self, about: &str, detail: impl Into<String>, remedy: impl Into<String>) {
        self.add(about, State::Wrong, detail.into(), Some(remedy.into()));
    }

    fn add(&mut self, about: &str, state: State, detail: String, remedy: Option<String>) {
        self.findings.push(Finding { about: about.to_owned(), state, detail, remedy });
    }

    fn all_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != State::Wrong)
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let sign = match finding.state {
                State::Good => '✓',
                State::Wrong => '✗',
                State::Skipped => '–',
            };
            lines.push(format!("{sign} {:<12} {}", finding.about, finding.detail.replace('\n', "\n               ")));
            lines.extend(finding.remedy.iter().map(|remedy| format!("  {:<12} → {remedy}", "")));
        }
        lines.join("\n")
    }
}

/// What is known of whoever uses the data folder.
enum Store {
    /// There is none.
    Absent,
    /// It opens.
    Idle,
    /// A hub runs on it.
    InUse,
    Broken,
}

pub(crate) fn run(doctor: &Doctor, json: bool) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    let config = Expected::read(doctor);
    let store = match config {
        Ok(expected) => {
            report.good("config", "readable");
            look_at_folder(&mut report, &expected, doctor.deep)
        }
        Err(error) => {
            report.wrong("config", format!("{error:#}"), "correct the file, or name another one with --config");
            Store::Absent
        }
    };
    look_at_hub(&mut report, doctor, &store)?;
    output::print(json, &report.findings, || report.text())?;
    Ok(if report.all_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the config says of the folder.
struct Expected {
    root: PathBuf,
    reserve_mib: u64,
    trust: PluginTrust,
}

impl Expected {
    fn read(doctor: &Doctor) -> anyhow::Result<Self> {
        let folder = &doctor.folder;
        Ok(Self {
            root: Config::data_folder(folder)?,
            reserve_mib: config::reserve_mib(folder)?,
            trust: config::plugin_trust(folder.config.as_deref())?,
        })
    }
}

fn look_at_folder(report: &mut Report, Expected { root, reserve_mib, trust }: &Expected, deep: bool) -> Store {
    let Ok(data) = Data::existing(root) else {
        report.skipped("data folder", format!("{} holds no store yet; `throughline serve` makes one", root.display()));
        return Store::Absent;
    };
    look_at_permissions(report, root);
    look_at_space(report, root, *reserve_mib);
    look_at_key(report, &data);
    look_at_plugins(report, &data, trust);
    look_at_store(report, &data, deep)
}

fn look_at_permissions(report: &mut Report, root: &Path) {
    let shown = root.display();
    match fs::metadata(root).map(|found| found.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 != 0 => {
            report.wrong("data folder", format!("{shown} can be looked into by others (mode {mode:o})"), format!("chmod 700 {shown}"));
        }
        Ok(_) if rustix::fs::access(root, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() => {
            report.wrong(
                "data folder",
                format!("{shown} cannot be written by this user"),
                format!("chown -R USER {shown}, USER being the hub's"),
            );
        }
        Ok(_) => report.good("data folder", format!("{shown}")),
        Err(error) => report.wrong("data folder", format!("{shown}: {error}"), "give this user access to it"),
    }
}

/// Below `reserve_mib` the hub accepts nothing more; said at twice as much, while there is time.
fn look_at_space(report: &mut Report, root: &Path, reserve: u64) {
    match rustix::fs::statvfs(root) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize) >> 20;
            if free < reserve.saturating_mul(2) {
                report.wrong(
                    "disk",
                    format!("{free} MiB free"),
                    "make room: with too little the hub accepts nothing more, and loses nothing",
                );
            } else {
                report.good("disk", format!("{free} MiB free"));
            }
        }
        Err(error) => report.wrong("disk", format!("its free space cannot be found out: {error}"), "look at the file system"),
    }
}

fn look_at_key(report: &mut Report, data: &Data) {
    let path = data.key_file();
    let shown = path.display();
    match fs::metadata(&path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            report.wrong("hub.key", "others can read it", format!("chmod 600 {shown}"));
        }
        Ok(_) => match data.master_key() {
            Ok(_) => report.good("hub.key", "there, and private; keep a copy apart from the backups"),
            Err(error) => report.wrong("hub.key", format!("{error:#}"), "put your copy of it back"),
        },
        Err(error) => report.wrong("hub.key", format!("{shown}: {error}"), "put your copy of it back; without it no secret can be read"),
    }
}

fn look_at_plugins(report: &mut Report, data: &Data, trust: &PluginTrust) {
    let components = match data.components() {
        Ok(components) => components,
        Err(error) => return report.wrong("plugins", format!("{error:#}"), "give this user access to the folder"),
    };
    let mut names = Vec::new();
    for path in &components {
        match loadable(path, trust) {
            Ok(name) => names.push(name),
            Err(why) => {
                report.wrong("plugins", format!("{}: {why}", path.display()), "install it again: throughline plugin install FILE.wasm")
            }
        }
    }
    if names.len() == components.len() {
        report.good("plugins", output::listed(&names));
    }
}

fn loadable(path: &Path, trust: &PluginTrust) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let expected = fs::read_to_string(path.with_extension("wasm.sha256")).map_err(|error| format!("its digest cannot be read: {error}"))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if !expected.trim().ends_with(&digest) {
        return Err("it is damaged: its digest is another".to_owned());
    }
    let plugin = inspect_with(&bytes, trust).map_err(|error| error.to_string())?;
    Ok(format!("{} {}", plugin.manifest.name, plugin.manifest.version))
}

fn look_at_store(report: &mut Report, data: &Data, deep: bool) -> Store {
    let opened = data.open_store(None, None);
    let store = match opened {
        Ok(store) => store,
        Err(error) if matches!(error.downcast_ref(), Some(StoreError::Locked(_))) => {
            report.good("store", "in use by a running hub");
            return Store::InUse;
        }
        Err(error) => {
            report.wrong("store", format!("{error:#}"), "restore the last backup into a new folder; keep this one to be looked at");
            return Store::Broken;
        }
    };
    let read = if deep { data.open_blobs().and_then(|blobs| Ok(store.export(&blobs, std::io::sink())?)).map(Some) } else { Ok(None) };
    let closed = store.close();
    match (read, closed) {
        (Err(error), _) => report.wrong("store", format!("{error:#}"), "restore the last backup into a new folder"),
        (_, Err(error)) => report.wrong("store", format!("it does not close well: {error}"), "look at the disk"),
        (Ok(Some(all)), _) => report.good("store", format!("opens; {} entries and {} files are whole", all.entries, all.blobs)),
        (Ok(None), _) => report.good("store", "opens; no hub is using it (--deep reads all of it)"),
    }
    Store::Idle
}

fn look_at_hub(report: &mut Report, doctor: &Doctor, store: &Store) -> anyhow::Result<()> {
    let client = Client::new(&doctor.remote)?;
    let base = client.base().to_owned();
    match client.status_of("/readyz") {
        Err(error) if matches!(store, Store::InUse) => {
            report.wrong(
                "hub",
                format!("one uses the data folder, but none answers: {error:#}"),
                "give its address with --url; if it hangs, look at its log",
            );
        }
        Err(error) if base != DEFAULT_URL => report.wrong("hub", format!("{error:#}"), "start it, or correct --url"),
        Err(_) => report.skipped("hub", format!("none answers at {base}")),
        Ok((200, _)) => {
            let version = client.status_of("/openapi.json")?.1["info"]["version"].as_str().unwrap_or("of an unknown version").to_owned();
            compare_versions(report, &base, &version);
            look_at_connections(report, &client);
        }
        Ok((503, body)) => {
            let reasons = body["reasons"].to_string();
            report.wrong("hub", format!("{base} is not ready: {reasons}"), "look at its log; with a full disk make room and restart it");
        }
        Ok((status, _)) => report.wrong("hub", format!("{base} answers {status} to /readyz: it is no hub"), "correct --url"),
    }
    Ok(())
}

fn compare_versions(report: &mut Report, base: &str, version: &str) {
    let ours = env!("CARGO_PKG_VERSION");
    if version == ours {
        report.good("hub", format!("{base} is ready, version {version}"));
    } else {
        report.good("hub", format!("{base} is ready, version {version}; this program is {ours}"));
    }
}

fn look_at_connections(report: &mut Report, client: &Client) {
    if !client.has_key() {
        return report.skipped("connections", "give an admin key with --key or in THROUGHLINE_KEY to have them looked at");
    }
    let connections = match connection::all(client) {
        Ok(connections) => connections,
        Err(error) => return report.wrong("connections", format!("{error:#}"), "use an admin key"),
    };
    if connections.is_empty() {
        report.skipped("connections", "there are none");
    }
    for connection in connections {
        let view = &connection.value;
        let about = output::one_line(&view.name, 40);
        let health = match connection::health(client, view.id) {
            Ok(health) => health,
            Err(error) => {
                report.wrong(&about, format!("{error:#}"), "look at the hub's log");
                continue;
            }
        };
        let state = connection::state_of(&health);
        match health.state {
            HealthState::Paused => report.skipped(&about, format!("paused {}", connection::trouble(view, &health)).trim_end()),
            HealthState::Starting | HealthState::Healthy => {
                report.good(&about, format!("{state}, {} deliveries waiting", health.deliveries_waiting))
            }
            HealthState::Failing | HealthState::Broken | HealthState::NeedsAttention => {
                let remedy = format!("throughline connection check {:?} tries it now", view.name);
                report.wrong(&about, format!("{state}: {}", connection::trouble(view, &health)), remedy);
            }
        }
    }
}
