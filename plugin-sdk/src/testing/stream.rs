//! Streams for tests: bytes cut wherever the test wants, and real loopback TCP; the scripted dialogue is in `script`.

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
pub(super) fn timeout() -> Error {
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
    pub(super) fn add(&self, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
    /// The same as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

/// In which pieces bytes are handed out: the sizes in turn, over and over; none: all there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutter {
    sizes: Vec<usize>,
    turn: usize,
}

impl Cutter {
    pub(super) fn new(sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), turn: 0 }
    }
    pub(super) fn take(&mut self, from: &mut VecDeque<u8>, max: usize) -> Vec<u8> {
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
        self.cutter = Cutter::new(sizes);
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
        self.written.add(data);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut stream: ByteStream) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        loop {
            match stream.read(1000, 1).unwrap() {
                piece if piece.is_empty() => return pieces,
                piece => pieces.push(piece),
            }
        }
    }

    #[test]
    fn bytes_are_cut_where_the_test_says() {
        assert_eq!(pieces(ByteStream::new("abcdef").chunks(&[1, 3])), [&b"a"[..], b"bcd", b"e", b"f"]);
        assert_eq!(pieces(ByteStream::cut_at("abcdef", 2)), [&b"ab"[..], b"cdef"]);
        assert_eq!(pieces(ByteStream::cut_at("abcdef", 99)), [b"abcdef"]);
        assert!(ByteStream::new("").stays_open().read(1, 1).unwrap_err().is_timeout());
    }

    #[test]
    fn a_reader_gets_no_more_than_it_asked_for() {
        let mut stream = ByteStream::new("abc");
        assert_eq!(stream.read(2, 1).unwrap(), b"ab");
        assert_eq!(stream.read(2, 1).unwrap(), b"c");
        assert!(stream.read(2, 1).unwrap().is_empty());
    }
}
