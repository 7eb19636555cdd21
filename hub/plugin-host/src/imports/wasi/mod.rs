//! WASI 0.2 with nothing in it, for guests whose language brings it: clocks, random bytes, a place for `print` to end, and no more.
//!
//! There are no files, no arguments, no environment, no sockets, no standard input. What such a guest prints goes to the log, under the
//! log's limits. Everything else it may import of the interfaces in [`OFFERED`] is there so that it links, and answers as a system
//! would that allows nothing: the error that says so, nothing found, or, where the function has no way to say it, the instance's end.
//!
//! Offered for each component anew, under the version it names: a patch version of WASI adds functions, and these are denied too.
//! Anchor: the WIT of WASI 0.2, whose names and types stand here.

mod io;
mod system;

use wasmtime::Engine;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

use crate::guest::Guest;

/// How names of WASI's interfaces begin.
pub(crate) const PREFIX: &str = "wasi:";
/// The interfaces a guest may import, of any version 0.2.
const OFFERED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];
/// How WASI's error codes call a refusal.
const REFUSALS: &[&str] = &["access-denied", "not-permitted", "access"];

/// A thing that exists only so that its type does: no guest ever holds one, but for the network, with which nothing can be done.
#[derive(Debug)]
pub(crate) struct Nothing;

/// Why a guest ended itself or was ended in WASI, where there is no error to hand back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The hub wants the call to end, and the guest waits for something else.
    #[error("the hub asked for the end of the call")]
    Cancelled,
    /// It called `exit`.
    #[error("the plugin ended itself with exit({0})")]
    Exit(u8),
    /// It called something that is not offered and cannot be refused.
    #[error("{0} is not offered: plugins have no files and no sockets; use http and net of throughline:connector")]
    Denied(String),
}

/// Whether a component may import this interface; the error says why not.
pub(crate) fn is_offered(name: &str) -> Result<(), String> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if !OFFERED.contains(&interface) {
        return Err("of WASI, only clocks, random bytes and printing are offered; for the rest there is throughline:connector".to_owned());
    }
    if version != "0.2" && !version.starts_with("0.2.") {
        return Err("of WASI, versions 0.2 are offered".to_owned());
    }
    Ok(())
}

/// A linker that offers what this component imports of WASI as well; none if it imports nothing of it.
pub(crate) fn linker_for(linker: &Linker<Guest>, engine: &Engine, component: &Component) -> wasmtime::Result<Option<Linker<Guest>>> {
    let component = component.component_type();
    let mut extended = None;
    for (name, import) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !name.starts_with(PREFIX) {
            continue;
        }
        let linker = extended.get_or_insert_with(|| linker.clone());
        let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
        let mut offered = linker.instance(name)?;
        for (function, export) in instance.exports(engine) {
            offer(&mut offered, interface, function, &export.ty)?;
        }
    }
    Ok(extended)
}

fn offer(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str, item: &ComponentItem) -> wasmtime::Result<()> {
    match item {
        ComponentItem::Resource(_) => io::offer_resource(linker, name),
        ComponentItem::ComponentFunc(_) if io::offer(linker, interface, name)? || system::offer(linker, interface, name)? => Ok(()),
        ComponentItem::ComponentFunc(function) => {
            let results: Vec<Type> = function.results().collect();
            let place = format!("{interface}#{name}");
            linker.func_new(name, move |_, _, _, out| match (out, refusal(&results)) {
                ([out], Some(refusal)) => {
                    *out = refusal;
                    Ok(())
                }
                _ => Err(Ended::Denied(place.clone()).into()),
            })
        }
        // Types need nobody to offer them.
        _ => Ok(()),
    }
}

/// The answer of a system that allows nothing and holds nothing, if the type has one.
fn refusal(results: &[Type]) -> Option<Val> {
    match results {
        [Type::Option(_)] => Some(Val::Option(None)),
        [Type::List(_)] => Some(Val::List(Vec::new())),
        [Type::Result(result)] => {
            let Some(Type::Enum(codes)) = result.err() else { return None };
            let known: Vec<&str> = codes.names().collect();
            let code = REFUSALS.iter().find(|code| known.contains(*code))?;
            Some(Val::Result(Err(Some(Box::new(Val::Enum((*code).to_owned()))))))
        }
        _ => None,
    }
}

/// The type of a resource that guests cannot have.
fn nothing() -> ResourceType {
    ResourceType::host::<Nothing>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_harmless_part_of_wasi_0_2_is_offered() {
        for name in ["wasi:cli/environment@0.2.0", "wasi:io/streams@0.2.12", "wasi:sockets/tcp@0.2.3"] {
            assert!(is_offered(name).is_ok(), "{name}");
        }
        for name in ["wasi:http/outgoing-handler@0.2.0", "wasi:cli/environment@0.3.0", "wasi:cli/environment", "wasi:keyvalue/store@0.2.0"]
        {
            assert!(is_offered(name).is_err(), "{name}");
        }
    }
}
