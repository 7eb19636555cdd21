//! How fast the hub takes mails in, against its own engine and against a plain file.
//!
//! The batches that reach the engine while the hub works are kept, and then written again, in the same groups, by the engine
//! alone and by `append` and `fdatasync` alone. So all three make the same bytes durable in the same number of disk writes.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::Item;
use throughline_store::engine::{KvEngine, SledEngine, SledOptions, WriteBatch};

use crate::counting::{Seen, Spent};
use crate::in_process::{InProcess, folder, now, take_in};
use crate::mails::mail;
use crate::measure::processor_time;
use crate::report::Part;

/// People the hub knows before the first measured mail.
const KNOWN: u64 = 4_000;
/// One mail in so many is from somebody new.
const NEW_IN: u64 = 5;
const CONNECTIONS: usize = 4;
const CACHE_BYTES: u64 = 256 * 1024 * 1024;

/// Hub, engine and file take turns, so that whatever else the machine does disturbs them alike.
const ROUNDS: u64 = 3;

/// One way of handing mails over.
struct Variant {
    name: &'static str,
    /// In each round.
    mails: u64,
    batch: usize,
    in_flight: usize,
}

const VARIANTS: [Variant; 2] = [
    Variant { name: "one by one, 64 in flight", mails: 4_000, batch: 1, in_flight: 64 },
    Variant { name: "50 at a time, 8 in flight", mails: 6_000, batch: 50, in_flight: 8 },
];

/// What one variant came to.
#[derive(Default)]
struct Run {
    mails: u64,
    hub: Duration,
    engine: Duration,
    file: Duration,
    processor: Duration,
    spent: Spent,
    batches: usize,
    keys: usize,
    bytes: usize,
}

pub(crate) async fn measure() -> anyhow::Result<Part> {
    let seen = Arc::new(Seen::default());
    let world = InProcess::counted(Arc::clone(&seen))?;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        connections.push(world.connect(json!({ "name": format!("mail-{number}"), "plugin": "mail" })).await?);
    }
    let before: Vec<Item> = (0..KNOWN).map(|number| mail(number, number, now())).collect();
    let weight = before.iter().map(|item| serde_json::to_vec(item).map_or(0, |text| text.len())).sum::<usize>() as f64;
    take_in(&world.hub, &connections, before, 50, 8).await?;
    let mut beside = Beside::open()?;
    tokio::task::block_in_place(|| beside.write(&seen.take().0))?;
    let mut part = Part::new("ingest");
    part.figure("a mail as its connector hands it over", weight / KNOWN as f64 / 1024.0, "KiB");
    let mut number = KNOWN;
    for (index, variant) in VARIANTS.iter().enumerate() {
        let mut run = Run::default();
        for _ in 0..ROUNDS {
            round(&mut run, &world, &seen, &connections, variant, number).await?;
            tokio::task::block_in_place(|| beside.repeat(&mut run, &seen))?;
            number += variant.mails;
        }
        describe(&mut part, variant.name, &run);
        // What the targets are about is the way listeners do it: each mail acknowledged by itself.
        if index == 0 {
            part.at_least("ingest against the bare engine", run.engine.as_secs_f64() / run.hub.as_secs_f64(), 0.5, "x");
            part.at_least("ingest against append and fdatasync", run.file.as_secs_f64() / run.hub.as_secs_f64(), 0.08, "x");
        }
    }
    world.end().await?;
    Ok(part)
}

async fn round(
    run: &mut Run,
    world: &InProcess,
    seen: &Seen,
    connections: &[ConnectionId],
    variant: &Variant,
    first: u64,
) -> anyhow::Result<()> {
    let items: Vec<Item> = (first..first + variant.mails).map(|number| mail(number, person(number), now())).collect();
    seen.forget_times();
    let processor = processor_time()?;
    run.hub += take_in(&world.hub, connections, items, variant.batch, variant.in_flight).await?;
    run.processor += processor_time()?.saturating_sub(processor);
    run.mails += variant.mails;
    Ok(())
}

