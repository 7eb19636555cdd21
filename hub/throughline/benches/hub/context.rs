//! How long after a silo's event its context is where it is needed: readable over the API, and written to the other silo.
//!
//! Five hundred mails a second come in. Half are from people the hub knows and change their enquiry, half open a new one; each must
//! reach the other silo. The clock of each mail starts when its connector hands it over.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use throughline_domain::connector::HubServices;
use throughline_schemas::connector::Item;

use crate::http::Client;
use crate::in_process::{InProcess, now, take_in};
use crate::mails::{self, mail, order};
use crate::measure::Durations;
use crate::report::Part;
use crate::rest_silo::RestSilo;

/// How hard the hub is pressed.
#[derive(Clone, Copy)]
struct Pace {
    per_second: u64,
    seconds: u64,
}

impl Pace {
    const fn events(self) -> u64 {
        self.per_second * self.seconds
    }

    /// People who have an enquiry before; each of them writes once.
    const fn known(self) -> u64 {
        self.events() / 2
    }

    /// Who writes the mail of this number.
    const fn person(self, number: u64) -> u64 {
        if number.is_multiple_of(2) { (number - self.known()) / 2 } else { number }
    }
}

const FULL: Pace = Pace { per_second: 500, seconds: 12 };
/// A silo that takes one record a call is asked what it can do.
const GENTLE: Pace = Pace { per_second: 100, seconds: 6 };
/// Of so many mails one is asked for over the API.
const READ_IN: u64 = 5;
const READERS: usize = 2;
/// What has not come after this time is late without end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mail that was accepted, and when it was handed over.
type Accepted = (u64, Instant);

/// What was seen of one run.
struct Seen {
    rate: f64,
    accepted: Durations,
    readable: Durations,
    written: Durations,
    missing: usize,
}

pub(crate) async fn measure() -> anyhow::Result<Part> {
    let mut part = Part::new("context");
    let world = InProcess::start()?;
    let sync = json!({ "cases": { "direction": "both", "create_remote": true } });
    world.connect(json!({ "name": "crm", "plugin": "crm", "sync": sync })).await?;
    let mut seen = run(world, FULL).await?;
    let worst = seen.readable.percentile_ms(0.99).max(seen.written.percentile_ms(0.99));
    let worst = if seen.missing > 0 { PATIENCE.as_secs_f64() * 1e3 } else { worst };
    describe(&mut part, "500/s, a silo that takes 50 records a call at once", &mut seen);
    let RestSilo { world, folder } = RestSilo::start().await?;
    let mut seen = run(world, GENTLE).await?;
    folder.close()?;
    describe(&mut part, "100/s, the rest plugin and HTTP", &mut seen);
    part.at_most("time-to-context p99 at 500 events/s", worst, 25.0, "ms");
    Ok(part)
}

async fn run(world: InProcess, pace: Pace) -> anyhow::Result<Seen> {
    let extract = json!([{ "variable": "order_number", "pattern": r"order (\d{8})" }]);
    let mailbox = world.connect(json!({ "name": "mail", "plugin": "mail", "extract": extract })).await?;
    let before: Vec<Item> = (0..pace.known()).map(|number| mail(number, number, now())).collect();
    take_in(&world.hub, &[mailbox], before, 50, 8).await?;
    let known = usize::try_from(pace.known())?;
    until_written(&world, known).await;
    ensure!(world.script.written() == known, "the other silo got {} of {known} enquiries before the start", world.script.written());
    let (address, key) = world.serve().await?;
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (key, receiver) = (key.clone(), Arc::clone(&receiver));
            tokio::task::spawn_blocking(move || read(address, &key, &receiver, pace))
        })
        .collect();
    let began = Instant::now();
    let all = events(world.script.services(mailbox)?, pace, sender).await?;
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    let mut readable = Durations::default();
    for reader in readers {
        readable.extend(reader.await??);
    }
    until_written(&world, known + all.len()).await;
    let mut seen = Seen { rate, accepted: Durations::default(), readable, written: Durations::default(), missing: 0 };
    for (number, handed_over, accepted) in all {
        seen.accepted.push(accepted);
        match world.script.written_at(&order(number)) {
            Some(at) => seen.written.push(at.saturating_duration_since(handed_over)),
            None => seen.missing += 1,
        }
    }
    world.end().await?;
    Ok(seen)
}

fn describe(part: &mut Part, silo: &str, seen: &mut Seen) {
    part.figure(format!("{silo}: mails taken in"), seen.rate, "mails/s");
    part.figure(format!("{silo}: accepted, p50"), seen.accepted.percentile_ms(0.5), "ms");
    part.figure(format!("{silo}: accepted, p99"), seen.accepted.percentile_ms(0.99), "ms");
    part.figure(format!("{silo}: readable over the API, p50 of {}", seen.readable.len()), seen.readable.percentile_ms(0.5), "ms");
    part.figure(format!("{silo}: readable over the API, p99"), seen.readable.percentile_ms(0.99), "ms");
    part.figure(format!("{silo}: written to it, p50 of {}", seen.written.len()), seen.written.percentile_ms(0.5), "ms");
    part.figure(format!("{silo}: written to it, p99"), seen.written.percentile_ms(0.99), "ms");
    part.figure(format!("{silo}: not written after {} s", PATIENCE.as_secs()), seen.missing as f64, "");
}

/// Hands mails over at an even pace; each with when that was and how long until it was accepted.
async fn events(silo: Arc<dyn HubServices>, pace: Pace, accepted: Sender<Accepted>) -> anyhow::Result<Vec<(u64, Instant, Duration)>> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(pace.per_second)?);
    let mut tasks = tokio::task::JoinSet::new();
    for number in pace.known()..pace.known() + pace.events() {
        ticks.tick().await;
        // Everybody writes once: two news of one enquiry may reach the silo as one.
        let person = pace.person(number);
        let (silo, accepted) = (Arc::clone(&silo), accepted.clone());
        tasks.spawn(async move {
            let item = mail(number, person, now());
            let handed_over = Instant::now();
            silo.emit(vec![item], None, Vec::new()).await?;
            let took = handed_over.elapsed();
            if number.is_multiple_of(READ_IN) {
                // The readers live as long as this sender.
                let _ = accepted.send((number, handed_over));
            }
            anyhow::Ok((number, handed_over, took))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done.context("a mail")??);
    }
    Ok(all)
}

/// Looks people up until the answer names the order of their mail.
fn read(address: SocketAddr, key: &str, accepted: &Mutex<Receiver<Accepted>>, pace: Pace) -> anyhow::Result<Durations> {
    let mut client = Client::connect(address, key)?;
    let mut durations = Durations::default();
    loop {
        let next = accepted.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, handed_over)) = next else { return Ok(durations) };
        let path = format!("/v1/lookup?email={}&assurance=asserted", mails::address(pace.person(number)));
        while !names(&client.get(&path)?, &order(number))? {
            ensure!(handed_over.elapsed() < PATIENCE, "mail {number} cannot be read over the API");
        }
        durations.push(handed_over.elapsed());
    }
}

fn names(body: &[u8], order: &str) -> anyhow::Result<bool> {
    let answer: Value = serde_json::from_slice(body)?;
    let mut enquiries = answer["enquiries"].as_array().into_iter().flatten();
    Ok(enquiries.any(|enquiry| enquiry["variables"]["order_number"] == order))
}

async fn until_written(world: &InProcess, wanted: usize) {
    let deadline = Instant::now() + PATIENCE;
    while world.script.written() < wanted && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
