//! The TCP silo: a scripted line protocol whose stream a check can cut, split, double and hold open.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::http::Serving;
use super::script::{Arrangement, Protocol, Said};

/// What a check orders for the connections to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// The part it plays.
    pub(crate) part: Option<String>,
    /// The plugin is asked to check.
    pub(crate) checking: bool,
    /// The connection ends after so many bytes.
    pub(crate) cut: Option<usize>,
    /// What is sent comes in two pieces, the first of so many bytes.
    pub(crate) split: Option<usize>,
    /// It takes connections and says nothing.
    pub(crate) silent: bool,
    /// Where the script closes, it stays open.
    pub(crate) hold: bool,
    /// In which order it says what it has to say.
    pub(crate) arrangement: Arrangement,
}

/// A running TCP silo.
pub(crate) struct TcpSilo {
    protocol: Protocol,
    orders: Mutex<Orders>,
    /// Bytes said on the connection that said most.
    most_said: AtomicUsize,
    /// Whole messages heard that a rule had asked for by another delimiter: what was sent, not what was said about it.
    payloads: AtomicUsize,
    /// Messages in the answer that had most of them, and answers that came otherwise than written.
    most_messages: AtomicUsize,
    rearranged: AtomicUsize,
    /// How much of an answer that resumes was said before the connection was cut.
    resume_at: AtomicUsize,
    pub(crate) port: u16,
}

impl TcpSilo {
    /// Starts serving the protocol on a free port.
    pub(crate) async fn start(protocol: Protocol) -> io::Result<(Arc<Self>, Serving)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let silo = Arc::new(Self {
            protocol,
            orders: Mutex::default(),
            most_said: AtomicUsize::new(0),
            payloads: AtomicUsize::new(0),
            most_messages: AtomicUsize::new(0),
            rearranged: AtomicUsize::new(0),
            resume_at: AtomicUsize::new(0),
            port,
        });
        let serving = silo.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let silo = serving.clone();
                // A peer that breaks off has had what it wanted.
                tokio::spawn(async move { drop(silo.serve(stream).await) });
            }
        });
        Ok((silo, Serving::of(task)))
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds for the connections from now on.
    pub(crate) fn order(&self, orders: Orders) {
        *self.orders() = orders;
    }

    /// Whether the plugin is asked to check from now on.
    pub(crate) fn checking(&self, checking: bool) {
        self.orders().checking = checking;
    }

    /// Nothing was said yet.
    pub(crate) fn begin_anew(&self) {
        self.resume_at.store(0, Ordering::Relaxed);
        self.payloads.store(0, Ordering::Relaxed);
    }

    /// Payloads heard since the beginning.
    pub(crate) fn payloads(&self) -> usize {
        self.payloads.load(Ordering::Relaxed)
    }

    pub(crate) fn has_part(&self, part: &str) -> bool {
        self.protocol.has_part(part)
    }

    /// Whether a conversation ends from this side.
    pub(crate) fn closes(&self) -> bool {
        self.protocol.closes()
    }

    /// Bytes said on the connection that said most since this was asked last.
    pub(crate) fn take_most_said(&self) -> usize {
        self.most_said.swap(0, Ordering::Relaxed)
    }

    /// Messages in the answer that had most of them so far.
    pub(crate) fn most_messages(&self) -> usize {
        self.most_messages.load(Ordering::Relaxed)
    }

    /// How many answers so far came otherwise than written.
    pub(crate) fn rearranged(&self) -> usize {
        self.rearranged.load(Ordering::Relaxed)
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let orders = self.orders().clone();
        if orders.silent {
            return tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop);
        }
        let mut mouth = Mouth { orders: &orders, said: 0 };
        let mut ended = mouth.say(&mut stream, self.protocol.greeting.as_bytes()).await?;
        let parts: Vec<&str> = orders.part.as_deref().into_iter().chain(orders.checking.then_some("check")).collect();
        let mut heard = Vec::new();
        let mut delimiter = self.protocol.delimiter.clone();
        while !ended {
            let Some(message) = hear(&mut stream, &mut heard, &delimiter).await? else { break };
            if delimiter != self.protocol.delimiter {
                self.payloads.fetch_add(1, Ordering::Relaxed);
            }
            let said = self.protocol.answer(&message, &parts, orders.arrangement);
            self.most_messages.fetch_max(said.arrangeable, Ordering::Relaxed);
            self.rearranged.fetch_add(usize::from(said.rearranged), Ordering::Relaxed);
            delimiter = said.next_delimiter.clone().unwrap_or_else(|| self.protocol.delimiter.clone());
            let was_cut = self.answer(&mut mouth, &mut stream, &said).await?;
            ended = was_cut || (said.close && !orders.hold);
            self.most_said.fetch_max(mouth.said, Ordering::Relaxed);
        }
        stream.shutdown().await?;
        // Closing over bytes that nobody has read would take back what was said.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
    }

    /// Says an answer, what resumes from where it was cut; whether it was cut off now.
    async fn answer(&self, mouth: &mut Mouth<'_>, stream: &mut TcpStream, said: &Said) -> io::Result<bool> {
        let Some(at) = said.resume else { return mouth.say(stream, &said.bytes).await };
        let (always, once) = said.bytes.split_at(at);
        if mouth.say(stream, always).await? {
            return Ok(true);
        }
        let skipped = self.resume_at.swap(0, Ordering::Relaxed).min(once.len());
        let before = mouth.said;
        let was_cut = mouth.say(stream, &once[skipped..]).await?;
        if was_cut {
            let sent = &once[..skipped + mouth.said - before];
            self.resume_at.store(whole_messages(sent, &self.protocol.delimiter), Ordering::Relaxed);
        }
        Ok(was_cut)
    }
}

/// How many bytes the messages make that arrived whole.
fn whole_messages(heard: &[u8], delimiter: &str) -> usize {
    heard.windows(delimiter.len()).rposition(|window| window == delimiter.as_bytes()).map_or(0, |at| at + delimiter.len())
}

/// The next message without its end; none when the peer has left.
async fn hear(stream: &mut TcpStream, heard: &mut Vec<u8>, delimiter: &str) -> io::Result<Option<String>> {
    loop {
        if let Some(at) = heard.windows(delimiter.len()).position(|window| window == delimiter.as_bytes()) {
            let message = String::from_utf8_lossy(&heard[..at]).into_owned();
            heard.drain(..at + delimiter.len());
            return Ok(Some(message));
        }
        if stream.read_buf(heard).await? == 0 {
            return Ok(None);
        }
    }
}

/// Says things, in pieces if ordered, until it is cut off.
struct Mouth<'o> {
    orders: &'o Orders,
    said: usize,
}

impl Mouth<'_> {
    /// Whether it was cut off.
    async fn say(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<bool> {
        let room = self.orders.cut.map_or(usize::MAX, |cut| cut - self.said.min(cut));
        let bytes = &bytes[..bytes.len().min(room)];
        let first = self.orders.split.map_or(0, |split| split.saturating_sub(self.said)).min(bytes.len());
        let (one, two) = bytes.split_at(first);
        stream.write_all(one).await?;
        if !one.is_empty() && !two.is_empty() {
            // The peer reads what is there before it gets the rest.
            stream.flush().await?;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        stream.write_all(two).await?;
        self.said += bytes.len();
        Ok(self.orders.cut.is_some_and(|cut| self.said >= cut))
    }
}

/// The silos of a kit by name.
pub(crate) type TcpSilos = BTreeMap<String, Arc<TcpSilo>>;
