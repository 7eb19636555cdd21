//! The Asterisk Manager Interface: an incremental parser that knows no socket, the messages it yields, and sessions that use both.
//!
//! It knows nothing of calls. Any cutting of the stream gives the same frames, no input panics, and nothing grows without bound.

mod message;
mod session;

pub use message::{Message, unescape};
pub use session::{Received, Session};

/// The largest message kept; a longer one is dropped and counted. Real ones stay below 10 KiB.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// The longest greeting line; what is longer is no AMI.
const MAX_BANNER: usize = 1024;
const END_OF_LINE: &[u8] = b"\r\n";
const END_OF_MESSAGE: &[u8] = b"\r\n\r\n";

/// What the stream consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The greeting, the first line of a connection.
    Banner(String),
    /// An event or a response.
    Message(Message),
}

/// Takes bytes as they come and gives frames.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Up to where `buffer` was searched in vain for the end of a message, so that a slow trickle costs no quadratic search.
    searched: usize,
    greeted: bool,
    skipping: bool,
    dropped: u64,
}

impl Parser {
    /// A parser for a fresh connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they arrived and returns the frames they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut from = 0;
        while let Some((frame, to)) = self.next(from) {
            frames.extend(frame);
            from = to;
            self.searched = to;
        }
        self.buffer.drain(..from);
        self.searched -= from;
        self.cap();
        frames
    }

    /// Whether the stream ended between two messages.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && !self.skipping
    }

    /// How many messages were dropped for their size.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next frame that begins at `from`, if it is complete, and where it ends. No frame: bytes to be passed over.
    fn next(&mut self, from: usize) -> Option<(Option<Frame>, usize)> {
        if !self.greeted {
            return self.banner(from);
        }
        let Some(found) = find(&self.buffer, END_OF_MESSAGE, self.searched.max(from)) else {
            self.searched = self.buffer.len().saturating_sub(END_OF_MESSAGE.len() - 1).max(from);
            return None;
        };
        let end = found + END_OF_MESSAGE.len();
        if std::mem::take(&mut self.skipping) {
            return Some((None, end));
        }
        if found - from > MAX_MESSAGE {
            self.dropped += 1;
            return Some((None, end));
        }
        let message = Message::parse(&self.buffer[from..found]);
        Some(((!message.is_empty()).then_some(Frame::Message(message)), end))
    }

    fn banner(&mut self, from: usize) -> Option<(Option<Frame>, usize)> {
        let end = match find(&self.buffer, END_OF_LINE, from) {
            Some(end) => end,
            None if self.buffer.len() - from > MAX_BANNER => from + MAX_BANNER,
            None => return None,
        };
        self.greeted = true;
        let line = String::from_utf8_lossy(&self.buffer[from..end]).into_owned();
        // A stream joined in its middle begins with a header: then there was no greeting to take away.
        if line.starts_with("Event:") || line.starts_with("Response:") {
            return Some((None, from));
        }
        let after = if self.buffer[end..].starts_with(END_OF_LINE) { end + END_OF_LINE.len() } else { end };
        Some((Some(Frame::Banner(line)), after))
    }

    /// Gives up on a message that outgrew the cap before its end arrived, keeping what may be the beginning of its end.
    fn cap(&mut self) {
        if !self.greeted || self.buffer.len() <= MAX_MESSAGE + END_OF_MESSAGE.len() {
            return;
        }
        if !std::mem::replace(&mut self.skipping, true) {
            self.dropped += 1;
        }
        let keep = END_OF_MESSAGE.len() - 1;
        self.buffer.drain(..self.buffer.len() - keep);
        self.searched = 0;
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| at + from)
}

#[cfg(test)]
mod tests;
