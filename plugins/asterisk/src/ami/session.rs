//! One manager connection: greeting, login, messages as they come.

use std::collections::VecDeque;

use throughline_plugin_sdk::net::{ConnectOptions, Connection};
use throughline_plugin_sdk::{Error, ErrorClass, Result, clock, net, secrets};

use super::{Frame, Message, Parser};
use crate::config::{Config, Security};

/// How long greeting and login may take; Asterisk itself delays the answer to a wrong secret by a second.
const LOGIN_MS: u64 = 15_000;
/// How much is read at once.
const READ: usize = 64 * 1024;
/// How many full reads are taken before what they brought is handed over: an unread manager socket is closed by Asterisk after some
/// megabytes.
const READS_IN_A_ROW: usize = 64;

/// What a wait for messages came to.
#[derive(Debug)]
pub enum Received {
    /// These arrived.
    Messages(Vec<Message>),
    /// Nothing in time.
    Idle,
    /// The PBX closed the connection; whether that was in the middle of a message.
    Closed {
        /// A part of a message had arrived.
        within_message: bool,
    },
}

/// A connection that is logged in.
pub struct Session {
    connection: Connection,
    parser: Parser,
    waiting: VecDeque<Message>,
    closed: bool,
    /// The greeting.
    pub banner: String,
    dropped: u64,
}

impl Session {
    /// Connects and logs in. `events`: whether to be sent events.
    pub fn open(config: &Config, events: bool) -> Result<Self> {
        let security = match config.ami_security {
            Security::Tls => net::Security::Tls,
            Security::Plain => net::Security::Plain,
        };
        let options = ConnectOptions { ca_pem: config.ami_ca_pem.clone(), ..ConnectOptions::default() };
        let connection = Connection::connect(&config.ami_host, config.ami_port, security, &options)?;
        let mut session =
            Self { connection, parser: Parser::new(), waiting: VecDeque::new(), closed: false, banner: String::new(), dropped: 0 };
        session.greet()?;
        session.log_in(config, events)?;
        Ok(session)
    }

    fn greet(&mut self) -> Result<()> {
        let until = clock::monotonic_ms() + LOGIN_MS;
        while self.banner.is_empty() {
            if !self.read_some(until)? {
                return Err(transient("the PBX closed the connection before its greeting"));
            }
        }
        if self.banner.starts_with("Asterisk Call Manager") {
            return Ok(());
        }
        let shown: String = self.banner.chars().filter(|char| !char.is_control()).take(80).collect();
        Err(Error::new(ErrorClass::Config, format!("this is no Asterisk manager interface: it says {shown:?}")).with_field("ami_port"))
    }

    fn log_in(&mut self, config: &Config, events: bool) -> Result<()> {
        let user = secrets::literal(one_line(&config.ami_username, "ami_username")?).map_err(|error| error.with_field("ami_username"))?;
        let events = if events { "on" } else { "off" };
        self.connection.write_secret(&format!(
            "Action: Login\r\nActionID: tl-login\r\nUsername: {user}\r\nSecret: {{secret:ami_secret}}\r\nEvents: {events}\r\n\r\n"
        ))?;
        // Nothing else was asked yet, so whatever response comes is the answer, by whatever id.
        let answer = self.answer(|message| message.response().is_some())?;
        if answer.response() == Some("Success") { Ok(()) } else { Err(refused(&answer)) }
    }

    /// Sends an action. Values are one line each.
    pub fn action(&self, name: &str, id: &str, headers: &[(&str, &str)]) -> Result<()> {
        let mut text = format!("Action: {name}\r\nActionID: {id}\r\n");
        for (header, value) in headers {
            text.push_str(&format!("{header}: {}\r\n", one_line(value, header)?));
        }
        text.push_str("\r\n");
        self.connection.write(text.as_bytes())
    }

    /// The response to an action, by its id. Events that come first are passed over.
    pub fn response(&mut self, id: &str) -> Result<Message> {
        self.answer(|message| message.response().is_some() && message.raw("ActionID") == Some(id))
    }

