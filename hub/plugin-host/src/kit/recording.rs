//! The manager streams in a recording's folder: which there are, in which order they were had, and whether they can be played at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const MAIN: &str = "ami.s2c.raw";
/// What stands in for the main stream where it is missing, in this order.
const INSTEAD: [&str; 2] = ["ami-tls.s2c.raw", "ami-least.s2c.raw"];
const GREETING: &[u8] = b"Asterisk Call Manager/";
/// What a connection begins with, for recordings that begin later.
const BEGINNING: &[u8] = b"Asterisk Call Manager/9.0.0\r\nResponse: Success\r\nMessage: Authentication accepted\r\n\r\n";

/// Why a folder cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The folder holds no manager stream.
    #[error(
        "{folder} holds no recorded manager stream: there must be a file {MAIN}, what the PBX sent over AMI (a recording of ARI alone cannot be replayed)"
    )]
    NoStream {
        /// The folder.
        folder: String,
    },
    /// A file is there and is no manager stream.
    #[error("{path} is no recorded manager stream: {detail}")]
    NotAStream {
        /// The file.
        path: String,
        /// Why not.
        detail: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
}

/// What a folder holds.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The connections, in the order in which they were had.
    pub(crate) streams: Vec<Vec<u8>>,
    /// What is odd about them.
    pub(crate) notes: Vec<String>,
}

impl Recording {
    /// Reads the streams of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, RecordingError> {
        let mut named = files(folder)?;
        let main = [MAIN].iter().chain(&INSTEAD).find_map(|name| Some(((*name).to_owned(), named.remove(*name)?)));
        let Some((name, main)) = main.or_else(|| longest(&mut named)) else {
            return Err(RecordingError::NoStream { folder: folder.display().to_string() });
        };
        let main =
            playable(main).map_err(|detail| RecordingError::NotAStream { path: folder.join(&name).display().to_string(), detail })?;
        let mut notes = Vec::new();
        if name != MAIN {
            notes.push(format!("there is no {MAIN}: {name} is played"));
        }
        if !main.ends_with(b"\r\n\r\n") {
            notes.push(format!("{name} ends in the middle of an event"));
        }
        let others = named.into_values().filter_map(|stream| playable(stream).ok()).collect();
        Ok(Self { streams: with_reconnects(main, others), notes })
    }

    /// The endpoints that had channels, Local ones aside.
    pub(crate) fn endpoints(&self) -> BTreeSet<String> {
        let names = self.streams.iter().flat_map(|stream| headers(stream, b"Channel: "));
        let technologies = ["PJSIP/", "SIP/", "IAX2/", "DAHDI/"];
        names
            .filter(|name| technologies.iter().any(|technology| name.starts_with(technology)))
            .filter_map(|name| name.rsplit_once('-').map(|(endpoint, _)| endpoint.to_owned()))
            .collect()
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> RecordingError + '_ {
    |error| RecordingError::Unreadable { path: path.display().to_string(), error }
}

fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, RecordingError> {
    let mut named = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == MAIN || (name.starts_with("ami-") && name.ends_with(".s2c.raw")) {
            named.insert(name, fs::read(&path).map_err(unreadable(&path))?);
        }
    }
    Ok(named)
}

fn longest(named: &mut BTreeMap<String, Vec<u8>>) -> Option<(String, Vec<u8>)> {
    let name = named.iter().max_by_key(|(_, stream)| stream.len()).map(|(name, _)| name.clone())?;
    named.remove_entry(&name)
}

/// The stream as a connection has it, from its greeting on; or what keeps it from being one.
fn playable(stream: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let has = |needle: &[u8]| stream.windows(needle.len()).any(|window| window == needle);
    if stream.is_empty() {
        return Err("it is empty");
    }
    if !has(b"\r\n") && has(b"\n") {
        return Err("its lines end with LF alone, AMI's with CR LF: some tool has changed it, so record it anew, byte for byte");
    }
    if stream.starts_with(GREETING) {
        return Ok(stream);
    }
    if has(b"Event: ") && has(b"\r\n\r\n") {
        Ok([BEGINNING, &stream].concat())
    } else {
        Err("it begins with no greeting of an Asterisk and has no events")
    }
}