/// Who wrote a mail: mostly people that are known, in no order.
fn person(number: u64) -> u64 {
    if number.is_multiple_of(NEW_IN) { number } else { number.wrapping_mul(2_654_435_761) % KNOWN }
}

fn describe(part: &mut Part, name: &str, run: &Run) {
    let mails = run.mails as f64;
    let rate = |took: Duration| mails / took.as_secs_f64();
    let each = |took: Duration| took.as_secs_f64() * 1e6 / mails;
    part.figure(format!("{name}: the hub"), rate(run.hub), "interactions/s");
    part.figure(format!("{name}: the bare engine, same batches"), rate(run.engine), "interactions/s");
    part.figure(format!("{name}: append and fdatasync, same batches"), rate(run.file), "interactions/s");
    part.figure(format!("{name}: hub against bare engine"), run.engine.as_secs_f64() / run.hub.as_secs_f64(), "x");
    part.figure(format!("{name}: hub against append and fdatasync"), run.file.as_secs_f64() / run.hub.as_secs_f64(), "x");
    part.figure(format!("{name}: bare engine against append and fdatasync"), run.file.as_secs_f64() / run.engine.as_secs_f64(), "x");
    part.figure(format!("{name}: keys written for each"), run.keys as f64 / mails, "");
    part.figure(format!("{name}: keys and values for each"), run.bytes as f64 / mails / 1024.0, "KiB");
    part.figure(format!("{name}: interactions for each disk write"), mails / run.batches as f64, "");
    part.figure(format!("{name}: processor time for each, all threads"), each(run.processor), "us");
    part.figure(format!("{name}: of the clock, the writer was in the engine's apply"), each(run.spent.apply), "us");
    part.figure(format!("{name}: of the clock, the writer was in flush and fdatasync"), each(run.spent.sync), "us");
    part.figure(format!("{name}: reading the engine, all threads"), each(run.spent.read), "us");
    part.figure(format!("{name}: gets and scans for each"), run.spent.reads as f64 / mails, "");
}

/// What the hub is held against: its engine alone, and the end of one file.
struct Beside {
    engine: SledEngine,
    file: File,
    /// Holds both.
    _folder: TempDir,
}

impl Beside {
    fn open() -> anyhow::Result<Self> {
        let folder = folder()?;
        let engine = SledEngine::open(&folder.path().join("engine"), SledOptions { cache_bytes: CACHE_BYTES })?;
        Ok(Self { engine, file: File::create(folder.path().join("file"))?, _folder: folder })
    }

    /// What the hub has written since the last time, by the engine and to the file.
    fn repeat(&mut self, run: &mut Run, seen: &Seen) -> anyhow::Result<()> {
        let (batches, spent) = seen.take();
        let (engine, file) = self.write(&batches)?;
        run.engine += engine;
        run.file += file;
        run.spent = run.spent.plus(spent);
        run.batches += batches.len();
        run.keys += batches.iter().map(|batch| batch.iter().count()).sum::<usize>();
        run.bytes += batches.iter().map(WriteBatch::bytes).sum::<usize>();
        Ok(())
    }

    /// How long engine and file took, one batch after the other, each durable before the next.
    fn write(&mut self, batches: &[WriteBatch]) -> anyhow::Result<(Duration, Duration)> {
        let (mut engine, mut file) = (Duration::ZERO, Duration::ZERO);
        for batch in batches {
            let batch = batch.clone();
            let began = Instant::now();
            self.engine.apply(batch)?;
            self.engine.sync()?;
            engine += began.elapsed();
        }
        for bytes in batches.iter().map(flat) {
            let began = Instant::now();
            self.file.write_all(&bytes)?;
            self.file.sync_data()?;
            file += began.elapsed();
        }
        Ok((engine, file))
    }
}

fn flat(batch: &WriteBatch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch.bytes());
    for (key, value) in batch.iter() {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    bytes
}
