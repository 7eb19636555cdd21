//! From a core module to a component that carries its manifest where the hub looks for it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use throughline_schemas::WIT_VERSIONS;
use throughline_schemas::manifest::{MANIFEST_SECTION, Manifest};
use wasm_encoder::{CustomSection, Encode, Module, RawSection, Section};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};

/// The one package whose interfaces a plugin may use.
const PACKAGE: &str = "throughline:connector/";
/// The interfaces a plugin may export besides `plugin`.
const OPTIONAL_EXPORTS: [&str; 5] = ["source", "sink", "webhook", "listener", "channel"];

/// A finished component.
#[derive(Debug)]
pub(crate) struct Component {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What it declares.
    pub(crate) manifest: Manifest,
}

/// Makes a component of a core module that the SDK's macro was used in, and checks that the hub would take it.
pub(crate) fn encode(core: &[u8]) -> Result<Component> {
    let (module, text) = take_manifest(core)?;
    let manifest = read_manifest(&text)?;
    let mut bytes = ComponentEncoder::default().validate(true).module(&module)?.encode()?;
    check_interfaces(&interfaces(&bytes)?)?;
    append_section(&mut bytes, MANIFEST_SECTION, &text);
    Ok(Component { bytes, manifest })
}

/// The module without its manifest section, and the manifest's bytes: inside the component they would only stand twice.
fn take_manifest(core: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut module = Module::new();
    let mut manifest = None;
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload.context("the compiler's output is not a WebAssembly module")?;
        if let Payload::CustomSection(section) = &payload
            && section.name() == MANIFEST_SECTION
        {
            ensure!(manifest.is_none(), "there are two manifests: `export!` stands twice");
            manifest = Some(section.data().to_vec());
        } else if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &core[range] });
        }
    }
    let manifest = manifest.context("there is no manifest: `throughline_plugin_sdk::export!` is missing")?;
    Ok((module.finish(), manifest))
}

fn read_manifest(text: &[u8]) -> Result<Manifest> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let manifest: Manifest = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| anyhow::anyhow!("manifest.json is wrong at {}: {}", error.path(), error.inner()))?;
    deserializer.end().context("manifest.json goes on after its end")?;
    ensure!(
        WIT_VERSIONS.contains(&manifest.wit.as_str()),
        "manifest.json asks for WIT version {:?}; this SDK builds {}",
        manifest.wit,
        WIT_VERSIONS.join(", ")
    );
    ensure!(manifest.config.is_object(), "manifest.json: `config` must be a JSON Schema, that is an object");
    ensure!(
        !manifest.name.is_empty() && manifest.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
        "manifest.json: the name {:?} may hold lower-case letters, digits and hyphens only",
        manifest.name
    );
    Ok(manifest)
}

/// Imports and exports of a component, by interface.
#[derive(Debug, PartialEq, Eq)]
struct Interfaces {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

fn interfaces(component: &[u8]) -> Result<Interfaces> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("this is a WIT package, not a component");
    };
    let world = &resolve.worlds[world];
    let names = |keys: Vec<_>| keys.into_iter().map(|key| resolve.name_world_key(key)).collect();
    Ok(Interfaces { imports: names(world.imports.keys().collect()), exports: names(world.exports.keys().collect()) })
}

fn check_interfaces(interfaces: &Interfaces) -> Result<()> {
    let Interfaces { imports, exports } = interfaces;
    for import in imports {
        ensure!(import.starts_with(PACKAGE), "it imports {import}, which the hub does not have");
    }
    let own: BTreeSet<&str> = exports.iter().filter_map(|export| interface(export)).collect();
    ensure!(own.len() == exports.len(), "it exports something that is not of {PACKAGE}: {exports:?}");
    ensure!(own.contains("plugin"), "it does not export `plugin`");
    ensure!(own.iter().any(|export| OPTIONAL_EXPORTS.contains(export)), "it exports none of {}", OPTIONAL_EXPORTS.join(", "));
    Ok(())
}

