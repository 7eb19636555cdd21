//! Backup and restore: consistent while commits go on, refused when cut short or altered.

use std::io::{self, Write};
use std::path::Path;

use throughline_store::backup::{BackupError, Summary, import};
use throughline_store::blobs::Blobs;
use throughline_store::port::{KeyRange, ScanPage};
use throughline_store::{CommitFuture, Store};

use crate::support::{Also, applied, log, open, put, value, whole_log};

fn everything(store: &Store) -> ScanPage {
    store.scan(&KeyRange { start: vec![0x0f], end: vec![0x80] }, false, usize::MAX).unwrap()
}

fn blob(blobs: &Blobs, bytes: &[u8]) -> String {
    let mut writer = blobs.writer(u64::MAX).unwrap();
    writer.write(bytes).unwrap();
    writer.finish().unwrap()
}

/// A store with some of everything, and its backup.
fn sample(dir: &Path) -> (Vec<u8>, Summary) {
    let store = open(dir).unwrap();
    let blobs = Blobs::open(dir).unwrap();
    for index in 0..700 {
        applied(&store, put(&format!("k{index}"), &"v".repeat(index)).and(log(&["entry"])).named(&index.to_string(), 1000));
    }
    blob(&blobs, b"small");
    blob(&blobs, &vec![9; 3_000_000]);
    let mut backup = Vec::new();
    let summary = store.export(&blobs, &mut backup).unwrap();
    (backup, summary)
}

#[test]
fn a_backup_brings_back_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let (backup, summary) = sample(&source);
    assert_eq!((summary.head, summary.entries, summary.blobs), (700, 3 + 4 * 700, 2));
    assert_eq!(import(backup.as_slice(), &target).unwrap(), summary);
    let (before, after) = (open(&source).unwrap(), open(&target).unwrap());
    assert_eq!(everything(&after), everything(&before));
    assert_eq!((whole_log(&after), after.id()), (whole_log(&before), before.id()));
    assert_eq!(after.durable_head(), before.durable_head() + (1 << 32), "sequences handed out since the backup are not used again");
    let blobs = Blobs::open(&target).unwrap();
    assert_eq!(blobs.references().unwrap(), Blobs::open(&source).unwrap().references().unwrap());
    blobs.references().unwrap().iter().for_each(|reference| blobs.verify(reference).unwrap());
    applied(&after, put("new", "1"));
    assert!(matches!(after.commit_blocking(put("k1", "2").named("7", 1000)), Ok(throughline_store::port::Committed::Duplicate(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside the target");
}

/// Commits while it is being written to, so that the export and the commits meet in every page.
struct Meddling<'a> {
    store: &'a Store,
    pending: Vec<CommitFuture>,
    bytes: Vec<u8>,
    round: usize,
}

impl Write for Meddling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        for index in (0..2000).step_by(97) {
            let name = format!("k{:04}", (index + self.round) % 2000);
            let new = format!("n{:04}.{}", index, self.round);
            let meddling = put(&name, "changed").and(put(&new, "added")).and(log(&["later"]));
            self.pending.push(self.store.commit(meddling));
            let gone = format!("d{:04}", (index + self.round) % 2000);
            self.pending.push(self.store.commit(crate::support::delete(&gone)));
        }
        // In half of the rounds the page that follows finds everything applied, in the others the commits race with it.
        if self.round.is_multiple_of(2) {
            self.pending.drain(..).for_each(|pending| assert!(pending.wait().is_ok()));
        }
        self.round += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_shows_one_moment_while_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let store = open(&source).unwrap();
    let pending: Vec<CommitFuture> = (0..2000)
        .map(|index| store.commit(put(&format!("k{index:04}"), "original").and(put(&format!("d{index:04}"), "kept")).and(log(&["early"]))))
        .collect();
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    let before = (everything(&store), whole_log(&store), store.durable_head());
    let blobs = Blobs::open(&source).unwrap();
    let mut meddling = Meddling { store: &store, pending: Vec::new(), bytes: Vec::new(), round: 0 };
    let summary = store.export(&blobs, &mut meddling).unwrap();
    assert!(meddling.round > 10 && store.durable_head() > before.2, "commits went on meanwhile");
    assert_eq!(summary.head, before.2);
    import(meddling.bytes.as_slice(), &target).unwrap();
    let restored = open(&target).unwrap();
    assert_eq!((everything(&restored), whole_log(&restored)), (before.0, before.1));
}

#[test]
fn a_backup_that_was_cut_short_or_altered_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let store = open(&source).unwrap();
    let blobs = Blobs::open(&source).unwrap();
    applied(&store, put("a", "1").and(log(&["x"])).named("id", 5));
    blob(&blobs, b"attachment");
    let mut backup = Vec::new();
    store.export(&blobs, &mut backup).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let error = import(bytes, &target).expect_err(what);
        assert!(!target.exists() && std::fs::read_dir(dir.path()).unwrap().count() == 1, "{what}: something was left");
        error
    };
    // Every cut and every altered byte, in steps that hit each kind of record.
    for cut in (0..backup.len()).step_by(7).chain([backup.len() - 1]) {
        let error = refused(&backup[..cut], &format!("cut at {cut}"));
        assert!(matches!(error, BackupError::Truncated | BackupError::NoBackup), "cut at {cut}: {error}");
    }
    for at in (0..backup.len()).step_by(5) {
        let mut altered = backup.clone();
        altered[at] ^= 0x10;
        refused(&altered, &format!("altered at {at}"));
    }
    let longer = [backup.as_slice(), b"!"].concat();
    assert!(matches!(refused(&longer, "longer"), BackupError::Altered("bytes after its end")));
    assert!(matches!(refused(b"PK\x03\x04 something else entirely", "foreign"), BackupError::NoBackup));
    let mut newer = backup.clone();
    newer[11] = 2;
    assert!(matches!(refused(&newer, "newer"), BackupError::Newer { found: 2, known: 1 }));
    import(backup.as_slice(), &target).unwrap();
    assert_eq!(value(&open(&target).unwrap(), "a").as_deref(), Some("1"));
}

#[test]
fn nothing_is_restored_over_something() {
    let dir = tempfile::tempdir().unwrap();
    let (backup, _) = sample(&dir.path().join("source"));
    let target = dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("precious"), "x").unwrap();
    assert!(matches!(import(backup.as_slice(), &target), Err(BackupError::NotEmpty(_))));
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
    std::fs::remove_file(target.join("precious")).unwrap();
    import(backup.as_slice(), &target).unwrap();
}

#[test]
fn an_altered_blob_is_not_carried_into_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let reference = blob(&blobs, b"original");
    let digits = reference.strip_prefix("sha256:").unwrap();
    std::fs::write(dir.path().join("blobs").join(&digits[..2]).join(&digits[2..]), "altered!").unwrap();
    let error = store.export(&blobs, io::sink()).unwrap_err();
    assert!(error.to_string().contains(&reference), "{error}");
}

#[test]
fn a_stream_that_breaks_is_said() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("the tape is torn"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let error = store.export(&Blobs::open(dir.path()).unwrap(), Broken).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the backup: the tape is torn");
    applied(&store, put("a", "1"));
}
