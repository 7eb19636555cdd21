//! Everything a checkout needs, as one command: `cargo xtask --help`.

mod plugins;

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
    }
}
