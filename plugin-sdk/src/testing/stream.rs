//! Streams for tests: a scripted dialogue, bytes cut wherever the test wants, and real loopback TCP.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use crate::net::Security;
use crate::{Error, ErrorClass, Result, json};

/// The far end of a connection, seen from the plugin.
pub trait TestStream {
    /// At most `max` bytes; empty when closed; [`timeout`] when nothing comes.
    fn read(&mut self, max: usize, timeout_ms: u32) -> Result<Vec<u8>>;
    /// Takes what the plugin wrote, with secrets put in.
    fn write(&mut self, data: &[u8]) -> Result<()>;
    /// Turns TLS on; streams that cannot do so refuse.
    fn start_tls(&mut self) -> Result<()> {
        Err(Error::new(ErrorClass::Unsupported, "this test stream has no TLS"))
    }
}

impl<T: TestStream + ?Sized> TestStream for Box<T> {
    fn read(&mut self, max: usize, timeout_ms: u32) -> Result<Vec<u8>> {
        (**self).read(max, timeout_ms)
    }
    fn write(&mut self, data: &[u8]) -> Result<()> {
        (**self).write(data)
    }
    fn start_tls(&mut self) -> Result<()> {
        (**self).start_tls()
    }
}

/// What a `connect` closure may return: a stream, boxed or not, or a `Result` of one.
pub trait IntoStream {
    /// The stream, or why there is none.
    fn into_stream(self) -> Result<Box<dyn TestStream>>;
}
impl<T: TestStream + 'static> IntoStream for T {
    fn into_stream(self) -> Result<Box<dyn TestStream>> {
        Ok(Box::new(self))
    }
}
impl<T: TestStream + 'static> IntoStream for Result<T> {
    fn into_stream(self) -> Result<Box<dyn TestStream>> {
        Ok(Box::new(self?))
    }
}

/// "Nothing arrived in time", as the hub says it.
fn timeout() -> Error {
    Error::new(ErrorClass::Transient, "nothing arrived in time").with_details(json!({"timeout": true}))
}

/// What the plugin wrote to a stream; keeps growing while the stream lives.
#[derive(Debug, Clone, Default)]
pub struct Written(Rc<RefCell<Vec<u8>>>);

impl Written {
    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.borrow().clone()
    }
    /// The same as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

/// In which pieces bytes are handed out: the sizes in turn, over and over; none: all there is.
#[derive(Debug, Clone, Default)]
struct Cutter {
    sizes: Vec<usize>,
    turn: usize,
}

impl Cutter {
    fn take(&mut self, from: &mut VecDeque<u8>, max: usize) -> Vec<u8> {
        let mut size = from.len().min(max);
        if !self.sizes.is_empty() {
            size = size.min(self.sizes[self.turn % self.sizes.len()].max(1));
            self.turn += 1;
        }
        from.drain(..size).collect()
    }
}

/// Hands out given bytes in pieces of given sizes, and records what is written.
#[derive(Debug, Clone, Default)]
pub struct ByteStream {
    bytes: VecDeque<u8>,
    cutter: Cutter,
    stays_open: bool,
    written: Written,
}

impl ByteStream {
    /// All bytes at once, then the peer closes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into().into(), ..Self::default() }
    }
    /// The first `at` bytes, then the rest: a test loops over every boundary with it.
    #[must_use]
    pub fn cut_at(bytes: impl Into<Vec<u8>>, at: usize) -> Self {
        Self::new(bytes).chunks(&[at.max(1), usize::MAX])
    }
    /// Pieces of these sizes in turn, over and over.
    #[must_use]
    pub fn chunks(mut self, sizes: &[usize]) -> Self {
        self.cutter = Cutter { sizes: sizes.to_vec(), turn: 0 };
        self
    }
    /// After the last byte nothing comes any more, rather than the peer closing.
    #[must_use]
    pub fn stays_open(mut self) -> Self {
        self.stays_open = true;
        self
    }
    /// What is written to it.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written.clone()
    }
}

impl TestStream for ByteStream {
    fn read(&mut self, max: usize, _timeout_ms: u32) -> Result<Vec<u8>> {
        if self.bytes.is_empty() && self.stays_open {
            return Err(timeout());
        }
        Ok(self.cutter.take(&mut self.bytes, max))
    }
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.written.0.borrow_mut().extend_from_slice(data);
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Line(String),
    Bytes(Vec<u8>),
    Tls,
    Reply(Vec<u8>),
    Silence(u32),
    Fail(Error),
    Hold,
}

/// A dialogue: what the plugin is expected to write, and what it gets for it. A step that does not fit fails the test on the spot.
/// After the last step the peer closes.
#[derive(Debug, Clone, Default)]
pub struct ScriptedStream {
    steps: VecDeque<Step>,
    unmatched: Vec<u8>,
    ready: VecDeque<u8>,
    cutter: Cutter,
    written: Written,
}

