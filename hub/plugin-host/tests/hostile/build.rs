//! Builds the hostile guest once for each test run and turns it into a component.
//!
//! The compiler is looked for as `cargo xtask plugins` does: a toolchain with the target, else Debian's with its library's source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "throughline-hostile-guest";

/// The component, built from the sources beside these tests.
pub(crate) fn hostile() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let module = std::fs::read(compile()).expect("the compiled guest can be read");
        componentize(&module)
    })
}

/// The component with another manifest in place of its own.
pub(crate) fn with_manifest(component: &[u8], manifest: &[u8]) -> Vec<u8> {
    let name = b"throughline:manifest";
    let mut section = leb128(name.len());
    section.extend_from_slice(name);
    section.extend_from_slice(manifest);
    let mut changed = component.to_vec();
    changed.push(0);
    changed.extend(leb128(section.len()));
    changed.extend(section);
    changed
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn componentize(module: &[u8]) -> Vec<u8> {
    wit_component::ComponentEncoder::default().validate(true).module(module).unwrap().encode().unwrap()
}

fn compile() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target_dir = workspace.join("target/guests");
    let mut cargo = compiler();
    cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--profile", "guest", "--target", TARGET, "--package", PACKAGE, "--target-dir"])
        .arg(&target_dir)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = cargo.status().expect("cargo starts");
    assert!(
        status.success(),
        "the hostile guest does not build: install the target {TARGET} or Debian's rustc-web, rust-web-src, cargo-web, lld-22"
    );
    target_dir.join(TARGET).join("guest").join("throughline_hostile_guest.wasm")
}

fn compiler() -> Command {
    let mut cargo = if has_target() { Command::new("cargo") } else { debian() };
    // What cargo tells the tests about itself is not for another compiler.
    for (name, _) in std::env::vars_os() {
        let inherited = name.to_string_lossy();
        if inherited.starts_with("CARGO_") && inherited != "CARGO_HOME" && !inherited.starts_with("CARGO_TARGET_WASM32")
            || inherited == "RUSTUP_TOOLCHAIN"
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn has_target() -> bool {
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == TARGET))
}

fn debian() -> Command {
    let mut cargo = Command::new("/usr/bin/cargo");
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default());
    cargo
        .arg("-Zbuild-std=std,panic_abort")
        .env("PATH", path)
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-22");
    cargo
}
