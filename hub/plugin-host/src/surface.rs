//! What a component imports and exports, read from its bytes without compiling or running it.

use std::collections::BTreeSet;

use throughline_domain::connector::PluginError;
use throughline_schemas::WIT_VERSIONS;
use throughline_schemas::manifest::MANIFEST_SECTION;
use wasmparser::{Encoding, Parser, Payload};

use crate::imports::wasi;

const PACKAGE: &str = "throughline:connector/";
/// The interfaces of our world that a plugin may import; `types` holds types only.
const IMPORTS: &[&str] = &["log", "clock", "random", "control", "state", "secrets", "http", "net", "blobs", "emit"];
/// Stands for all that a guest imports of WASI: it is nothing that could be granted.
const WASI: &str = "wasi";
const EXPORTS: &[&str] = &["plugin", "source", "sink", "webhook", "listener", "channel"];

/// A component's border.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    /// Interfaces imported, `types` left out.
    pub(crate) imports: BTreeSet<String>,
    /// Interfaces exported, the mandatory `plugin` left out.
    pub(crate) exports: BTreeSet<String>,
    /// The WIT versions that occur in the names of either.
    pub(crate) versions: BTreeSet<String>,
    /// The custom section with the manifest.
    pub(crate) manifest: Option<Vec<u8>>,
}

/// Reads a component's border.
pub(crate) fn read(bytes: &[u8]) -> Result<Surface, PluginError> {
    let mut names = Names::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(PluginError::NotAComponent(
                    "it is a core module; turn it into a component with `cargo xtask plugins`".to_owned(),
                ));
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => names.take_manifest(section.data(), depth)?,
            // What else lies deeper belongs to the modules and components inside.
            _ if depth != 1 => {}
            payload => names.take(payload)?,
        }
    }
    if depth != 0 {
        return Err(PluginError::NotAComponent("it ends too early".to_owned()));
    }
    names.into_surface()
}

#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    manifest: Option<Vec<u8>>,
    inner_manifest: Option<Vec<u8>>,
}

impl Names {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), PluginError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    // A compiler leaves the section in the core module, a packager may put it on the component itself: then that one counts.
    fn take_manifest(&mut self, data: &[u8], depth: u32) -> Result<(), PluginError> {
        let place = if depth <= 1 { &mut self.manifest } else { &mut self.inner_manifest };
        if place.as_ref().is_some_and(|known| known != data) {
            return Err(PluginError::Manifest { pointer: String::new(), detail: "there are two manifests that differ".to_owned() });
        }
        *place = Some(data.to_vec());
        Ok(())
    }

    fn into_surface(self) -> Result<Surface, PluginError> {
        let mut surface = Surface { manifest: self.manifest.or(self.inner_manifest), ..Surface::default() };
        for name in &self.imports {
            if name.starts_with(wasi::PREFIX) {
                wasi::is_offered(name).map_err(|why| PluginError::Mismatch(format!("it imports {name}: {why}")))?;
                surface.imports.insert(WASI.to_owned());
                continue;
            }
            let interface = surface.interface(name, "imports")?;
            if interface == "types" {
                continue;
            }
            if !IMPORTS.contains(&interface.as_str()) {
                return Err(PluginError::Mismatch(format!("it imports {name}, which this hub does not offer")));
            }
            surface.imports.insert(interface);
        }
        for name in &self.exports {
            // No interface: what a language's tools left there for themselves, which nobody calls.
            if !name.contains(':') {
                continue;
            }
            let interface = surface.interface(name, "exports")?;
            if !EXPORTS.contains(&interface.as_str()) {
                return Err(PluginError::Mismatch(format!("it exports {name}, which this hub does not know")));
            }
            surface.exports.insert(interface);
        }
        if !surface.exports.remove("plugin") {
            return Err(PluginError::Mismatch("it does not export throughline:connector/plugin, which every plugin must".to_owned()));
        }
        Ok(surface)
    }
}

impl Surface {
    fn interface(&mut self, name: &str, verb: &str) -> Result<String, PluginError> {
        let Some(rest) = name.strip_prefix(PACKAGE) else { return Err(foreign(name, verb)) };
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        if !WIT_VERSIONS.contains(&version) {
            return Err(wit_version(version));
        }
        self.versions.insert(version.to_owned());
        Ok(interface.to_owned())
    }
}

/// The error for a WIT version we do not load.
pub(crate) fn wit_version(found: &str) -> PluginError {
    PluginError::WitVersion { found: found.to_owned(), supported: WIT_VERSIONS.iter().map(ToString::to_string).collect() }
}

fn foreign(name: &str, verb: &str) -> PluginError {
    PluginError::Mismatch(format!("it {verb} {name}: only interfaces of throughline:connector are known here"))
}

fn malformed(error: wasmparser::BinaryReaderError) -> PluginError {
    PluginError::NotAComponent(error.to_string())
}
