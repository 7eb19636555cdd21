//! `cargo xtask demo`: one customer's enquiry crosses three real systems, told while it happens.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use throughline_tests::story::{Setting, Story};

use crate::shell::{cargo, heading, root};
use crate::{plugins, setup};

/// What to do after the story.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// End after the story; the exit code is 0 only if every step came true.
    #[arg(long)]
    once: bool,
    /// Where the hub listens on 127.0.0.1.
    #[arg(long, default_value_t = 7480)]
    port: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::systems()?;
    heading("Plugins");
    plugins::build_all()?;
    heading("The hub");
    cargo(&["build", "--quiet", "--package", "throughline"])?;
    heading("The stage");
    let folder = fresh_folder()?;
    let mut say = |line: &str| println!("   {line}");
    let setting = Setting::start(&folder, Some(arguments.port).filter(|_| !arguments.once), &mut say)?;
    heading("The story");
    let mut say = |line: &str| println!("{line}");
    let measured = Story::new(&setting, &mut say).tell().inspect_err(|_| {
        eprintln!("--- the hub's log\n{}", setting.hub.log());
    })?;
    heading("Measured");
    for measured in &measured {
        println!("   {:>8.1} ms  {}", measured.took.as_secs_f64() * 1000.0, measured.what);
    }
    println!("\nEvery step was verified against the systems themselves.");
    if arguments.once {
        return Ok(());
    }
    println!("\nThe hub goes on running. Look around:");
    println!("   {}/docs", setting.hub.url());
    println!("   API key: {}", setting.hub.key());
    println!("   export THROUGHLINE_URL={} THROUGHLINE_KEY={}", setting.hub.url(), setting.hub.key());
    println!("   target/debug/throughline lookup phone:+441632960123");
    println!("   target/debug/throughline timeline phone:+441632960123");
    println!("Press Ctrl-C to end it and the systems.");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// A folder of this run's own, below `target/` and readable to the unprivileged user the mail servers run as.
fn fresh_folder() -> Result<PathBuf> {
    let folder = root().join("target").join("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}; is another demo running?", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
