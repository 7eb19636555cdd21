//! Builds plugins: finds a compiler for `wasm32-unknown-unknown`, compiles, makes components of the modules, checks and places them.
//!
//! It knows cargo, the toolchains and the component encoding; it knows nothing of the hub that loads the result.

mod component;
mod toolchain;
mod workspace;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use toolchain::Toolchain;
use workspace::{Guest, Workspace};

/// `cargo xtask plugins`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these plugins, by crate or plugin name; all of the workspace if none is named.
    names: Vec<String>,
    /// Build the plugin in this folder, outside the workspace; the component goes to its own target/plugins.
    #[arg(long, value_name = "DIR", conflicts_with = "names")]
    path: Option<PathBuf>,
}

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// The plugin's name, from its manifest.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Where the component is.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: usize,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let built = match &arguments.path {
        Some(folder) => build_folder(folder)?,
        None if arguments.names.is_empty() => build_all()?,
        None => build(&arguments.names)?,
    };
    for Built { name, version, path, size } in built {
        println!("{name:<12} {version:<8} {:>6} KiB  {}", size.div_ceil(1024), path.display());
    }
    Ok(())
}

/// Builds every plugin of the workspace. Quick when nothing changed.
pub(crate) fn build_all() -> Result<Vec<Built>> {
    build(&[])
}

/// Builds the plugins of the workspace that are named, or all.
fn build(names: &[String]) -> Result<Vec<Built>> {
    let workspace = Workspace::load(None)?;
    let guests = workspace.select(names)?;
    build_guests(&workspace, &guests)
}

/// Builds a plugin outside the workspace.
fn build_folder(folder: &Path) -> Result<Vec<Built>> {
    let manifest = folder.join("Cargo.toml");
    let workspace = Workspace::load(Some(&manifest))?;
    let guests = vec![workspace.package_at(&manifest)?];
    build_guests(&workspace, &guests)
}

fn build_guests(workspace: &Workspace, guests: &[Guest]) -> Result<Vec<Built>> {
    let toolchain = Toolchain::find()?;
    eprintln!("compiling {} for wasm32-unknown-unknown with {toolchain}", counted(guests.len()));
    let modules = workspace.compile(guests, &toolchain)?;
    let folder = workspace.target.join("plugins");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    guests.iter().zip(modules).map(|(guest, module)| place(guest, &module, &folder)).collect()
}

fn counted(guests: usize) -> String {
    if guests == 1 { "1 plugin".to_owned() } else { format!("{guests} plugins") }
}

/// Makes the component and puts it at its place. A file that already holds the same bytes is not touched.
fn place(guest: &Guest, module: &Path, folder: &Path) -> Result<Built> {
    let core = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = component::encode(&core).with_context(|| format!("{} cannot be made a component", guest.package))?;
    let manifest = &component.manifest;
    ensure!(
        manifest.name == guest.plugin_name(),
        "{}: its manifest.json is named {:?}, not {:?}",
        guest.package,
        manifest.name,
        guest.plugin_name()
    );
    if manifest.version != guest.version {
        bail!("{}: manifest.json says version {}, Cargo.toml says {}", guest.package, manifest.version, guest.version);
    }
    let path = folder.join(format!("{}.wasm", manifest.name));
    if fs::read(&path).ok().as_deref() != Some(component.bytes.as_slice()) {
        let temporary = folder.join(format!(".{}.{}", manifest.name, std::process::id()));
        fs::write(&temporary, &component.bytes).with_context(|| format!("cannot write {}", temporary.display()))?;
        fs::rename(&temporary, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Built { name: manifest.name.clone(), version: manifest.version.clone(), path, size: component.bytes.len() })
}
