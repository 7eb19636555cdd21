//! A scripted dialogue: what the plugin is expected to write, and what it gets for it.

use std::collections::VecDeque;

use super::stream::{Cutter, TestStream, Written, timeout};
use crate::{Error, Result};

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
    must_finish: bool,
}

impl Drop for ScriptedStream {
    fn drop(&mut self) {
        if self.must_finish && !std::thread::panicking() {
            let left = self.steps.iter().find(|step| matches!(step, Step::Line(_) | Step::Bytes(_) | Step::Tls));
            assert!(left.is_none(), "the plugin hung up while the script still has {left:?}");
        }
    }
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
        self.cutter = Cutter::new(sizes);
        self
    }
    /// A plugin that hangs up before the last expectation is met fails the test.
    #[must_use]
    pub fn must_finish(mut self) -> Self {
        self.must_finish = true;
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
            Some(Step::Fail(error)) => {
                let error = error.clone();
                self.steps.pop_front();
                Err(error)
            }
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
        self.written.add(data);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorClass;

    #[test]
    fn patterns_match_as_a_person_expects() {
        let table = [
            ("a1 NOOP", "a1 NOOP", true),
            ("a1 NOOP", "a1 NOOPS", false),
            ("* NOOP", "a17 NOOP", true),
            ("* LOGIN * *", "a1 LOGIN ada secret", true),
            ("* LOGIN * *", "a1 LOGIN ada", false),
            ("a*a", "a", false),
            ("*", "", true),
        ];
        for (pattern, line, wanted) in table {
            assert_eq!(line_matches(pattern, line), wanted, "{pattern} {line}");
        }
    }

    #[test]
    fn a_dialogue_goes_step_by_step() {
        let mut stream = ScriptedStream::new()
            .reply("* OK hello\r\n")
            .expect_line("* STARTTLS")
            .reply("a1 OK\r\n")
            .expect_start_tls()
            .expect_line("a2 APPEND *")
            .reply("+ go\r\n")
            .expect_bytes("body")
            .silence(1)
            .reply("a2 OK\r\n")
            .chunks(&[4, 100])
            .must_finish();
        assert_eq!(stream.read(100, 1).unwrap(), b"* OK");
        assert_eq!(stream.read(100, 1).unwrap(), b" hello\r\n");
        assert!(stream.read(100, 1).unwrap_err().is_timeout());
        stream.write(b"a1 START").unwrap();
        stream.write(b"TLS\r\n").unwrap();
        assert_eq!(stream.read(100, 1).unwrap(), b"a1 O");
        assert_eq!(stream.read(100, 1).unwrap(), b"K\r\n");
        stream.start_tls().unwrap();
        stream.write(b"a2 APPEND x {4}\r\nbody").unwrap();
        assert_eq!(stream.read(100, 1).unwrap(), b"+ go");
        assert_eq!(stream.read(100, 1).unwrap(), b"\r\n");
        assert!(stream.read(100, 1).unwrap_err().is_timeout());
        assert_eq!(stream.read(100, 1).unwrap(), b"a2 O");
        assert_eq!(stream.read(100, 1).unwrap(), b"K\r\n");
        assert!(stream.read(100, 1).unwrap().is_empty());
        assert!(stream.written().text().starts_with("a1 STARTTLS"));
    }

    #[test]
    fn a_connection_can_break_or_hang() {
        let mut stream = ScriptedStream::new().fail(Error::new(ErrorClass::Transient, "reset by peer")).hold();
        assert_eq!(stream.read(1, 1).unwrap_err().message, "reset by peer");
        assert!(stream.read(1, 1).unwrap_err().is_timeout());
        assert!(stream.read(1, 1).unwrap_err().is_timeout());
    }

    #[test]
    #[should_panic(expected = "where the script has \"QUIT\"")]
    fn a_line_that_was_not_expected_fails_the_test() {
        let _ = ScriptedStream::new().expect_line("QUIT").write(b"HELO\r\n");
    }

    #[test]
    #[should_panic(expected = "hung up")]
    fn hanging_up_too_early_fails_the_test() {
        drop(ScriptedStream::new().expect_line("QUIT").must_finish());
    }
}
