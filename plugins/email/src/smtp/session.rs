//! A conversation with the SMTP server.

use throughline_plugin_sdk::net::Security;
use throughline_plugin_sdk::{Error, ErrorClass, Result};

use super::reply::{NotSmtp, Reply, ReplyReader, Stage, refusal};
use crate::config::{Config, Protection};
use crate::errors::{self, quoted};
use crate::peer::Peer;

/// How long a server may take for a reply. RFC 5321 grants five minutes for most; servers that need them are down.
const REPLY_TIMEOUT_MS: u32 = 60_000;
/// How long a server may take over a whole message: it may look for viruses in it first. RFC 5321 grants ten minutes.
const ACCEPT_TIMEOUT_MS: u32 = 240_000;

/// An open session.
pub(crate) struct Session {
    connection: Peer,
    reader: ReplyReader,
    /// What the server offers, upper case.
    offers: Vec<String>,
}

/// The parts of an envelope.
pub(crate) struct Envelope<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a [String],
    pub(crate) raw: &'a [u8],
}

impl Session {
    /// Connects, protects the connection as configured, and logs in.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let security = if config.smtp_security == Protection::Tls { Security::Tls } else { Security::Plain };
        let connection = Peer::connect("SMTP", &config.smtp_host, config.smtp_port, security, &config.connect_options())?;
        let mut session = Self { connection, reader: ReplyReader::default(), offers: Vec::new() };
        session.greeting()?;
        session.hello(config)?;
        if config.smtp_security == Protection::Starttls {
            session.start_tls(config)?;
        }
        if config.smtp_auth {
            session.log_in(config)?;
        }
        Ok(session)
    }

    /// Hands a mail over. When this fails with class `ambiguous`, the server may have taken it.
    pub(crate) fn deliver(&mut self, envelope: &Envelope<'_>) -> Result<()> {
        let ascii = envelope.from.is_ascii() && envelope.to.iter().all(|to| to.is_ascii());
        if !ascii && !self.offers("SMTPUTF8") {
            return Err(errors::invalid("/to", "the SMTP server takes no addresses with letters beyond ASCII"));
        }
        let parameter = if ascii { "" } else { " SMTPUTF8" };
        self.command(&format!("MAIL FROM:<{}>{parameter}", envelope.from), Stage::Sender)?;
        for to in envelope.to {
            self.command(&format!("RCPT TO:<{to}>"), Stage::Recipient).map_err(|error| naming(error, to))?;
        }
        self.command("DATA", Stage::Data)?;
        self.connection.write(&stuffed(envelope.raw))?;
        self.finish_data()
    }

    /// Ends the session politely; whether that succeeds does not matter any more.
    pub(crate) fn quit(mut self) {
        if self.connection.write(b"QUIT\r\n").is_ok() {
            let _ = self.reply(2_000);
        }
    }

    /// From the final dot on, only the server's reply says whether the mail is on its way.
    fn finish_data(&mut self) -> Result<()> {
        let sent = self.connection.write(b".\r\n").and_then(|()| self.reply(ACCEPT_TIMEOUT_MS));
        match sent {
            Ok(reply) if reply.is_positive() => Ok(()),
            Ok(reply) => Err(refusal(Stage::Data, &reply)),
            Err(error) if error.class == ErrorClass::Cancelled => Err(error),
            Err(error) => Err(Error::new(
                ErrorClass::Ambiguous,
                format!("the connection was lost before the server said whether it took the message: {}", error.message),
            )),
        }
    }

    fn greeting(&mut self) -> Result<()> {
        let reply = self.reply(REPLY_TIMEOUT_MS).map_err(|error| {
            let silent = "the SMTP server did not greet; does it expect TLS on this port?";
            if error.is_timeout() { errors::transient(silent) } else { error }
        })?;
        if reply.is_positive() { Ok(()) } else { Err(refusal(Stage::Greeting, &reply)) }
    }

    fn hello(&mut self, config: &Config) -> Result<()> {
        let own = config.own();
        let name = if own.domain().is_ascii() { own.domain() } else { "localhost" };
        let reply = self.command(&format!("EHLO {name}"), Stage::Greeting)?;
        self.offers = reply.lines.iter().skip(1).map(|line| line.to_uppercase()).collect();
        Ok(())
    }

    fn start_tls(&mut self, config: &Config) -> Result<()> {
        if !self.offers("STARTTLS") {
            return Err(errors::config("smtp_security", "the SMTP server does not offer STARTTLS here; try tls on port 465"));
        }
        self.command("STARTTLS", Stage::Greeting)?;
        self.connection.start_tls(&config.connect_options())?;
        // Whatever came in the clear behind the reply may have been put there by somebody on the way.
        self.reader = ReplyReader::default();
        self.hello(config)
    }

    fn log_in(&mut self, config: &Config) -> Result<()> {
        let username = &config.username;
        if self.offers_login("PLAIN") {
            self.connection.write_secret(&format!("AUTH PLAIN {{base64:\0{username}\0{{secret:password}}}}\r\n"))?;
        } else if self.offers_login("LOGIN") {
            self.command("AUTH LOGIN", Stage::Login)?;
            self.connection.write_secret(&format!("{{base64:{username}}}\r\n"))?;
            self.expect(Stage::Login)?;
            self.connection.write_secret("{base64:{secret:password}}\r\n")?;
        } else {
            let why = "the SMTP server takes no password on this connection; use tls or starttls, or set smtp_auth to false";
            return Err(errors::config("smtp_security", why));
        }
        self.expect(Stage::Login).map(|_| ())
    }

    fn offers(&self, keyword: &str) -> bool {
        self.offers.iter().any(|line| line.split_ascii_whitespace().next() == Some(keyword))
    }

    /// Some old servers write `AUTH=PLAIN` for `AUTH PLAIN`.
    fn offers_login(&self, mechanism: &str) -> bool {
        let lines = self.offers.iter().filter_map(|line| line.strip_prefix("AUTH"));
        lines.flat_map(|rest| rest.split(['=', ' '])).any(|offered| offered == mechanism)
    }

    fn command(&mut self, line: &str, stage: Stage) -> Result<Reply> {
        self.connection.write(format!("{line}\r\n").as_bytes())?;
        self.expect(stage)
    }

    fn expect(&mut self, stage: Stage) -> Result<Reply> {
        let reply = self.reply(REPLY_TIMEOUT_MS)?;
        if reply.is_positive() { Ok(reply) } else { Err(refusal(stage, &reply)) }
    }

    fn reply(&mut self, timeout_ms: u32) -> Result<Reply> {
        loop {
            match self.reader.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(NotSmtp(said)) => return Err(errors::transient(format!("not an SMTP server: it said {:?}", quoted(&said)))),
            }
            let bytes = self.connection.read(16 * 1024, timeout_ms)?;
            self.reader.push(&bytes);
        }
    }
}

fn naming(mut error: Error, to: &str) -> Error {
    error.message = format!("{} (for {to})", error.message);
    error
}

/// Dot-stuffing (RFC 5321 section 4.5.2), and the line end that must precede the final dot.
fn stuffed(raw: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(raw.len() + raw.len() / 64 + 2);
    let mut at_line_start = true;
    for &byte in raw {
        if at_line_start && byte == b'.' {
            stuffed.push(b'.');
        }
        stuffed.push(byte);
        at_line_start = byte == b'\n';
    }
    if !at_line_start {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_at_the_start_of_a_line_are_doubled() {
        for (raw, expected) in
            [("", ""), (".", "..\r\n"), ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n"), ("a.b\r\n..c", "a.b\r\n...c\r\n"), ("a\n.b", "a\n..b\r\n")]
        {
            assert_eq!(String::from_utf8(stuffed(raw.as_bytes())).unwrap(), expected, "{raw:?}");
        }
    }
}
