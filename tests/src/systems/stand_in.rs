//! A server that misbehaves: each connection is handed to a function that does what a real one should not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// How long a client may keep quiet before its connection is given up.
const QUIET: Duration = Duration::from_secs(60);

/// A listener on a free port of 127.0.0.1. Ends with the value.
#[derive(Debug)]
pub struct StandIn {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl StandIn {
    /// Hands each connection to `serve`, each in a thread of its own.
    pub fn start(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let ended = Arc::new(AtomicBool::new(false));
        let (over, serve) = (Arc::clone(&ended), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let serve = Arc::clone(&serve);
                // A client that goes away is the client's business.
                thread::spawn(move || stream.set_read_timeout(Some(QUIET)).and_then(|()| serve(stream)).ok());
            }
        });
        Ok(Self { port, ended })
    }

    /// An HTTP server: `answer` gets the request line and gives content type and body, always with status 200.
    pub fn http(answer: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static) -> Result<Self> {
        Self::start(move |stream| {
            let mut reader = BufReader::new(stream.try_clone()?);
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line)?;
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                    break;
                }
                if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            let (kind, body) = answer(line.trim());
            let mut stream = stream;
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
