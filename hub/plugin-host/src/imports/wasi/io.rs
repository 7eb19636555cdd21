//! `wasi:io`: pollables that are ready or wait for a time, input that has ended, output that goes to the log.

use std::time::Instant;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource, ResourceType};

use super::Ended;
use crate::guest::Guest;
use crate::wit::v0_1_0::imports::log::{Host as _, Level};

/// A line longer than this is logged in pieces.
const LONGEST_LINE: usize = 4096;
/// What a guest may write at once.
const ROOM: u64 = 64 * 1024;

/// Something a guest can wait for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pollable {
    Ready,
    At(Instant),
}

impl Pollable {
    fn is_ready(self) -> bool {
        match self {
            Self::Ready => true,
            Self::At(at) => Instant::now() >= at,
        }
    }
}

/// Standard input: at its end.
#[derive(Debug)]
pub(super) struct Input;

/// Standard output or error.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) level: Level,
    line: Vec<u8>,
}

impl Output {
    pub(super) fn to(level: Level) -> Self {
        Self { level, line: Vec::new() }
    }
}

/// An error of a stream: there are none, but the type is part of the interface.
#[derive(Debug)]
pub(super) struct StreamFault;

/// A file or a folder: there are none.
#[derive(Debug)]
pub(super) struct Descriptor;

/// A terminal: there are none.
#[derive(Debug)]
pub(super) struct TerminalInput;

/// A terminal: there are none.
#[derive(Debug)]
pub(super) struct TerminalOutput;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "a case of WASI's that never happens here")]
    LastOperationFailed(Resource<StreamFault>),
    #[component(name = "closed")]
    Closed,
}

type Context<'a> = StoreContextMut<'a, Guest>;

/// Defines the type of a resource, by its name; what a guest drops is forgotten.
pub(super) fn offer_resource(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<()> {
    macro_rules! resource {
        ($type:ty) => {
            linker.resource(name, ResourceType::host::<$type>(), |mut store: Context<'_>, rep| {
                Ok(store.data_mut().table.delete(Resource::<$type>::new_own(rep)).map(|_| ())?)
            })
        };
    }
    match name {
        "pollable" => resource!(Pollable),
        "input-stream" => resource!(Input),
        "output-stream" => resource!(Output),
        "error" => resource!(StreamFault),
        "descriptor" => resource!(Descriptor),
        "terminal-input" => resource!(TerminalInput),
        "terminal-output" => resource!(TerminalOutput),
        _ => linker.resource(name, super::nothing(), |mut store: Context<'_>, rep| {
            Ok(store.data_mut().table.delete(Resource::<super::Nothing>::new_own(rep)).map(|_| ())?)
        }),
    }
}

/// Defines a function of `wasi:io`; false if it is none of these.
pub(super) fn offer(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<bool> {
    match interface {
        "wasi:io/error" => {
            linker.func_wrap(name, |_: Context<'_>, (_,): (Resource<StreamFault>,)| Ok((String::new(),)))?;
            Ok(true)
        }
        "wasi:io/poll" => offer_poll(linker, name),
        "wasi:io/streams" => Ok(offer_input(linker, name)? || offer_output(linker, name)?),
        _ => Ok(false),
    }
}

fn offer_poll(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]pollable.ready" => {
            linker.func_wrap(name, |store: Context<'_>, (one,): (Resource<Pollable>,)| Ok((store.data().table.get(&one)?.is_ready(),)))?
        }
        "[method]pollable.block" => linker.func_wrap_async(name, |store: Context<'_>, (one,): (Resource<Pollable>,)| {
            Box::new(async move { wait(store, vec![one]).await.map(drop) })
        })?,
        "poll" => linker.func_wrap_async(name, |store: Context<'_>, (all,): (Vec<Resource<Pollable>>,)| {
            Box::new(async move { wait(store, all).await.map(|ready| (ready,)) })
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Waits until at least one is ready, and says which are. The hub's wish that the call ends, ends the instance: there is no error that
/// could be handed back.
async fn wait(store: Context<'_>, all: Vec<Resource<Pollable>>) -> wasmtime::Result<Vec<u32>> {
    let guest = store.data();
    let all = all.iter().map(|one| guest.table.get(one).copied()).collect::<Result<Vec<_>, _>>()?;
    let first = all.iter().map(|one| match one {
        Pollable::Ready => Instant::now(),
        Pollable::At(at) => *at,
    });
    // WASI has a trap for who waits for nothing at all.
    let first = first.min().ok_or_else(|| Ended::Denied("waiting for nothing".to_owned()))?;
    let sleep = guest.or_cancelled(async move {
        tokio::time::sleep_until(first.into()).await;
        Ok(())
    });
    sleep.await.map_err(|_| Ended::Cancelled)?;
    let indices = (0_u32..).zip(&all).filter(|(_, one)| one.is_ready());
    Ok(indices.map(|(index, _)| index).collect())
}

fn offer_input(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linker.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Input>, u64)| Ok((Err::<Vec<u8>, _>(StreamError::Closed),)))?;
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            linker.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Input>, u64)| Ok((Err::<u64, _>(StreamError::Closed),)))?;
        }
        "[method]input-stream.subscribe" => {
            linker.func_wrap(name, |mut store: Context<'_>, (_,): (Resource<Input>,)| Ok((ready(&mut store)?,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn ready(store: &mut Context<'_>) -> wasmtime::Result<Resource<Pollable>> {
    Ok(store.data_mut().table.push(Pollable::Ready)?)
}

fn offer_output(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]output-stream.check-write" => {
            linker.func_wrap(name, |_: Context<'_>, (_,): (Resource<Output>,)| Ok((Ok::<_, StreamError>(ROOM),)))?;
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linker.func_wrap(name, |mut store: Context<'_>, (to, bytes): (Resource<Output>, Vec<u8>)| {
                store.data_mut().print(&to, &bytes)?;
                Ok((Ok::<(), StreamError>(()),))
            })?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linker.func_wrap(name, |_: Context<'_>, (_,): (Resource<Output>,)| Ok((Ok::<(), StreamError>(()),)))?;
        }
        "[method]output-stream.subscribe" => {
            linker.func_wrap(name, |mut store: Context<'_>, (_,): (Resource<Output>,)| Ok((ready(&mut store)?,)))?;
        }
        "[method]output-stream.write-zeroes" | "[method]output-stream.blocking-write-zeroes-and-flush" => {
            linker.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Output>, u64)| Ok((Ok::<(), StreamError>(()),)))?;
        }
        "[method]output-stream.splice" | "[method]output-stream.blocking-splice" => {
            linker.func_wrap(name, |_: Context<'_>, (_, _, _): (Resource<Output>, Resource<Input>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

impl Guest {
    /// Logs whole lines, and keeps the beginning of the next one.
    fn print(&mut self, to: &Resource<Output>, bytes: &[u8]) -> wasmtime::Result<()> {
        let output = self.table.get_mut(to)?;
        output.line.extend_from_slice(bytes);
        let ended = output.line.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let until = if output.line.len() > LONGEST_LINE { Some(output.line.len()) } else { ended };
        let Some(until) = until else { return Ok(()) };
        let (level, lines) = (output.level, output.line.drain(..until).collect::<Vec<u8>>());
        for line in String::from_utf8_lossy(&lines).lines().filter(|line| !line.trim().is_empty()) {
            self.log(level, line.to_owned(), Vec::new());
        }
        Ok(())
    }
}
