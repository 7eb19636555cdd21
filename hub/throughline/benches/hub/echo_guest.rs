//! The smallest plugin there can be, written as WebAssembly text: its `migrate` gives back what it got, its listener asks for the
//! time once and then sleeps.
//!
//! What it costs is what the contract and the host cost; what a plugin does besides is its own affair.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use throughline_schemas::manifest::MANIFEST_SECTION;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Arguments are laid one behind the other from 4096 on and forgotten after each call. A result is at 16: that it is good (0), and
/// from byte 8 on where its text is and how long.
const MODULE: &str = r#"(module
  (import "throughline:connector/clock@0.1.0" "now-ms" (func $now (result i64)))
  (import "throughline:connector/control@0.1.0" "sleep" (func $sleep (param i64 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "throughline:connector/plugin@0.1.0#check") (param i32 i32) (result i32) unreachable)
  (func (export "throughline:connector/plugin@0.1.0#options") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "throughline:connector/plugin@0.1.0#migrate")
    (param $what i32) (param $what_len i32) (param $from i32) (param $from_len i32) (param $value i32) (param $value_len i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 24) (local.get $value))
    (i32.store (i32.const 28) (local.get $value_len))
    (i32.const 16))
  (func (export "throughline:connector/listener@0.1.0#listen") (param i32 i32 i32 i32 i32) (result i32)
    (drop (call $now))
    (loop $again
      (call $sleep (i64.const 60000) (i32.const 64))
      (br_if $again (i32.eqz (i32.load8_u (i32.const 64)))))
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.const 16))
  (func (export "cabi_post_throughline:connector/plugin@0.1.0#migrate") (param i32)
    (global.set $free (i32.const 4096))))"#;

const WORLD: &str = "package bench:guest;
world guest {
  include throughline:connector/connector@0.1.0;
  export throughline:connector/listener@0.1.0;
}";

/// The component.
pub(crate) fn component() -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/wit/0.1.0");
    resolve.push_dir(&wit).with_context(|| format!("{} cannot be read", wit.display()))?;
    let package = resolve.push_str("guest.wit", WORLD)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    let mut module = wat::parse_str(MODULE)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default().validate(true).module(&module)?.encode()?;
    Ok(with_manifest(component))
}

fn with_manifest(mut component: Vec<u8>) -> Vec<u8> {
    let manifest = json!({
        "name": "echo", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "gives back", "kinds": ["crm"],
        "config": { "type": "object" },
    });
    let mut section = vec![u8::try_from(MANIFEST_SECTION.len()).expect("a short name")];
    section.extend_from_slice(MANIFEST_SECTION.as_bytes());
    section.extend_from_slice(manifest.to_string().as_bytes());
    component.push(0);
    component.extend(leb128(section.len()));
    component.extend(section);
    component
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
