//! A damaged store: refused with a clear error, or whole; never open with something acknowledged missing.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use throughline_store::Store;
use throughline_store::port::StoreError;

use crate::support::{Also, applied, log, open, put, value};

const COMMITS: usize = 400;

fn filled(dir: &Path) {
    let store = open(dir).unwrap();
    for index in 0..COMMITS {
        applied(&store, put(&format!("k{index}"), &format!("{index}:{}", "v".repeat(500))).and(log(&[&index.to_string()])));
    }
    store.close().unwrap();
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if source.is_dir() {
            copied(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

/// Opens a damaged copy. Either that is refused, or reading says that it is damaged, or nothing is missing.
fn outcome(dir: &Path) -> Result<(), StoreError> {
    let store = open(dir)?;
    let checked = whole(&store);
    let _ = store.close();
    checked
}

fn whole(store: &Store) -> Result<(), StoreError> {
    let log = store.read_log(0, usize::MAX)?;
    assert_eq!(log.len(), COMMITS, "log entries are missing and nobody said so");
    for index in 0..COMMITS {
        let found = store.get(&[crate::support::key(&format!("k{index}"))])?.pop().unwrap();
        let value = found.unwrap_or_else(|| panic!("k{index} is missing and nobody said so")).value;
        assert!(value.starts_with(format!("{index}:").as_bytes()), "k{index} was altered and nobody said so");
    }
    Ok(())
}

fn damaged(damage: impl Fn(&Path)) -> Result<(), StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    filled(&source);
    copied(&source, &target);
    damage(&target);
    outcome(&target)
}

fn database(dir: &Path) -> PathBuf {
    dir.join("sled/db")
}

fn remove_snapshots(dir: &Path) {
    for entry in std::fs::read_dir(dir.join("sled")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn an_emptied_or_missing_database_is_refused() {
    let refused = |damage: &dyn Fn(&Path)| match damaged(damage) {
        Err(StoreError::Corrupt(detail)) => detail,
        other => panic!("{other:?}"),
    };
    let empty = |dir: &Path| OpenOptions::new().write(true).open(database(dir)).unwrap().set_len(0).unwrap();
    refused(&empty);
    let detail = refused(&|dir| {
        empty(dir);
        remove_snapshots(dir);
    });
    assert!(detail.contains("empty"), "{detail}");
    assert!(refused(&|dir| std::fs::remove_file(database(dir)).unwrap()).contains("gone"));
    assert!(refused(&|dir| std::fs::remove_dir_all(dir.join("sled")).unwrap()).contains("gone"));
    assert!(refused(&|dir| std::fs::remove_file(dir.join("store.mark")).unwrap()).contains("gone"));
}

#[test]
fn a_shortened_database_is_refused_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    filled(&source);
    let length = std::fs::metadata(database(&source)).unwrap().len();
    for kept in [length / 4, length / 2, length - length / 8] {
        copied(&source, &target);
        remove_snapshots(&target);
        OpenOptions::new().write(true).open(database(&target)).unwrap().set_len(kept).unwrap();
        for attempt in 0..2 {
            match outcome(&target) {
                Err(StoreError::Corrupt(_)) => {}
                // sled fills the file up to whole segments: the part cut off may have held nothing.
                Ok(()) if kept > length / 2 => {}
                other => panic!("{kept} of {length}, attempt {attempt}: {other:?}"),
            }
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn a_store_that_went_back_in_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (source, old) = (dir.path().join("source"), dir.path().join("old"));
    let store = open(&source).unwrap();
    applied(&store, put("a", "1"));
    store.close().unwrap();
    copied(&source.join("sled"), &old);
    let store = open(&source).unwrap();
    applied(&store, put("a", "2"));
    store.close().unwrap();
    std::fs::remove_dir_all(source.join("sled")).unwrap();
    copied(&old, &source.join("sled"));
    let error = open(&source).err().expect("it ends before what was acknowledged");
    assert_eq!(error, StoreError::Corrupt("it ends at sequence 1, yet 2 was acknowledged".to_owned()));
}

#[test]
fn the_mark_knows_every_acknowledgement_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    applied(&open(&source).unwrap(), put("a", "1"));
    copied(&source.join("sled"), &target.join("sled"));
    let store = open(&source).unwrap();
    let receipt = applied(&store, put("a", "2"));
    // As a process that is killed now would leave it.
    std::fs::copy(source.join("store.mark"), target.join("store.mark")).unwrap();
    let expected = format!("it ends at sequence 1, yet {} was acknowledged", receipt.sequence);
    assert_eq!(open(&target).err(), Some(StoreError::Corrupt(expected)));
}

#[test]
fn a_mark_of_another_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for dir in [&one, &other] {
        applied(&open(dir).unwrap(), put("a", "1"));
    }
    std::fs::copy(other.join("store.mark"), one.join("store.mark")).unwrap();
    assert_eq!(open(&one).err(), Some(StoreError::Corrupt("store.mark belongs to another store".to_owned())));
    assert_eq!(value(&open(&other).unwrap(), "a").as_deref(), Some("1"));
}

#[test]
fn flipped_bytes_are_an_error_or_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    filled(&source);
    let length = std::fs::metadata(database(&source)).unwrap().len();
    let mut refused = 0;
    for (index, at) in (0..length).step_by((length / 40) as usize).enumerate() {
        copied(&source, &target);
        if index % 2 == 0 {
            remove_snapshots(&target);
        }
        let file = OpenOptions::new().read(true).write(true).open(database(&target)).unwrap();
        let mut bytes = [0; 8];
        let read = file.read_at(&mut bytes, at).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        file.write_all_at(&bytes[..read], at).unwrap();
        match outcome(&target) {
            Ok(()) => {}
            Err(StoreError::Corrupt(_) | StoreError::Io(_)) => refused += 1,
            Err(other) => panic!("flipped at {at}: {other}"),
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
    assert!(refused > 0, "no flipped byte was noticed: the test does not test");
}
