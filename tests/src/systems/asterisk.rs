//! A stand-in for an Asterisk: speaks a recording of a real one, byte for byte, to whoever logs in.
//!
//! The greeting goes out at once, the rest after the first action (the login) has come in. Until [`ReplayedPbx::play`] is called it
//! goes no further than the answer to the login, so that a test decides when the call begins. It can also break off in mid-event,
//! once, and go on with another recording for those who come back. Played as of now, its clock goes with ours: then all but the
//! `Timestamp` headers is byte for byte as recorded. What the PBX was given with an order (a channel's id, a variable) can take the
//! place of what the recorded order had, and a recording can be held before something that an order has to bring about.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Between two messages of the recording, so that they arrive one by one as from a real PBX.
const GAP: Duration = Duration::from_millis(3);

/// A replayed PBX. Ends with the value.
#[derive(Debug)]
pub struct ReplayedPbx {
    port: u16,
    flags: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    playing: AtomicBool,
    /// The broken recording was told as far as it goes.
    broke_off: AtomicBool,
    /// What the recording was held for has come.
    let_go: AtomicBool,
    ended: AtomicBool,
    /// Recorded texts and what is said in their stead.
    instead: Mutex<Vec<(String, String)>>,
}

/// What is spoken: `broken` until it broke off, `whole` from then on.
struct Scripts {
    broken: Option<Vec<u8>>,
    whole: Vec<u8>,
    /// The call happens now, not when it was recorded.
    as_of_now: bool,
    /// The first message with this in it is not said before it is let go.
    held_before: Option<&'static str>,
}

impl ReplayedPbx {
    /// Listens on a free port and waits for a login. `recording` is a folder with an `ami.s2c.raw`.
    pub fn start(recording: &Path) -> Result<Self> {
        Self::speaking(Scripts { broken: None, whole: read(recording)?, as_of_now: false, held_before: None })
    }

    /// The same with a clock that goes with ours: the recorded call happens when it is played.
    pub fn start_as_of_now(recording: &Path) -> Result<Self> {
        Self::speaking(Scripts { broken: None, whole: read(recording)?, as_of_now: true, held_before: None })
    }

    /// As of now, up to the first message that has this text in it: that waits for [`Self::let_go`].
    pub fn start_held_before(recording: &Path, text: &'static str) -> Result<Self> {
        Self::speaking(Scripts { broken: None, whole: read(recording)?, as_of_now: true, held_before: Some(text) })
    }

    /// Tells the first recording to the middle of an event in its middle and hangs up; who comes back hears the second.
    pub fn start_breaking_off(first: &Path, second: &Path) -> Result<Self> {
        let mut broken = read(first)?;
        let middle = broken.len() / 2;
        let event = position(&broken[middle..], b"\r\n\r\n").map_or(middle, |end| middle + end + 4);
        // In mid-line of the event that begins there.
        broken.truncate((event + 40).min(broken.len()));
        Self::speaking(Scripts { broken: Some(broken), whole: read(second)?, as_of_now: false, held_before: None })
    }

    fn speaking(scripts: Scripts) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (flags, scripts) = (Arc::new(Flags::default()), Arc::new(scripts));
        let shared = Arc::clone(&flags);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (scripts, flags) = (Arc::clone(&scripts), Arc::clone(&shared));
                // A client that goes away in mid-call is the client's business.
                thread::spawn(move || speak(stream, &scripts, &flags).ok());
            }
        });
        Ok(Self { port, flags })
    }

    /// Where AMI answers on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins the call with other texts instead of recorded ones, each with what takes its place; the first that fits is taken first.
    pub fn play_with(&self, instead: Vec<(String, String)>) {
        *self.flags.instead.lock().expect("nobody panics while holding it") = instead;
        self.play();
    }

    /// Says what was held back.
    pub fn let_go(&self) {
        self.flags.let_go.store(true, Ordering::Release);
    }

    /// Begins the call.
    pub fn play(&self) {
        self.flags.playing.store(true, Ordering::Release);
    }
}

