//! How long an IVR waits for the answer who is calling, at 100,000 profiles: of an idle hub and of one that takes mails in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use throughline_engine::{Hub, IngestBatch, LookupQuery};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::Item;

use crate::http::Client;
use crate::in_process::{InProcess, now, take_in};
use crate::mails::{address, contact, mail, phone};
use crate::measure::Durations;
use crate::report::Part;

const PROFILES: u64 = 100_000;
/// Of these, so many have written a mail and have an enquiry.
const WITH_ENQUIRY: u64 = 10_000;
/// Callers at once, each asking again this long after it asked last.
const CALLERS: u64 = 2;
const PAUSE: Duration = Duration::from_millis(5);
const LASTING: Duration = Duration::from_secs(8);
const EVENTS_PER_SECOND: u64 = 500;

pub(crate) async fn measure() -> anyhow::Result<Part> {
    let world = InProcess::start()?;
    let crm = world.connect(json!({ "name": "crm", "plugin": "crm" })).await?;
    let mailbox = world.connect(json!({ "name": "mail", "plugin": "mail" })).await?;
    let began = Instant::now();
    take_in(&world.hub, &[crm], (0..PROFILES).map(contact).collect(), 64, 8).await?;
    let filled = began.elapsed();
    let mails: Vec<Item> = (0..WITH_ENQUIRY).map(|number| mail(number, number, now())).collect();
    take_in(&world.hub, &[mailbox], mails, 50, 8).await?;
    let (address, key) = world.serve().await?;
    ask(address, &key, Duration::from_secs(1)).await?;
    let mut direct = within(&world.hub)?;
    let mut idle = ask(address, &key, LASTING).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(events(world.hub.clone(), mailbox, Arc::clone(&stop)));
    let mut busy = ask(address, &key, LASTING).await?;
    stop.store(true, Ordering::Relaxed);
    let rate = load.await??;
    world.end().await?;
    let mut part = Part::new("lookup");
    part.figure("records taken in to fill the hub", PROFILES as f64 / filled.as_secs_f64(), "records/s");
    part.figure("the hub's part of it, without HTTP, one after the other: p50", direct.percentile_ms(0.5), "ms");
    part.figure("the same: p99", direct.percentile_ms(0.99), "ms");
    part.figure(format!("idle, {} look-ups: p50", idle.len()), idle.percentile_ms(0.5), "ms");
    part.figure("idle: p99", idle.percentile_ms(0.99), "ms");
    part.figure("mails taken in meanwhile", rate, "mails/s");
    part.figure(format!("under ingest, {} look-ups: p50", busy.len()), busy.percentile_ms(0.5), "ms");
    part.figure("under ingest: p99", busy.percentile_ms(0.99), "ms");
    part.at_most("look-up p99 at 100,000 profiles, idle", idle.percentile_ms(0.99), 2.0, "ms");
    part.at_most("look-up p99 at 100,000 profiles, under ingest", busy.percentile_ms(0.99), 2.0, "ms");
    Ok(part)
}

/// The same look-ups as function calls: what is left is HTTP.
fn within(hub: &Hub) -> anyhow::Result<Durations> {
    let mut durations = Durations::default();
    for question in 0..2_000_u64 {
        let assurance = throughline_schemas::Assurance::Asserted;
        let phone = phone(question.wrapping_mul(0x9e37_79b9_7f4a_7c15) % WITH_ENQUIRY);
        let query = LookupQuery { phone: Some(phone), assurance, ..LookupQuery::default() };
        let began = Instant::now();
        ensure!(hub.lookup(&query)?.known, "somebody is not known");
        durations.push(began.elapsed());
    }
    Ok(durations)
}

async fn ask(address: SocketAddr, key: &str, lasting: Duration) -> anyhow::Result<Durations> {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let key = key.to_owned();
            tokio::task::spawn_blocking(move || calls(address, &key, caller, lasting))
        })
        .collect();
    let mut all = Durations::default();
    for caller in callers {
        all.extend(caller.await??);
    }
    Ok(all)
}

/// Asks at fixed times: who waits for a slow answer is late for the next question, and that counts.
fn calls(address: SocketAddr, key: &str, caller: u64, lasting: Duration) -> anyhow::Result<Durations> {
    let mut client = Client::connect(address, key)?;
    let mut durations = Durations::default();
    let began = Instant::now();
    for question in 0.. {
        let due = began + PAUSE * question;
        if due.duration_since(began) >= lasting {
            break;
        }
        let late = Instant::now() > due;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // How late the operating system wakes us is not the hub's affair.
        let asked = if late { due } else { Instant::now() };
        let body = client.get(&path(u64::from(question) * CALLERS + caller))?;
        durations.push(asked.elapsed());
        ensure!(body.starts_with(b"{\"known\":true"), "somebody is not known: {}", String::from_utf8_lossy(&body));
    }
    Ok(durations)
}

/// Half of the questions are about people with an enquiry.
fn path(question: u64) -> String {
    let random = question.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    if question.is_multiple_of(2) {
        return format!("/v1/lookup?phone=%2B{}&assurance=asserted", &phone(random % WITH_ENQUIRY)[1..]);
    }
    format!("/v1/lookup?email={}&assurance=asserted", address(random % PROFILES))
}

/// Mails at an even pace until told to stop; how many a second were taken in.
async fn events(hub: Hub, connection: ConnectionId, stop: Arc<AtomicBool>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let taken = Arc::new(AtomicU64::new(0));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(EVENTS_PER_SECOND)?);
    let mut tasks = tokio::task::JoinSet::new();
    for number in WITH_ENQUIRY.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        // Half of them from people nobody knows yet.
        let person = if number.is_multiple_of(2) { number * 7919 % PROFILES } else { PROFILES + number };
        let batch = IngestBatch { items: vec![mail(number, person, now())], ..IngestBatch::default() };
        let (hub, taken) = (hub.clone(), Arc::clone(&taken));
        tasks.spawn(async move {
            let accepted = hub.ingest(connection, batch).await?.accepted;
            taken.fetch_add(accepted, Ordering::Relaxed);
            anyhow::Ok(())
        });
        while let Some(done) = tasks.try_join_next() {
            done??;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a mail")??;
    }
    Ok(taken.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}
