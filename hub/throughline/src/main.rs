//! The Throughline hub: one binary that serves, and that speaks to a hub that serves.

mod arguments;
mod client;
mod commands;
mod config;
mod data;
mod output;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 2 is clap's for wrong usage; a hub that answered "no" is 3 (see `commands`).
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Plugin(command) => commands::plugin::run(command, json),
        Command::Connection(command) => commands::connection::run(command, json),
        Command::Lookup(command) => commands::lookup::lookup(&command, json),
        Command::Timeline(command) => commands::lookup::timeline(&command, json),
        Command::Apply(command) => commands::apply::run(&command, json),
        Command::Backup(command) => commands::backup::backup(&command, json),
        Command::Restore(command) => commands::backup::restore(&command, json),
        Command::Doctor(command) => commands::doctor::run(&command, json),
    }
}