/// `source` of `throughline:connector/source@0.1.0`.
fn interface(name: &str) -> Option<&str> {
    name.strip_prefix(PACKAGE)?.split('@').next()
}

fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = CustomSection { name: name.into(), data: data.into() };
    component.push(section.id());
    section.encode(component);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module_with(manifests: &[&str]) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&CustomSection { name: "other".into(), data: b"kept"[..].into() });
        for manifest in manifests {
            module.section(&CustomSection { name: MANIFEST_SECTION.into(), data: manifest.as_bytes().into() });
        }
        module.finish()
    }

    #[test]
    fn the_manifest_is_taken_out_and_the_rest_is_kept() {
        let (module, manifest) = take_manifest(&module_with(&["{}"])).unwrap();
        assert_eq!(manifest, b"{}");
        assert_eq!(module, module_with(&[]));
    }

    #[test]
    fn a_module_without_exactly_one_manifest_is_refused() {
        let message = |bytes: &[u8]| format!("{:#}", take_manifest(bytes).unwrap_err());
        assert!(message(&module_with(&[])).contains("export!"));
        assert!(message(&module_with(&["{}", "{}"])).contains("two manifests"));
        assert!(message(b"\0asm, not quite").contains("not a WebAssembly module"));
    }

    #[test]
    fn a_manifest_that_is_wrong_is_refused_with_the_place() {
        let good =
            r#"{"name": "a-1", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "s", "kinds": ["crm"], "config": {}}"#;
        assert_eq!(read_manifest(good.as_bytes()).unwrap().name, "a-1");
        let table = [
            (good.replace("\"kinds\": [\"crm\"]", "\"kinds\": [1]"), "kinds[0]"),
            (good.replace("summary", "sumary"), "sumary"),
            (good.replace("\"wit\": \"0.1.0\"", "\"wit\": \"9.0.0\""), "9.0.0"),
            (good.replace("\"config\": {}", "\"config\": true"), "JSON Schema"),
            (good.replace("a-1", "A 1"), "lower-case"),
            (format!("{good} {good}"), "after its end"),
        ];
        for (text, wanted) in table {
            let message = format!("{:#}", read_manifest(text.as_bytes()).unwrap_err());
            assert!(message.contains(wanted), "{message} should name {wanted}");
        }
    }

    #[test]
    fn only_the_hubs_own_interfaces_are_let_through() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let check = |imports: &[&str], exports: &[&str]| check_interfaces(&Interfaces { imports: names(imports), exports: names(exports) });
        let (plugin, sink) = ("throughline:connector/plugin@0.1.0", "throughline:connector/sink@0.1.0");
        assert!(check(&["throughline:connector/http@0.1.0"], &[plugin, sink]).is_ok());
        let refused = |imports: &[&str], exports: &[&str]| check(imports, exports).unwrap_err().to_string();
        assert!(refused(&["wasi:cli/environment@0.2.0"], &[plugin, sink]).contains("wasi:cli/environment"));
        assert!(refused(&[], &[plugin]).contains("none of source"));
        assert!(refused(&[], &[sink]).contains("does not export `plugin`"));
        assert!(refused(&[], &[plugin, sink, "other:thing/x"]).contains("other:thing/x"));
    }

    #[test]
    fn a_section_appended_to_a_component_is_found_at_its_top_level() {
        let mut component = wasm_encoder::Component::new().finish();
        append_section(&mut component, MANIFEST_SECTION, b"{\"a\": 1}");
        let found: Vec<_> = Parser::new(0)
            .parse_all(&component)
            .filter_map(|payload| match payload.unwrap() {
                Payload::CustomSection(section) => Some((section.name().to_owned(), section.data().to_vec())),
                _ => None,
            })
            .collect();
        assert_eq!(found, [(MANIFEST_SECTION.to_owned(), b"{\"a\": 1}".to_vec())]);
    }
}
