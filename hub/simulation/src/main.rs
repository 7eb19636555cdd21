//! Runs seeds `FROM..TO`, with all rules or without the one named, and prints what they came to; exit code 0 only if everything held. `cargo xtask sim` is the front door.

use std::ops::Range;
use std::process::ExitCode;

use throughline_simulation::{Protections, run_range};

fn main() -> ExitCode {
    let seeds = std::env::args().nth(1).as_deref().and_then(range);
    let rules = std::env::args().nth(2).map_or(Some(Protections::default()), |rule| Protections::without(&rule));
    let (Some(seeds), Some(rules)) = (seeds, rules) else {
        eprintln!("usage: throughline-sim FROM..TO [RULE TO SWITCH OFF]");
        return ExitCode::from(2);
    };
    let files = match tempfile::tempdir() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("error: no temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let figures = run_range(seeds, threads, rules, files.path(), false);
    if figures.failures > 0 {
        println!("{}", figures.stories());
    }
    println!("{:#}", figures.to_json());
    if figures.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
