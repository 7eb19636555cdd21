//! Measures identity resolution: how well it finds who is who, and what that costs. `cargo xtask bench identity` runs it.
//!
//! Options: `--records N` (100000), `--seed S` (11), `--hazards JSON`, `--stream false` to leave the stream out, `--json` for JSON alone,
//! `--write FILE` for the records as CSV with their truth, `--fit FILE` to write the fitted model without rarities.

mod metrics;
mod numbers;
mod people;
mod pools;
mod random;
mod silos;

use std::collections::HashMap;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use serde::Serialize;
use throughline_domain::identity::resolve::{Model, PersonRecord, Resolver, Settings, fit};

use metrics::{Quality, cpu_seconds, peak_mib, quality, resident_mib};

/// Part of a stream, at its end, whose records are timed: there it is as big as it gets.
const TIMED: f64 = 0.1;

/// What one run gave.
#[derive(Debug, Serialize)]
struct Report {
    records: usize,
    seed: u64,
    quality: Quality,
    fit_cpu_seconds: f64,
    batch_cpu_seconds: f64,
    batch_cpu_micros_per_record: f64,
    batch_resident_mib: u64,
    stream: Option<Stream>,
    peak_mib: u64,
    splink: Option<serde_json::Value>,
}

/// What the stream cost, for each record at its full size, in microseconds of CPU.
#[derive(Debug, Serialize)]
struct Stream {
    cpu_micros_p50: f64,
    cpu_micros_p99: f64,
    cpu_micros_mean: f64,
    equals_batch: bool,
}

struct Options {
    records: usize,
    seed: u64,
    hazards: pools::Hazards,
    stream: bool,
    json: bool,
    write: Option<String>,
    fit: Option<String>,
}

fn main() {
    let options = options();
    let pools = pools::Pools::load();
    let labelled = silos::make(&pools, &options.hazards, options.records, options.seed);
    let truth: Vec<usize> = labelled.iter().map(|labelled| labelled.person).collect();
    let records: Vec<PersonRecord> = labelled.into_iter().map(|labelled| labelled.record).collect();
    let table = options.write.clone().unwrap_or_else(|| std::env::temp_dir().join("identity-bench.csv").display().to_string());
    let splink_is_there = has_splink();
    if options.write.is_some() || splink_is_there {
        write_csv(&table, &records, &truth);
    }
    let report = Report { splink: splink_is_there.then(|| run_splink(&table)).flatten(), ..measure(&options, &records, &truth) };
    if !options.json {
        print_table(&report);
    }
    println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let number =
        |name: &str, default: u64| value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")));
    Options {
        records: number("--records", 100_000) as usize,
        seed: number("--seed", 11),
        hazards: value("--hazards").map_or_else(pools::Hazards::default, |json| {
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("--hazards is a JSON object of rates: {error}"))
        }),
        stream: value("--stream").as_deref() != Some("false"),
        json: arguments.iter().any(|argument| argument == "--json"),
        write: value("--write"),
        fit: value("--fit"),
    }
}

