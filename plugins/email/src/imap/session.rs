//! A logged-in conversation with the IMAP server: commands, IDLE, and what to make of refusals.

use throughline_plugin_sdk::net::Security;
use throughline_plugin_sdk::{Result, clock, log};

use super::command;
use super::status::{Status, Verdict};
use super::wire::{Event, Fetched, Reader};
use crate::config::{Config, Protection};
use crate::errors::{self, quoted};
use crate::peer::Peer;

/// How long a server may take over a command. Searching a large mailbox without an index is slow.
const COMMAND_TIMEOUT_MS: u32 = 120_000;
/// How long a server may take to say hello; one that stays silent usually speaks TLS on this port.
const GREETING_TIMEOUT_MS: u32 = 30_000;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// An open session.
pub(crate) struct Session {
    connection: Peer,
    reader: Reader,
    commands: u32,
    capabilities: Vec<String>,
    /// Whether the server told of new mail since this was last asked.
    news: bool,
    exists: u32,
}

/// What came before a command's end.
pub(crate) struct Answer {
    pub(crate) events: Vec<Event>,
    pub(crate) status: Status,
}

impl Answer {
    /// The answer, if the command succeeded.
    pub(crate) fn ok(self, what: &str) -> Result<Self> {
        if self.status.verdict == Verdict::Ok {
            return Ok(self);
        }
        Err(errors::transient(format!("the IMAP server refused to {what}: {}", quoted(&self.status.text))))
    }

    /// What was said of mails.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = &Fetched> {
        self.events.iter().filter_map(|event| if let Event::Fetch(fetched) = event { Some(fetched) } else { None })
    }

    /// Whether something could not be read: then a mail that seems missing may be there.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.events.iter().find_map(|event| if let Event::Unreadable(text) = event { Some(text.as_str()) } else { None })
    }

    /// The argument of a response code, wherever it stood.
    pub(crate) fn code_argument(&self, name: &str) -> Option<&str> {
        let statuses = self.events.iter().filter_map(|event| if let Event::Status(status) = event { Some(status) } else { None });
        statuses.chain([&self.status]).find_map(|status| status.code_argument(name))
    }
}

/// Why waiting in IDLE ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There may be new mail.
    News,
    /// Time to say something, lest somebody on the way thinks that nobody is there.
    Elapsed,
}

