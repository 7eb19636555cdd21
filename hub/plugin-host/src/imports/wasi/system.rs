//! The rest of WASI that answers: an empty environment, clocks and random bytes that are the hub's, no folders.

use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource};

use super::io::{Descriptor, Input, Output, Pollable, TerminalInput, TerminalOutput};
use super::{Ended, Nothing};
use crate::guest::Guest;
use crate::wit::v0_1_0::imports;
use crate::wit::v0_1_0::imports::log::Level;

type Context<'a> = StoreContextMut<'a, Guest>;

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Defines a function; false if it is none of these.
pub(super) fn offer(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<bool> {
    match interface {
        "wasi:cli/environment" => environment(linker, name),
        "wasi:cli/exit" => exit(linker, name),
        "wasi:clocks/wall-clock" => wall_clock(linker, name),
        "wasi:clocks/monotonic-clock" => monotonic_clock(linker, name),
        "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => random(linker, name),
        _ => handles(linker, interface, name),
    }
}

fn environment(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-environment" => linker.func_wrap(name, |_: Context<'_>, ()| Ok((Vec::<(String, String)>::new(),)))?,
        "get-arguments" => linker.func_wrap(name, |_: Context<'_>, ()| Ok((Vec::<String>::new(),)))?,
        "initial-cwd" => linker.func_wrap(name, |_: Context<'_>, ()| Ok((None::<String>,)))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn exit(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "exit" => linker.func_wrap(name, |_: Context<'_>, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            Err(Ended::Exit(u8::from(status.is_err())).into())
        })?,
        "exit-with-code" => {
            linker.func_wrap(name, |_: Context<'_>, (code,): (u8,)| -> wasmtime::Result<()> { Err(Ended::Exit(code).into()) })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn wall_clock(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut store: Context<'_>, ()| {
            let millis = imports::clock::Host::now_ms(store.data_mut());
            let nanoseconds = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
            Ok((Datetime { seconds: millis / 1000, nanoseconds },))
        })?,
        "resolution" => linker.func_wrap(name, |_: Context<'_>, ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },)))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn monotonic_clock(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut store: Context<'_>, ()| Ok((imports::clock::Host::monotonic_ns(store.data_mut()),)))?,
        "resolution" => linker.func_wrap(name, |_: Context<'_>, ()| Ok((1_u64,)))?,
        "subscribe-instant" => linker.func_wrap(name, |mut store: Context<'_>, (when,): (u64,)| {
            let born = store.data().born;
            Ok((timer(&mut store, born, when)?,))
        })?,
        "subscribe-duration" => {
            linker.func_wrap(name, |mut store: Context<'_>, (long,): (u64,)| Ok((timer(&mut store, Instant::now(), long)?,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A time too far away to be written down is as good as a year: no instance lives so long.
fn timer(store: &mut Context<'_>, from: Instant, nanos: u64) -> wasmtime::Result<Resource<Pollable>> {
    let year = Duration::from_secs(365 * 24 * 3600);
    let at = from + Duration::from_nanos(nanos).min(year);
    Ok(store.data_mut().table.push(Pollable::At(at))?)
}

fn random(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            linker.func_wrap(name, |mut store: Context<'_>, (length,): (u64,)| Ok((bytes(&mut store, length)?,)))?;
        }
        "get-random-u64" | "get-insecure-random-u64" => {
            linker.func_wrap(name, |mut store: Context<'_>, ()| Ok((number(&mut store)?,)))?;
        }
        "insecure-seed" | "get-insecure-seed" => {
            linker.func_wrap(name, |mut store: Context<'_>, ()| Ok(((number(&mut store)?, number(&mut store)?),)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// As many as asked for, or the instance's end: a guest that counts on them must not get fewer.
fn bytes(store: &mut Context<'_>, length: u64) -> wasmtime::Result<Vec<u8>> {
    let wanted = u32::try_from(length).unwrap_or(u32::MAX);
    let bytes = imports::random::Host::bytes(store.data_mut(), wanted);
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(Ended::Denied(format!("getting {length} random bytes at once")).into()) }
}

fn number(store: &mut Context<'_>) -> wasmtime::Result<u64> {
    let bytes = bytes(store, 8)?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Functions that hand out a handle, or say that there is none.
fn handles(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<bool> {
    macro_rules! push {
        ($value:expr) => {
            linker.func_wrap(name, |mut store: Context<'_>, ()| Ok((store.data_mut().table.push($value)?,)))?
        };
    }
    match (interface, name) {
        ("wasi:cli/stdin", "get-stdin") => push!(Input),
        ("wasi:cli/stdout", "get-stdout") => push!(Output::to(Level::Info)),
        // Where languages write their last words.
        ("wasi:cli/stderr", "get-stderr") => push!(Output::to(Level::Error)),
        ("wasi:sockets/instance-network", "instance-network") => push!(Nothing),
        ("wasi:cli/terminal-stdin", "get-terminal-stdin") => {
            linker.func_wrap(name, |_: Context<'_>, ()| Ok((None::<Resource<TerminalInput>>,)))?;
        }
        ("wasi:cli/terminal-stdout", "get-terminal-stdout") | ("wasi:cli/terminal-stderr", "get-terminal-stderr") => {
            linker.func_wrap(name, |_: Context<'_>, ()| Ok((None::<Resource<TerminalOutput>>,)))?;
        }
        ("wasi:filesystem/preopens", "get-directories") => {
            linker.func_wrap(name, |_: Context<'_>, ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