    /// Waits for messages; takes all that has arrived by now, within reason.
    pub fn receive(&mut self, timeout_ms: u32) -> Result<Received> {
        if self.waiting.is_empty() && !self.closed {
            match self.read(timeout_ms) {
                Ok(()) => {}
                Err(error) if error.is_timeout() => return Ok(Received::Idle),
                Err(error) => return Err(error),
            }
        }
        if !self.waiting.is_empty() {
            return Ok(Received::Messages(self.waiting.drain(..).collect()));
        }
        if self.closed {
            return Ok(Received::Closed { within_message: !self.parser.is_at_boundary() });
        }
        Ok(Received::Messages(Vec::new()))
    }

    /// How many messages were too large to be kept since this was asked last.
    pub fn newly_dropped(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.dropped, self.parser.dropped());
        self.dropped - before
    }

    fn answer(&mut self, fits: impl Fn(&Message) -> bool) -> Result<Message> {
        let until = clock::monotonic_ms() + LOGIN_MS;
        let mut passed = VecDeque::new();
        loop {
            while let Some(message) = self.waiting.pop_front() {
                if fits(&message) {
                    passed.append(&mut self.waiting);
                    self.waiting = passed;
                    return Ok(message);
                }
                passed.push_back(message);
            }
            if !self.read_some(until)? {
                return Err(transient("the PBX closed the connection instead of answering"));
            }
        }
    }

    /// Reads until something came, at most until a moment; false when the peer closed.
    fn read_some(&mut self, until: u64) -> Result<bool> {
        let left = until.saturating_sub(clock::monotonic_ms());
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        if left == 0 {
            return Err(transient("the PBX did not answer in time"));
        }
        match self.read(left) {
            Ok(()) => Ok(!self.closed || !self.waiting.is_empty()),
            Err(error) if error.is_timeout() => Err(transient("the PBX did not answer in time")),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, timeout_ms: u32) -> Result<()> {
        let mut wait = timeout_ms;
        for _ in 0..READS_IN_A_ROW {
            let bytes = match self.connection.read(READ, wait) {
                Ok(bytes) => bytes,
                Err(error) if error.is_timeout() && wait != timeout_ms => return Ok(()),
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                self.closed = true;
                return Ok(());
            }
            for frame in self.parser.feed(&bytes) {
                match frame {
                    Frame::Banner(line) => self.banner = line,
                    Frame::Message(message) => self.waiting.push_back(message),
                }
            }
            // Less than was asked for: nothing more is there.
            if bytes.len() < READ {
                return Ok(());
            }
            wait = 1;
        }
        Ok(())
    }
}

/// A value that cannot begin a header of its own.
fn one_line<'a>(value: &'a str, field: &str) -> Result<&'a str> {
    if value.contains(['\r', '\n']) {
        return Err(Error::new(ErrorClass::InvalidRecord, "a line break is not possible here").with_field(field));
    }
    Ok(value)
}

/// Wrong secret, unknown user and a refused address all sound alike; only Asterisk's security log knows which it was.
fn refused(answer: &Message) -> Error {
    let says = answer.get("Message").unwrap_or("nothing").to_owned();
    let lower = says.to_ascii_lowercase();
    if lower.contains("shutting down") || lower.contains("not booted") || lower.contains("booting") {
        return transient(&format!("the PBX is not ready: {says}"));
    }
    if lower.contains("authentication") {
        let hint = "wrong secret, unknown user, or this address is not permitted; Asterisk's security log says which";
        return Error::new(ErrorClass::Auth, format!("the PBX says {says:?}: {hint}")).with_field("ami_username");
    }
    Error::new(ErrorClass::Permission, format!("the PBX refused the log-in: {says}")).with_field("ami_username")
}

fn transient(message: &str) -> Error {
    Error::new(ErrorClass::Transient, message)
}
