//! `throughline restore`: a backup becomes a new data folder, whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use throughline_store::backup::import;

use super::backup::{CONTENTS, Contents, FORMAT, KEY, Listed, Measured, PLUGINS, STORE};
use crate::arguments::Restore;
use crate::config::Config;
use crate::data::{make_private_folder, sync_folder_of, write_private};
use crate::output;

/// Larger than any list of plugins; keeps a file that is no backup from filling the memory.
const LARGEST_CONTENTS: u64 = 64 << 20;

pub(crate) fn run(restore: &Restore, json: bool) -> anyhow::Result<ExitCode> {
    let target = Config::data_folder(&restore.folder)?;
    refuse_unless_new(&target)?;
    let file = File::open(&restore.file).with_context(|| format!("cannot read the backup {}", restore.file.display()))?;
    let beside = beside(&target);
    // What a restore left whose process was killed.
    drop(fs::remove_dir_all(&beside));
    make_private_folder(&beside)?;
    let unpacked = unpack(file, &beside).and_then(|contents| {
        take_name(&beside, &target).with_context(|| format!("cannot give the restored folder its name {}", target.display()))?;
        Ok(contents)
    });
    if unpacked.is_err() {
        drop(fs::remove_dir_all(&beside));
    }
    let contents = unpacked.with_context(|| format!("nothing was restored from {}", restore.file.display()))?;
    output::print(json, &contents, || text(&target, &contents))?;
    Ok(ExitCode::SUCCESS)
}

fn text(target: &Path, contents: &Contents) -> String {
    let key = if contents.entries.iter().any(|entry| entry.path == KEY) {
        String::new()
    } else {
        format!("\nThe backup does not hold the hub's key: put your copy of it at {} before you start the hub.", target.join(KEY).display())
    };
    format!(
        "{} is as it was on {}: {} store entries, {} files.{key}\nNext: throughline serve --data {}",
        target.display(),
        contents.made_at,
        contents.store_entries,
        contents.store_files,
        target.display()
    )
}

fn refuse_unless_new(target: &Path) -> anyhow::Result<()> {
    match fs::read_dir(target).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("{} is not empty; restore into a new folder with --data", target.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look into {}", target.display())),
    }
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".restoring");
    PathBuf::from(name)
}

fn unpack(file: File, folder: &Path) -> anyhow::Result<Contents> {
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(io::BufReader::new(file));
    for entry in archive.entries().context(NO_BACKUP)? {
        // What the library says of bytes that are no archive repeats them.
        let entry = entry.map_err(|_| anyhow::anyhow!(NO_BACKUP))?;
        let path = entry.path().context(NO_BACKUP)?.to_str().context(NO_BACKUP)?.to_owned();
        if path == CONTENTS {
            return checked(entry, &found);
        }
        let mut measured = Measured::new(entry);
        place(&path, &mut measured, folder).with_context(|| format!("cannot restore {path}"))?;
        // A digest is of the whole entry.
        io::copy(&mut measured, &mut io::sink())?;
        found.push(measured.end(&path).1);
    }
    bail!("it is no backup of a hub, or was cut short: its list of contents is missing")
}

const NO_BACKUP: &str = "it is no backup of a hub, or was damaged";

/// Reads the list and holds what was found against it.
fn checked(entry: impl Read, found: &[Listed]) -> anyhow::Result<Contents> {
    let value: Value = serde_json::from_reader(entry.take(LARGEST_CONTENTS)).context(NO_BACKUP)?;
    let format = value.get("format").and_then(Value::as_u64).context(NO_BACKUP)?;
    ensure!(format <= u64::from(FORMAT), "it has format {format} and this program knows up to {FORMAT}; run the newer program");
    let contents: Contents = serde_json::from_value(value).context(NO_BACKUP)?;
    ensure!(contents.entries == found, "it was altered: what it holds is not what its list says");
    ensure!(found.iter().any(|entry| entry.path == STORE), "{NO_BACKUP}: there is no store in it");
    Ok(contents)
}

fn place(path: &str, content: &mut impl Read, folder: &Path) -> anyhow::Result<()> {
    match path {
        STORE => import(content, &folder.join("store")).map(drop).map_err(Into::into),
        KEY => {
            let mut key = Vec::new();
            content.take(1024).read_to_end(&mut key)?;
            write_private(&folder.join(KEY), &key)
        }
        _ => place_plugin(path, content, folder),
    }
}

fn place_plugin(path: &str, content: &mut impl Read, folder: &Path) -> anyhow::Result<()> {
    let parts: Vec<&str> = path.strip_prefix(PLUGINS).unwrap_or_default().split('/').collect();
    let [name, file] = parts.as_slice() else { bail!("it is nothing that belongs into a backup") };
    // Names from a file that anybody may have written: none may lead out of the folder.
    let harmless = |part: &str| {
        !part.starts_with('.') && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
    };
    ensure!(harmless(name) && harmless(file), "its name is not one that a plugin has");
    let home = folder.join("plugins").join(name);
    fs::create_dir_all(&home)?;
    let path = home.join(file);
    let mut out = File::create_new(&path)?;
    io::copy(content, &mut out)?;
    out.sync_all()?;
    sync_folder_of(&path)?;
    sync_folder_of(&home)?;
    Ok(())
}

fn take_name(beside: &Path, target: &Path) -> io::Result<()> {
    File::open(beside)?.sync_all()?;
    match fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(beside, target)?;
    sync_folder_of(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in
            ["plugins/../x.wasm", "plugins/a/../../x", "/etc/passwd", "plugins/a/b/c", "plugins/.a/x", "other", "plugins//x", "plugins/a/"]
        {
            assert!(place(bad, &mut io::empty(), folder.path()).is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        place("plugins/email/0.1.0+b.wasm", &mut b"x".as_slice(), folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("plugins/email/0.1.0+b.wasm")).unwrap(), b"x");
    }
}
