//! Everything a checkout needs, as one command: `cargo xtask --help`.

mod bench;
mod demo;
mod plugins;
mod setup;
mod shell;
mod sim;
mod test;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and run Throughline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the plugins into target/plugins, finding or installing a compiler for them.
    Plugins(plugins::Arguments),
    /// Set up and run everything: format, lints, unit, property, store, plugin and end-to-end tests with real systems.
    Test,
    /// Set up and show the main job: one enquiry crossing a mail server, a CRM and a PBX.
    Demo(demo::Arguments),
    /// Simulate: seeds of the real engine in virtual time against failing silos; exit code 0 only if everything held.
    Sim(sim::Arguments),
    /// Measure: ratios side by side, as text and as JSON.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes, without the backtrace that `Debug` would add.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Plugins(arguments) => plugins::run(&arguments),
        Command::Test => test::run(),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}