fn measure(options: &Options, records: &[PersonRecord], truth: &[usize]) -> Report {
    let began = cpu_seconds();
    let model = Arc::new(fit(records));
    let fitted = cpu_seconds();
    if let Some(file) = &options.fit {
        let shipped = serde_json::to_string_pretty(&model.without_rarities()).expect("a model is plain data");
        std::fs::write(file, shipped + "\n").unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
    let mut resolver = Resolver::new(Arc::clone(&model), Settings::default());
    let start = cpu_seconds();
    resolver.load(records);
    let done = cpu_seconds();
    let resident = resident_mib();
    Report {
        records: records.len(),
        seed: options.seed,
        quality: quality(truth, &clusters(&resolver, records)),
        fit_cpu_seconds: fitted - began,
        batch_cpu_seconds: done - start,
        batch_cpu_micros_per_record: (done - began) * 1e6 / records.len() as f64,
        batch_resident_mib: resident,
        stream: options.stream.then(|| stream(&model, records, &resolver)),
        peak_mib: peak_mib(),
        splink: None,
    }
}

fn clusters(resolver: &Resolver, records: &[PersonRecord]) -> Vec<usize> {
    let persons: HashMap<&str, &str> = resolver.persons().into_iter().collect();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    records
        .iter()
        .map(|record| {
            let next = numbers.len();
            *numbers.entry(persons[record.id.as_str()]).or_insert(next)
        })
        .collect()
}

/// One record after another. CPU time of single records is read where it is cheap enough: by the scheduler's count.
fn stream(model: &Arc<Model>, records: &[PersonRecord], batch: &Resolver) -> Stream {
    let mut resolver = Resolver::new(Arc::clone(model), Settings::default());
    let (first, last) = records.split_at((records.len() as f64 * (1.0 - TIMED)) as usize);
    for record in first {
        resolver.insert(record);
    }
    let mut micros = Vec::with_capacity(last.len());
    for record in last {
        let before = cpu_seconds();
        resolver.insert(record);
        micros.push((cpu_seconds() - before) * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    Stream {
        cpu_micros_p50: at(0.5),
        cpu_micros_p99: at(0.99),
        cpu_micros_mean: micros.iter().sum::<f64>() / micros.len() as f64,
        equals_batch: resolver.persons() == batch.persons(),
    }
}

fn print_table(report: &Report) {
    let quality = &report.quality;
    println!("records                       {:>12}   (seed {})", report.records, report.seed);
    println!("people, found                 {:>12}   {}", quality.people, quality.found);
    println!(
        "pair F1                       {:>12.4}   precision {:.4}, recall {:.4}",
        quality.pair_f1, quality.pair_precision, quality.pair_recall
    );
    println!("B-cubed F1                    {:>12.4}", quality.b_cubed_f1);
    println!("largest cluster               {:>12}", quality.largest);
    println!("fitting, CPU s                {:>12.2}", report.fit_cpu_seconds);
    println!("batch, CPU s                  {:>12.2}", report.batch_cpu_seconds);
    println!("fitting and batch, µs/record  {:>12.1}", report.batch_cpu_micros_per_record);
    println!("memory after batch, MiB       {:>12}   with the records themselves", report.batch_resident_mib);
    if let Some(stream) = &report.stream {
        println!(
            "stream, CPU µs/record         {:>12.1}   p50 {:.1}, p99 {:.1}",
            stream.cpu_micros_mean, stream.cpu_micros_p50, stream.cpu_micros_p99
        );
        println!("stream equals batch           {:>12}", stream.equals_batch);
    }
    match &report.splink {
        Some(splink) => println!("Splink beside it              {splink}"),
        None => println!("Splink is not beside it: `pip install splink` for the Python that is found first"),
    }
}

fn has_splink() -> bool {
    Command::new("python3").args(["-c", "import splink"]).output().is_ok_and(|output| output.status.success())
}

fn run_splink(table: &str) -> Option<serde_json::Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/identity/splink_beside.py");
    let output = Command::new("python3").args([script, table]).output().ok()?;
    if !output.status.success() {
        eprintln!("Splink failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).ok()
}

fn write_csv(file: &str, records: &[PersonRecord], truth: &[usize]) {
    let write = || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        writeln!(out, "rec_id,given,surname,email,phone,house,street,city,postcode,country,dob,company,handle,loyalty,entity_id")?;
        for (record, person) in records.iter().zip(truth) {
            let fields = [
                &record.id,
                &record.given,
                &record.surname,
                &record.email,
                &record.phone,
                &record.house,
                &record.street,
                &record.city,
                &record.postcode,
                &record.country,
                &record.birth_date,
                &record.company,
                &record.handle,
                &record.membership,
            ];
            // Normalised texts hold neither commas nor quotes.
            writeln!(out, "{},{person}", fields.map(String::as_str).join(","))?;
        }
        out.flush()
    };
    write().unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
}