impl ScriptedStream {
    /// An empty dialogue: the peer closes at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// A line, without its line break, that the plugin must write next. `*` stands for anything.
    #[must_use]
    pub fn expect_line(self, pattern: impl Into<String>) -> Self {
        self.step(Step::Line(pattern.into()))
    }
    /// Bytes that the plugin must write next (an IMAP literal, a DATA block).
    #[must_use]
    pub fn expect_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Bytes(bytes.into()))
    }
    /// The plugin must turn TLS on next.
    #[must_use]
    pub fn expect_start_tls(self) -> Self {
        self.step(Step::Tls)
    }
    /// Bytes for the plugin to read.
    #[must_use]
    pub fn reply(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Reply(bytes.as_ref().to_vec()))
    }
    /// So many reads run into their time-out.
    #[must_use]
    pub fn silence(self, reads: u32) -> Self {
        self.step(Step::Silence(reads))
    }
    /// The next read fails with this: a connection that breaks.
    #[must_use]
    pub fn fail(self, error: Error) -> Self {
        self.step(Step::Fail(error))
    }
    /// From here on nothing comes, and the peer does not close.
    #[must_use]
    pub fn hold(self) -> Self {
        self.step(Step::Hold)
    }
    /// Replies are handed out in pieces of these sizes in turn, over and over.
    #[must_use]
    pub fn chunks(mut self, sizes: &[usize]) -> Self {
        self.cutter = Cutter { sizes: sizes.to_vec(), turn: 0 };
        self
    }
    /// What is written to it.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written.clone()
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    /// Consumes the expectations that what was written fulfils.
    fn match_written(&mut self) {
        while !self.unmatched.is_empty() {
            self.gather_replies();
            let done = match self.steps.front() {
                Some(Step::Line(pattern)) => take_line(&mut self.unmatched, pattern),
                Some(Step::Bytes(bytes)) => take_bytes(&mut self.unmatched, bytes),
                other => panic!("the plugin wrote {:?} where the script has {other:?}", String::from_utf8_lossy(&self.unmatched)),
            };
            if !done {
                return;
            }
            self.steps.pop_front();
        }
    }

    /// A peer may be writing while the plugin does: replies before the next expectation become readable.
    fn gather_replies(&mut self) {
        while let Some(Step::Reply(bytes)) = self.steps.front() {
            self.ready.extend(bytes);
            self.steps.pop_front();
        }
        // A plugin that writes does not wait out the silence.
        while matches!(self.steps.front(), Some(Step::Silence(_))) && !self.unmatched.is_empty() {
            self.steps.pop_front();
            self.gather_replies();
        }
    }
}

/// Takes a line off if one is complete; false if more must be written first.
fn take_line(unmatched: &mut Vec<u8>, pattern: &str) -> bool {
    let Some(end) = unmatched.iter().position(|byte| *byte == b'\n') else { return false };
    let line: Vec<u8> = unmatched.drain(..=end).collect();
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end_matches(['\r', '\n']);
    assert!(line_matches(pattern, line), "the plugin wrote the line {line:?} where the script has {pattern:?}");
    true
}

fn take_bytes(unmatched: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let common = unmatched.len().min(bytes.len());
    assert!(
        unmatched[..common] == bytes[..common],
        "the plugin wrote {:?} where the script has {:?}",
        String::from_utf8_lossy(unmatched),
        String::from_utf8_lossy(bytes)
    );
    if common < bytes.len() {
        return false;
    }
    unmatched.drain(..common);
    true
}

/// Whether a line fits a pattern in which `*` stands for anything.
#[must_use]
pub fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl TestStream for ScriptedStream {
    fn read(&mut self, max: usize, _timeout_ms: u32) -> Result<Vec<u8>> {
        self.gather_replies();
        if !self.ready.is_empty() {
            return Ok(self.cutter.take(&mut self.ready, max));
        }
        match self.steps.front_mut() {
            None => Ok(Vec::new()),
            Some(Step::Fail(_)) => match self.steps.pop_front() {
                Some(Step::Fail(error)) => Err(error),
                _ => Ok(Vec::new()),
            },
            Some(Step::Silence(reads)) => {
                *reads = reads.saturating_sub(1);
                if *reads == 0 {
                    self.steps.pop_front();
                }
                Err(timeout())
            }
            Some(_) => Err(timeout()),
        }
    }
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.written.0.borrow_mut().extend_from_slice(data);
        self.unmatched.extend_from_slice(data);
        self.match_written();
        Ok(())
    }
    fn start_tls(&mut self) -> Result<()> {
        match self.steps.pop_front() {
            Some(Step::Tls) => Ok(()),
            other => panic!("the plugin turned TLS on where the script has {other:?}"),
        }
    }
}

/// A real connection, to this machine only.
pub(super) fn loopback(host: &str, port: u16, security: Security) -> Result<Box<dyn TestStream>> {
    if security == Security::Tls {
        return Err(Error::new(ErrorClass::Unsupported, "the test host speaks no TLS: use a plain port"));
    }
    Ok(Box::new(Tcp(connect_loopback(host, port)?)))
}

pub(super) fn connect_loopback(host: &str, port: u16) -> Result<TcpStream> {
    let address = (host, port)
        .to_socket_addrs()
        .map_err(|error| io("cannot resolve the host", &error))?
        .find(|address| address.ip().is_loopback())
        .ok_or_else(|| Error::new(ErrorClass::Permission, format!("{host} is not this machine: the test host goes no further")))?;
    TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(|error| io("cannot connect", &error))
}

pub(super) fn io(what: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorClass::Transient, format!("{what}: {error}"))
}

struct Tcp(TcpStream);

impl TestStream for Tcp {
    fn read(&mut self, max: usize, timeout_ms: u32) -> Result<Vec<u8>> {
        let wait = Duration::from_millis(u64::from(timeout_ms.max(1)));
        self.0.set_read_timeout(Some(wait)).map_err(|error| io("cannot set the time-out", &error))?;
        let mut buffer = vec![0; max.min(256 * 1024)];
        match self.0.read(&mut buffer) {
            Ok(read) => {
                buffer.truncate(read);
                Ok(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(timeout()),
            Err(error) => Err(io("the connection broke", &error)),
        }
    }
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.0.write_all(data).map_err(|error| io("the connection broke", &error))
    }
}