impl Session {
    /// Connects, protects the connection as configured, and logs in.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let security = if config.imap_security == Protection::Tls { Security::Tls } else { Security::Plain };
        let connection = Peer::connect("IMAP", &config.imap_host, config.imap_port, security, &config.connect_options())?;
        let mut session = Self { connection, reader: Reader::new(), commands: 0, capabilities: Vec::new(), news: false, exists: 0 };
        let logged_in = session.greeting()?;
        session.ask_capabilities()?;
        if config.imap_security == Protection::Starttls {
            session.start_tls(config)?;
        }
        if !logged_in {
            session.log_in(&config.username)?;
            session.ask_capabilities()?;
        }
        if session.can("CONDSTORE") && session.can("ENABLE") {
            session.run("ENABLE CONDSTORE")?.ok("enable CONDSTORE")?;
        }
        Ok(session)
    }

    /// Whether the server can do this.
    pub(crate) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, command: &str) -> Result<Answer> {
        let tag = self.send(command)?;
        self.answer(&tag)
    }

    /// Runs a command that ends in a literal.
    pub(crate) fn run_with_literal(&mut self, command: &str, literal: &[u8]) -> Result<Answer> {
        let tag = self.send(&format!("{command} {{{}}}", literal.len()))?;
        if let Some(refused) = self.await_continue(&tag)? {
            return Ok(refused);
        }
        self.connection.write(literal)?;
        self.connection.write(b"\r\n")?;
        self.answer(&tag)
    }

    /// How many mails the opened mailbox holds, by the server's last word.
    pub(crate) fn exists(&self) -> u32 {
        self.exists
    }

    /// Whether new mail was announced since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Waits for new mail, at most this long (RFC 2177). To fetch it, a client must leave IDLE, so this does.
    pub(crate) fn idle(&mut self, at_most_ms: u64) -> Result<Wake> {
        let tag = self.send("IDLE")?;
        if let Some(refused) = self.await_continue(&tag)? {
            return Err(errors::transient(format!("the IMAP server refused IDLE: {}", quoted(&refused.status.text))));
        }
        let woken = self.wait_for_news(clock::monotonic_ms().saturating_add(at_most_ms))?;
        self.connection.write(b"DONE\r\n")?;
        self.answer(&tag)?.ok("end IDLE")?;
        Ok(if woken || self.news { Wake::News } else { Wake::Elapsed })
    }

    fn wait_for_news(&mut self, until_ms: u64) -> Result<bool> {
        while !self.news {
            let left = until_ms.saturating_sub(clock::monotonic_ms());
            if left == 0 {
                return Ok(false);
            }
            match self.event(u32::try_from(left.min(60_000)).unwrap_or(60_000)) {
                Ok(event) => self.note(&event)?,
                Err(error) if error.is_timeout() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn greeting(&mut self) -> Result<bool> {
        let not_imap = |said: &str| errors::transient(format!("not an IMAP server: it said {:?}", quoted(said)));
        let event = self.event(GREETING_TIMEOUT_MS).map_err(|error| {
            let silent = "the IMAP server did not greet; does it expect TLS on this port?";
            if error.is_timeout() { errors::transient(silent) } else { error }
        })?;
        let Event::Status(status) = event else {
            return Err(not_imap(if let Event::Unreadable(text) = &event { text } else { "something else" }));
        };
        match (status.tag.is_none(), status.verdict) {
            (true, Verdict::Ok) => Ok(false),
            (true, Verdict::Preauth) => Ok(true),
            (true, Verdict::Bye) => Err(errors::transient(format!("the IMAP server is not available: {}", quoted(&status.text)))),
            _ => Err(not_imap(&status.text)),
        }
    }

    fn ask_capabilities(&mut self) -> Result<()> {
        let answer = self.run("CAPABILITY")?.ok("tell its capabilities")?;
        let told = answer.events.into_iter().rev().find_map(|event| if let Event::Capabilities(list) = event { Some(list) } else { None });
        self.capabilities = told.ok_or_else(|| errors::transient("not an IMAP server: it tells no capabilities"))?;
        Ok(())
    }

    fn start_tls(&mut self, config: &Config) -> Result<()> {
        if !self.can("STARTTLS") {
            return Err(errors::config("imap_security", "the IMAP server does not offer STARTTLS here; try tls on port 993"));
        }
        self.run("STARTTLS")?.ok("start TLS")?;
        self.connection.start_tls(&config.connect_options())?;
        // Whatever came in the clear behind the answer may have been put there by somebody on the way.
        self.reader = Reader::new();
        self.ask_capabilities()
    }

    fn log_in(&mut self, username: &str) -> Result<()> {
        let tag = self.next_tag();
        if username.is_ascii() && !self.can("LOGINDISABLED") {
            self.connection.write_secret(&format!("{tag} LOGIN {} {{quoted:{{secret:password}}}}\r\n", command::quote(username)))?;
        } else if self.can("AUTH=PLAIN") {
            self.connection.write(format!("{tag} AUTHENTICATE PLAIN\r\n").as_bytes())?;
            if let Some(refused) = self.await_continue(&tag)? {
                return Err(login_refused(&refused.status));
            }
            self.connection.write_secret(&format!("{{base64:\0{username}\0{{secret:password}}}}\r\n"))?;
        } else {
            return Err(errors::config("imap_security", "the IMAP server takes no password on this connection; use tls or starttls"));
        }
        let answer = self.answer(&tag)?;
        if answer.status.verdict == Verdict::Ok { Ok(()) } else { Err(login_refused(&answer.status)) }
    }

    fn next_tag(&mut self) -> String {
        self.commands += 1;
        format!("a{}", self.commands)
    }

    fn send(&mut self, command: &str) -> Result<String> {
        let tag = self.next_tag();
        self.connection.write(format!("{tag} {command}\r\n").as_bytes())?;
        Ok(tag)
    }

    /// Waits until the server asks for more; an answer means that it does not want it.
    fn await_continue(&mut self, tag: &str) -> Result<Option<Answer>> {
        loop {
            let event = self.event(COMMAND_TIMEOUT_MS).map_err(no_answer)?;
            self.note(&event)?;
            match event {
                Event::Continue => return Ok(None),
                Event::Status(status) if status.tag.as_deref() == Some(tag) => return Ok(Some(Answer { events: Vec::new(), status })),
                _ => {}
            }
        }
    }

    fn answer(&mut self, tag: &str) -> Result<Answer> {
        let mut events = Vec::new();
        loop {
            let event = self.event(COMMAND_TIMEOUT_MS).map_err(no_answer)?;
            self.note(&event)?;
            match event {
                Event::Status(status) if status.tag.as_deref() == Some(tag) => return Ok(Answer { events, status }),
                other => events.push(other),
            }
        }
    }

    /// Keeps what may be said at any time.
    fn note(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Exists(count) => {
                self.news |= *count > self.exists;
                self.exists = *count;
            }
            Event::Expunge => self.exists = self.exists.saturating_sub(1),
            Event::Status(status) if status.verdict == Verdict::Bye => {
                return Err(errors::transient(format!("the IMAP server ended the session: {}", quoted(&status.text))));
            }
            Event::Unreadable(text) => log::debug(format!("unreadable response from the IMAP server: {}", quoted(text))),
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self, timeout_ms: u32) -> Result<Event> {
        loop {
            match self.reader.next() {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(_) => return Err(errors::transient("not an IMAP server: it sends a line without end")),
            }
            let bytes = self.connection.read(READ_BYTES, timeout_ms)?;
            self.reader.push(&bytes);
        }
    }
}

fn no_answer(error: throughline_plugin_sdk::Error) -> throughline_plugin_sdk::Error {
    if error.is_timeout() { errors::transient("the IMAP server did not answer in time") } else { error }
}

/// Most refusals of a login mean a wrong password, but a server may also say that it has a problem of its own (RFC 5530).
fn login_refused(status: &Status) -> throughline_plugin_sdk::Error {
    let text = quoted(&status.text);
    if ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"].iter().any(|code| status.has_code(code)) {
        return errors::transient(format!("IMAP: the server cannot log anybody in now: {text}"));
    }
    if status.has_code("PRIVACYREQUIRED") {
        return errors::config("imap_security", "IMAP: the server wants an encrypted connection for passwords; use tls or starttls");
    }
    errors::auth(format!("IMAP: the server refused the user name or password: {text}"))
}

#[cfg(test)]
mod tests {
    use throughline_plugin_sdk::ErrorClass;

    use super::*;

    #[test]
    fn not_every_refused_login_is_a_wrong_password() {
        for (line, class) in [
            ("a1 NO [AUTHENTICATIONFAILED] no", ErrorClass::Auth),
            ("a1 NO Login failed", ErrorClass::Auth),
            ("a1 NO [UNAVAILABLE] backend down", ErrorClass::Transient),
            ("a1 NO [LIMIT] too many connections", ErrorClass::Transient),
            ("a1 NO [PRIVACYREQUIRED] TLS please", ErrorClass::Config),
        ] {
            let status = Status::parse(line.as_bytes()).unwrap();
            assert_eq!(login_refused(&status).class, class, "{line}");
        }
    }
}
