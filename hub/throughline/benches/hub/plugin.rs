//! What a call into a plugin costs, a fresh instance, and a thousand that only listen.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use throughline_plugin_host::bench_support::Bench;
use throughline_plugin_host::{Host, HostOptions};

use crate::in_process::folder;
use crate::listeners::{Kind, Listeners};
use crate::report::Part;
use crate::{echo_guest, listeners};

const PAYLOAD: usize = 1024;
const CALLS: u32 = 200_000;
const INSTANCES: u32 = 3_000;

pub(crate) async fn measure() -> anyhow::Result<Part> {
    let folder = folder()?;
    let options = HostOptions::new(folder.path().join("plugins"), folder.path().join("cache"));
    let host = Host::new(options)?;
    let echo = Bench::new(host.clone(), &echo_guest::component()?, json!({}))?;
    let sdk = Bench::new(host, &component("minimal")?, json!({ "base_url": "http://silo.example" }))?;
    let mut part = Part::new("plugin");
    let call = each(calls(&echo, CALLS).await?, CALLS);
    let native = each(native_copies(CALLS), CALLS);
    part.figure("call with 1 KiB of text in and out, warm instance", call, "us");
    part.figure("native call that takes and gives 1 KiB of text", native, "us");
    let json_call = each(calls(&sdk, CALLS / 4).await?, CALLS / 4);
    let native_json = each(native_json(CALLS / 4)?, CALLS / 4);
    part.figure("call of a plugin made with the SDK, 1 KiB parsed and printed as JSON in it", json_call, "us");
    part.figure("native call that parses and prints the same", native_json, "us");
    for (name, bench) in [("the smallest component", &echo), ("a plugin made with the SDK", &sdk)] {
        let took = bench.instantiate(INSTANCES).await.map_err(anyhow::Error::msg)?;
        part.figure(format!("instantiate and drop: {name}"), each(took, INSTANCES), "us");
    }
    let smallest = listeners::measure(Kind::Smallest, &echo_guest::component()?).await?;
    listening(&mut part, "that only sleep", &smallest);
    let asterisk = listeners::measure(Kind::Asterisk, &component("asterisk")?).await?;
    listening(&mut part, "of the asterisk plugin, logged in", &asterisk);
    part.at_most("plugin call over native, 1 KiB of text", call - native, 1.0, "us");
    // Pages of the compiled code and of the memory's first image are there once, however many map them.
    part.at_most("an idle listener that only sleeps", smallest.once_kib, 64.0, "KiB");
    part.at_most("an idle listener of the asterisk plugin", asterisk.once_kib, 64.0, "KiB");
    Ok(part)
}

fn listening(part: &mut Part, what: &str, listeners: &Listeners) {
    let name = format!("{} connections {what}", listeners.count);
    part.figure(format!("{name}: resident, each page once, for each"), listeners.once_kib, "KiB");
    part.figure(format!("{name}: of that not pages of files"), listeners.anonymous_kib, "KiB");
    part.figure(format!("{name}: resident, shared pages counted for each"), listeners.resident_kib, "KiB");
    part.figure(format!("{name}: to open one, all being opened at once"), listeners.opened_us, "us");
    part.figure(format!("{name}: to stop one, all being stopped at once"), listeners.stopped_us, "us");
}

/// A built plugin.
pub(crate) fn component(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = plugins_folder().join(format!("{name}.wasm"));
    std::fs::read(&path).with_context(|| format!("{} is missing: build it with `cargo xtask plugins`", path.display()))
}

fn plugins_folder() -> PathBuf {
    crate::target_folder().join("plugins")
}

/// The best of three: what disturbs a measurement only ever makes it longer.
async fn calls(bench: &Bench, count: u32) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        best = best.min(bench.calls(count, PAYLOAD).await.map_err(anyhow::Error::msg)?);
    }
    Ok(best)
}

fn each(took: Duration, count: u32) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(count)
}

/// As a plugin's caller: text is copied to whoever is called and copied back.
fn native_copies(count: u32) -> Duration {
    let value = format!("\"{}\"", "x".repeat(PAYLOAD - 2));
    let began = Instant::now();
    for _ in 0..count {
        let given = black_box(black_box(value.as_str()).to_owned());
        black_box(gives_back(given.as_str()));
    }
    began.elapsed()
}

#[inline(never)]
fn gives_back(value: &str) -> String {
    value.to_owned()
}

fn native_json(count: u32) -> anyhow::Result<Duration> {
    let value = format!("\"{}\"", "x".repeat(PAYLOAD - 2));
    let began = Instant::now();
    for _ in 0..count {
        let parsed: Value = serde_json::from_str(black_box(value.as_str()))?;
        black_box(parsed.to_string());
    }
    Ok(began.elapsed())
}
