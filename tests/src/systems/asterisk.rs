//! A stand-in for an Asterisk: speaks a recording of a real one, byte for byte, to whoever logs in.
//!
//! The greeting goes out at once, the rest after the first action (the login) has come in. Until [`ReplayedPbx::play`] is called it
//! goes no further than the answer to the login, so that a test decides when the call begins.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Between two messages of the recording, so that they arrive one by one as from a real PBX.
const GAP: Duration = Duration::from_millis(3);

/// A replayed PBX. Ends with the value.
#[derive(Debug)]
pub struct ReplayedPbx {
    port: u16,
    playing: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl ReplayedPbx {
    /// Listens on a free port and waits for a login. `recording` is a folder with an `ami.s2c.raw`.
    pub fn start(recording: &Path) -> Result<Self> {
        let path = recording.join("ami.s2c.raw");
        let bytes = Arc::new(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (playing, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = (Arc::clone(&playing), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if flags.1.load(Ordering::Relaxed) {
                    return;
                }
                let (bytes, playing, ended) = (Arc::clone(&bytes), Arc::clone(&flags.0), Arc::clone(&flags.1));
                // A client that goes away in mid-call is the client's business.
                thread::spawn(move || speak(stream, &bytes, &playing, &ended).ok());
            }
        });
        Ok(Self { port, playing, ended })
    }

    /// Where AMI answers on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins the call.
    pub fn play(&self) {
        self.playing.store(true, Ordering::Release);
    }
}

impl Drop for ReplayedPbx {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The recordings that the Asterisk connector is held to.
pub fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/asterisk/recordings").join(name)
}

fn speak(mut stream: TcpStream, bytes: &[u8], playing: &AtomicBool, ended: &AtomicBool) -> std::io::Result<()> {
    let greeting = position(bytes, b"\r\n").map_or(bytes.len(), |end| end + 2);
    stream.write_all(&bytes[..greeting])?;
    read_action(&mut stream)?;
    let mut rest = &bytes[greeting..];
    let mut first = true;
    while !rest.is_empty() {
        // The answer to the login goes out at once, what follows when the call begins.
        while !first && !playing.load(Ordering::Acquire) {
            if ended.load(Ordering::Acquire) {
                return Ok(());
            }
            thread::sleep(GAP);
        }
        let end = position(rest, b"\r\n\r\n").map_or(rest.len(), |end| end + 4);
        stream.write_all(&rest[..end])?;
        rest = &rest[end..];
        first = false;
        thread::sleep(GAP);
    }
    // The line stays open, as a quiet PBX's does, until the client or the test ends it.
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut sink = [0; 1024];
    while !ended.load(Ordering::Acquire) {
        match stream.read(&mut sink) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_action(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut action = Vec::new();
    let mut byte = [0];
    while !action.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        action.push(byte[0]);
    }
    Ok(())
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
