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

/// A hub that answered "no"; 1 is any other failure, 2 is clap's for wrong usage.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(code) => code,
        Err(error) => failed(&error, json),
    }
}

fn failed(error: &anyhow::Error, json: bool) -> ExitCode {
    let refused = error.downcast_ref::<client::Refused>();
    if json {
        let problem = refused.map_or(serde_json::Value::Null, |refused| serde_json::json!(refused));
        eprintln!("{}", serde_json::json!({ "error": format!("{error:#}"), "problem": problem }));
    } else {
        eprintln!("error: {error:#}");
    }
    if refused.is_some() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Plugin(command) => commands::plugin::run(command, json),
        Command::Connection(command) => commands::connection::run(command, json),
        Command::Plan(command) => commands::plan::run(command, json),
        Command::Lookup(command) => commands::lookup::run(&command, json),
        Command::Handoff(command) => commands::handoff::run(command, json),
        Command::Identity(command) => commands::identity::run(command, json),
        Command::Why(command) => commands::why::run(&command, json),
        Command::Timeline(command) => commands::timeline::run(&command, json),
        Command::Apply(command) => commands::apply::run(&command, json),
        // As diff(1) does it: 0 the same, 1 something else, 2 trouble.
        Command::Diff(command) => Ok(commands::apply::diff(&command, json).unwrap_or_else(|error| {
            failed(&error, json);
            ExitCode::from(2)
        })),
        Command::Export(command) => commands::export::run(&command, json),
        Command::Backup(command) => commands::backup::run(&command, json),
        Command::Restore(command) => commands::restore::run(&command, json),
        Command::Doctor(command) => commands::doctor::run(&command, json),
    }
}
