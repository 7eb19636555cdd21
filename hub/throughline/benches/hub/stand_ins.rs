//! Silos just good enough to be connected to: a manager interface, a mail server, a CRM. They run in a process of their own, so
//! that what they need counts as nobody else's, and end with their standard input.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream, Lines};
use tokio::net::{TcpListener, TcpStream};

/// The word that makes this program the stand-ins instead.
pub(crate) const FLAG: &str = "stand-ins";
/// Contacts in the CRM.
pub(crate) const CONTACTS: u64 = 1_000;

/// Running stand-ins; they end with this.
pub(crate) struct StandIns {
    child: Child,
    pub(crate) ports: Ports,
}

/// Where they answer on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) ami: u16,
    pub(crate) imap: u16,
    pub(crate) smtp: u16,
    pub(crate) crm: u16,
}

impl StandIns {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg(FLAG).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ports: Vec<u16> = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let [ami, imap, smtp, crm] = ports[..] else { anyhow::bail!("the stand-ins did not start: {line:?}") };
        Ok(Self { child, ports: Ports { ami, imap, smtp, crm } })
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side: is the stand-ins.
pub(crate) fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let ports = [
            serve(|stream| Box::pin(manager(stream))).await?,
            serve(|stream| Box::pin(imap(stream))).await?,
            serve(|stream| Box::pin(smtp(stream))).await?,
            crm().await?,
        ];
        println!("{} {} {} {}", ports[0], ports[1], ports[2], ports[3]);
        // Whoever started us closes this by ending.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

type Stream = BufStream<TcpStream>;
type Conversation = std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>;

async fn serve(talk: fn(Stream) -> Conversation) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that breaks off has had what it wanted.
            tokio::spawn(talk(BufStream::with_capacity(512, 512, stream)));
        }
    });
    Ok(port)
}

async fn say(lines: &mut Lines<Stream>, text: &str) -> std::io::Result<()> {
    lines.get_mut().write_all(text.as_bytes()).await?;
    lines.get_mut().flush().await
}

/// An Asterisk on which nobody calls.
async fn manager(stream: Stream) -> std::io::Result<()> {
    let mut lines = stream.lines();
    say(&mut lines, "Asterisk Call Manager/11.0.0\r\n").await?;
    let mut action = String::new();
    let mut id = String::new();
    while let Some(line) = lines.next_line().await? {
        if let Some(name) = line.strip_prefix("Action: ") {
            name.clone_into(&mut action);
        } else if let Some(value) = line.strip_prefix("ActionID: ") {
            value.clone_into(&mut id);
        } else if line.trim().is_empty() {
            say(&mut lines, &format!("Response: Success\r\nActionID: {id}\r\nMessage: done\r\n\r\n")).await?;
            if action == "Login" {
                say(&mut lines, "Event: FullyBooted\r\nStatus: Fully Booted\r\nUptime: 1000\r\n\r\n").await?;
            }
        }
    }
    Ok(())
}

/// A mailbox without mails.
async fn imap(stream: Stream) -> std::io::Result<()> {
    let mut lines = stream.lines();
    say(&mut lines, "* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n").await?;
    let mut idling = None::<String>;
    while let Some(line) = lines.next_line().await? {
        if line == "DONE" {
            let tag = idling.take().unwrap_or_default();
            say(&mut lines, &format!("{tag} OK done\r\n")).await?;
            continue;
        }
        let (tag, command) = line.split_once(' ').unwrap_or_default();
        let answer = match command.split(' ').next().unwrap_or_default() {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1 IDLE\r\n",
            "EXAMINE" | "SELECT" => "* 0 EXISTS\r\n* OK [UIDVALIDITY 1] numbers\r\n* OK [UIDNEXT 1] next\r\n",
            "IDLE" => {
                idling = Some(tag.to_owned());
                say(&mut lines, "+ idling\r\n").await?;
                continue;
            }
            _ => "",
        };
        say(&mut lines, &format!("{answer}{tag} OK done\r\n")).await?;
    }
    Ok(())
}

/// Takes no mail; only greets.
async fn smtp(stream: Stream) -> std::io::Result<()> {
    let mut lines = stream.lines();
    say(&mut lines, "220 ready\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let quits = line.starts_with("QUIT");
        say(&mut lines, if quits { "221 bye\r\n" } else { "250 done\r\n" }).await?;
        if quits {
            break;
        }
    }
    Ok(())
}

/// A CRM with contacts that never change.
async fn crm() -> anyhow::Result<u16> {
    let contacts: Vec<Value> = (0..CONTACTS).map(contact).collect();
    let contacts = Json(json!({ "items": contacts }));
    let app = axum::Router::new().route("/contacts", get(move || std::future::ready(contacts.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

fn contact(number: u64) -> Value {
    json!({
        "id": number.to_string(), "updated": "2026-01-01T00:00:00Z", "name": format!("Person {number}"),
        "email": crate::mails::address(number), "phone": crate::mails::phone(number),
    })
}