impl Drop for ReplayedPbx {
    fn drop(&mut self) {
        self.flags.ended.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The recordings that the Asterisk connector is held to.
pub fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/asterisk/recordings").join(name)
}

fn read(recording: &Path) -> Result<Vec<u8>> {
    let path = recording.join("ami.s2c.raw");
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn speak(mut stream: TcpStream, scripts: &Scripts, flags: &Flags) -> std::io::Result<()> {
    let broken = scripts.broken.as_deref().filter(|_| !flags.broke_off.load(Ordering::Acquire));
    let bytes = broken.unwrap_or(&scripts.whole);
    let greeting = position(bytes, b"\r\n").map_or(bytes.len(), |end| end + 2);
    stream.write_all(&bytes[..greeting])?;
    let mut actions = BufReader::new(stream.try_clone()?);
    read_action(&mut actions)?;
    let mut rest = &bytes[greeting..];
    // The answer to the login goes out at once, what follows when the call begins.
    send_message(&mut stream, &mut rest, 0, &[])?;
    let mut clock_ahead = None;
    stream.set_read_timeout(Some(GAP))?;
    while !flags.ended.load(Ordering::Acquire) {
        let held = scripts.held_before.filter(|_| !flags.let_go.load(Ordering::Acquire));
        let held = held.is_some_and(|text| position(next_message(rest), text.as_bytes()).is_some());
        if flags.playing.load(Ordering::Acquire) && !rest.is_empty() && !held {
            let ahead = *clock_ahead.get_or_insert_with(|| if scripts.as_of_now { seconds_since_recorded(rest) } else { 0 });
            let instead = flags.instead.lock().expect("nobody panics while holding it").clone();
            send_message(&mut stream, &mut rest, ahead, &instead)?;
        }
        if rest.is_empty() && broken.is_some() {
            flags.broke_off.store(true, Ordering::Release);
            return Ok(());
        }
        // A quiet PBX keeps the line open and answers what it is asked.
        match actions.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {
                stream.set_read_timeout(None)?;
                let action = read_action(&mut actions)?;
                stream.set_read_timeout(Some(GAP))?;
                answer(&mut stream, &action)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn next_message(rest: &[u8]) -> &[u8] {
    &rest[..position(rest, b"\r\n\r\n").map_or(rest.len(), |end| end + 4)]
}

fn send_message(stream: &mut TcpStream, rest: &mut &[u8], clock_ahead: u64, instead: &[(String, String)]) -> std::io::Result<()> {
    let next = next_message(rest);
    let (end, mut message) = (next.len(), next.to_vec());
    if let Some((place, seconds)) = timestamp(&message).filter(|_| clock_ahead > 0) {
        message[place..place + SECONDS].copy_from_slice((seconds + clock_ahead).to_string().as_bytes());
    }
    for (recorded, said) in instead {
        message = replaced(&message, recorded.as_bytes(), said.as_bytes());
    }
    stream.write_all(&message)?;
    *rest = &rest[end..];
    Ok(())
}

/// How many digits the seconds of a time have, until the year 2286.
const SECONDS: usize = 10;

/// Where the first `Timestamp` header's seconds stand, and what they are.
fn timestamp(bytes: &[u8]) -> Option<(usize, u64)> {
    const HEADER: &[u8] = b"\r\nTimestamp: ";
    let place = position(bytes, HEADER)? + HEADER.len();
    let seconds = std::str::from_utf8(bytes.get(place..place + SECONDS)?).ok()?;
    Some((place, seconds.parse().ok()?))
}

fn seconds_since_recorded(recording: &[u8]) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    timestamp(recording).map_or(0, |(_, recorded)| now.saturating_sub(recorded))
}

/// Answers as an Asterisk would whose account has the least rights and that has no calls beyond those it tells of.
fn answer(stream: &mut TcpStream, action: &str) -> std::io::Result<()> {
    let header = |name: &str| action.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let id = header("ActionID:").map_or_else(String::new, |id| format!("ActionID: {id}\r\n"));
    let said = match header("Action:").unwrap_or_default().to_ascii_lowercase().as_str() {
        "ping" => "Response: Success\r\n@Ping: Pong\r\n\r\n",
        "listcommands" => "Response: Success\r\n@CoreShowChannels: List currently active channels.\r\nPing: Keepalive command.\r\n\r\n",
        "coresettings" => "Response: Success\r\n@SystemName: replayed\r\n\r\n",
        "coreshowchannels" => {
            "Response: Success\r\n@EventList: start\r\nMessage: Channels will follow\r\n\r\n\
             Event: CoreShowChannelsComplete\r\n@EventList: Complete\r\nListItems: 0\r\n\r\n"
        }
        _ => "Response: Error\r\n@Message: Permission denied\r\n\r\n",
    };
    stream.write_all(said.replace('@', &id).as_bytes())
}

fn read_action(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut action = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(action);
        }
        action.push_str(&line);
    }
}

/// Recordings are not always valid UTF-8.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(place) = position(rest, from) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