/// The main connection and those that began after it had ended, in the order of time.
fn with_reconnects(main: Vec<u8>, others: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let begun = |stream: Vec<u8>| {
        let first = timestamps(&stream).next()?;
        Some((first, stream))
    };
    let mut later: Vec<(f64, Vec<u8>)> = others.into_iter().filter_map(begun).collect();
    later.sort_by(|(one, _), (two, _)| one.total_cmp(two));
    let mut streams = vec![main];
    for (first, stream) in later {
        let before = streams.last().and_then(|stream| timestamps(stream).last());
        if before.is_some_and(|last| first >= last) {
            streams.push(stream);
        }
    }
    streams
}

/// The PBX's own times of its events, in seconds.
fn timestamps(stream: &[u8]) -> impl Iterator<Item = f64> + '_ {
    headers(stream, b"Timestamp: ").filter_map(|value| value.parse().ok())
}

/// The values of a header, throughout the stream.
fn headers<'a>(stream: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a str> + 'a {
    stream.split(|byte| *byte == b'\n').filter_map(move |line| Some(std::str::from_utf8(line.strip_prefix(name)?).ok()?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(first: u32, last: u32) -> Vec<u8> {
        format!("Asterisk Call Manager/9\r\nEvent: A\r\nTimestamp: {first}.5\r\n\r\nEvent: B\r\nTimestamp: {last}.5\r\n\r\n").into_bytes()
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
        folder
    }

    #[test]
    fn what_began_after_the_connection_broke_is_played_after_it_and_what_ran_beside_it_is_not() {
        let (main, beside, second, third) = (stream(10, 20), stream(11, 20), stream(22, 30), stream(31, 40));
        let others = vec![third.clone(), beside, b"Asterisk Call Manager/9\r\n".to_vec(), second.clone()];
        assert_eq!(with_reconnects(main.clone(), others), [main, second, third]);
    }

    #[test]
    fn a_folder_without_a_manager_stream_is_named() {
        let folder = folder(&[("ari-rest.jsonl", b"{}")]);
        let error = Recording::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(MAIN) && error.contains(&folder.path().display().to_string()), "{error}");
        assert!(matches!(Recording::read(&folder.path().join("none")), Err(RecordingError::Unreadable { .. })));
    }

    #[test]
    fn a_file_that_is_no_stream_is_named_with_what_is_wrong() {
        let table: [(&[u8], &str); 4] = [
            (b"", "empty"),
            (b"Asterisk Call Manager/9\nEvent: A\n\n", "LF alone"),
            (b"SSH-2.0-OpenSSH_9\r\n", "no greeting"),
            (b"\xff\xfe\x00", "no greeting"),
        ];
        for (bytes, word) in table {
            let error = Recording::read(folder(&[(MAIN, bytes)]).path()).unwrap_err().to_string();
            assert!(error.contains(MAIN) && error.contains(word), "{error}");
        }
    }

    #[test]
    fn another_accounts_stream_stands_in_for_the_main_one() {
        let (least, refused) = (stream(10, 20), b"Asterisk Call Manager/9\r\nResponse: Error\r\n\r\n");
        let folder = folder(&[("ami-least.s2c.raw", &least), ("ami-bad-secret.s2c.raw", refused)]);
        let recording = Recording::read(folder.path()).unwrap();
        assert_eq!(recording.streams, [least]);
        assert!(recording.notes[0].contains("ami-least.s2c.raw"), "{:?}", recording.notes);
    }

    #[test]
    fn a_recording_that_begins_late_or_ends_early_is_played_as_far_as_it_goes() {
        let bytes = b"Event: A\r\nTimestamp: 1.5\r\nChannel: PJSIP/carrier-a-0000001b\r\n\r\nEvent: \xff";
        let recording = Recording::read(folder(&[(MAIN, bytes)]).path()).unwrap();
        assert!(recording.streams[0].starts_with(GREETING) && recording.streams[0].ends_with(bytes));
        assert!(recording.notes[0].contains("middle of an event"), "{:?}", recording.notes);
        assert_eq!(recording.endpoints(), BTreeSet::from(["PJSIP/carrier-a".to_owned()]));
    }
}
