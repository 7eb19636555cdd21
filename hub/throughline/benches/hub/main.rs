//! `cargo xtask bench`: what the hub does in a second, in a megabyte, in a millisecond, beside what it is made of.
//!
//! Every part runs against loopback and folders of its own, for a bounded time. Figures are information: whatever they are, the
//! exit code is 0 as long as everything could be measured. `docs/benchmarks.md` says what each figure means.

mod context;
mod counting;
mod echo_guest;
mod flows;
mod http;
mod in_process;
mod ingest;
mod listeners;
mod lookup;
mod mails;
mod measure;
mod plugin;
mod process;
mod report;
mod resident;
mod rest_silo;
mod scripted;
mod stand_ins;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Instant;

use anyhow::Context as _;
use report::{Part, Report};

type Measuring = Pin<Box<dyn Future<Output = anyhow::Result<Part>>>>;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == stand_ins::FLAG) {
        return stand_ins::run();
    }
    // `cargo bench` adds a flag of its own.
    let filter = words.into_iter().find(|word| !word.starts_with("--")).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hub").build()?;
    let mut report = Report::new();
    println!("{}", report.machine);
    for (name, measure) in parts() {
        if !name.contains(&filter) {
            continue;
        }
        let began = Instant::now();
        let part = runtime.block_on(measure()).with_context(|| format!("measuring {name}"))?;
        println!("{part}  ({:.0} s)\n", began.elapsed().as_secs_f64());
        report.parts.push(part);
    }
    println!("{}", report.targets());
    let json = serde_json::to_string_pretty(&report)?;
    println!("{json}");
    let file = target_folder().join("bench.json");
    std::fs::write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// A part's name and what measures it.
type Named = (&'static str, fn() -> Measuring);

fn parts() -> [Named; 6] {
    [
        ("ingest", || Box::pin(ingest::measure())),
        ("plugin", || Box::pin(plugin::measure())),
        ("lookup", || Box::pin(lookup::measure())),
        ("context", || Box::pin(context::measure())),
        ("flows", || Box::pin(flows::measure())),
        ("process", || Box::pin(resident::measure())),
    ]
}

/// The workspace's target folder.
pub(crate) fn target_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")
}
