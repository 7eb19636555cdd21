//! Setting the test host up, and what can be asked of it afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use throughline_schemas::Timestamp;

use super::stream::{IntoStream, TestStream};
use crate::log::Level;
use crate::net::Security;
use crate::{HttpRequest, HttpResponse, Item, Result, Value};

/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

type Connect = Box<dyn FnMut(&str, u16, Security) -> Result<Box<dyn TestStream>>>;
type Http = Box<dyn FnMut(&HttpRequest) -> Result<HttpResponse>>;
type WebSocket = Box<dyn FnMut(&Value) -> Result<Box<dyn TestStream>>>;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// Its name.
    pub name: Option<String>,
    /// Its content.
    pub data: Vec<u8>,
}

/// A line that was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Its text.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// Everything the imports need; behind one `Rc` for each thread. Handlers are taken out while they run, so that they may use the SDK too.
pub(super) struct Inner {
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) state: RefCell<BTreeMap<String, Value>>,
    pub(super) emitted: RefCell<Vec<(Vec<Item>, Option<Value>)>>,
    pub(super) emit_failures: RefCell<Vec<crate::Error>>,
    pub(super) logs: RefCell<Vec<LogLine>>,
    pub(super) blobs: RefCell<BTreeMap<String, Blob>>,
    pub(super) requests: RefCell<Vec<HttpRequest>>,
    pub(super) connect: RefCell<Option<Connect>>,
    pub(super) http: RefCell<Option<Http>>,
    pub(super) websocket: RefCell<Option<WebSocket>>,
    pub(super) real_network: bool,
    /// None: the machine's clock.
    pub(super) virtual_ms: Option<Cell<u64>>,
    pub(super) started: std::time::Instant,
    pub(super) deadline_ms: Option<u64>,
    pub(super) cancelled: Cell<bool>,
    pub(super) reads_left: Cell<Option<u64>>,
    pub(super) random: Cell<u64>,
}

thread_local! {
    static HOST: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// The host of this thread; an empty one if none was installed.
pub(super) fn current() -> Rc<Inner> {
    HOST.with_borrow_mut(|host| Rc::clone(host.get_or_insert_with(|| Rc::new(TestHost::new().into_inner()))))
}

/// Says what the plugin under test finds; see the [module](super).
#[must_use = "`install` it and keep the guard"]
pub struct TestHost {
    inner: Inner,
    now: Option<Timestamp>,
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host that gives nothing.
    pub fn new() -> Self {
        let inner = Inner {
            secrets: BTreeMap::new(),
            state: RefCell::default(),
            emitted: RefCell::default(),
            emit_failures: RefCell::default(),
            logs: RefCell::default(),
            blobs: RefCell::default(),
            requests: RefCell::default(),
            connect: RefCell::default(),
            http: RefCell::default(),
            websocket: RefCell::default(),
            real_network: false,
            virtual_ms: None,
            started: std::time::Instant::now(),
            deadline_ms: None,
            cancelled: Cell::new(false),
            reads_left: Cell::new(None),
            random: Cell::new(0x5eed),
        };
        Self { inner, now: None }
    }
    /// A secret of the connection.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.inner.secrets.insert(name.to_owned(), value.to_owned());
        self
    }
    /// What the connection's state holds already.
    pub fn state(self, key: &str, value: Value) -> Self {
        self.inner.state.borrow_mut().insert(key.to_owned(), value);
        self
    }
    /// The time it is. It then stands still, even with a real network.
    pub fn now(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }
    /// Who answers `net::Connection::connect`. The closure returns a stream, or an error to refuse.
    pub fn connect<S: IntoStream>(self, mut connect: impl FnMut(&str, u16, Security) -> S + 'static) -> Self {
        *self.inner.connect.borrow_mut() = Some(Box::new(move |host, port, security| connect(host, port, security).into_stream()));
        self
    }
    /// Who answers HTTP requests; it sees them with their secrets put in.
    pub fn http(self, http: impl FnMut(&HttpRequest) -> Result<HttpResponse> + 'static) -> Self {
        *self.inner.http.borrow_mut() = Some(Box::new(http));
        self
    }
    /// Who answers `net::WebSocket::open`: each read of the stream is one message.
    pub fn websocket<S: IntoStream>(self, mut open: impl FnMut(&Value) -> S + 'static) -> Self {
        *self.inner.websocket.borrow_mut() = Some(Box::new(move |request| open(request).into_stream()));
        self
    }
    /// Lets connections and plain HTTP through to this machine's loopback, and uses the machine's clock.
    pub fn real_network(mut self) -> Self {
        self.inner.real_network = true;
        self
    }
    /// How long the call may go on, in milliseconds.
    pub fn deadline_ms(mut self, ms: u64) -> Self {
        self.inner.deadline_ms = Some(ms);
        self
    }
    /// After so many reads from connections and WebSockets the call is cancelled: the end of a listen loop.
    pub fn cancel_after(self, reads: u64) -> Self {
        self.inner.reads_left.set(Some(reads));
        self
    }
    /// The next `emit` fails with this; several are used up in order.
    pub fn fail_emit(self, error: crate::Error) -> Self {
        self.inner.emit_failures.borrow_mut().push(error);
        self
    }
    /// Makes it the host of this thread, until the guard is dropped.
    pub fn install(self) -> Guard {
        let inner = Rc::new(self.into_inner());
        let previous = HOST.with_borrow_mut(|host| host.replace(Rc::clone(&inner)));
        Guard { inner, previous }
    }

    fn into_inner(mut self) -> Inner {
        let start = self.now.map(|now| u64::try_from(now.as_millis()).unwrap_or(0));
        self.inner.virtual_ms = match (start, self.inner.real_network) {
            (Some(ms), _) => Some(Cell::new(ms)),
            (None, false) => Some(Cell::new(START_MS)),
            (None, true) => None,
        };
        self.inner
    }
}

/// The installed host: ask it what happened. Dropping it brings back the one before.
pub struct Guard {
    inner: Rc<Inner>,
    previous: Option<Rc<Inner>>,
}

impl Guard {
    /// Every batch that was emitted, with its checkpoint.
    #[must_use]
    pub fn emitted(&self) -> Vec<(Vec<Item>, Option<Value>)> {
        self.inner.emitted.borrow().clone()
    }
    /// The items of all batches.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        self.inner.emitted.borrow().iter().flat_map(|(items, _)| items.clone()).collect()
    }
    /// What was logged.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.inner.logs.borrow().clone()
    }
    /// The files, by reference.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<String, Blob> {
        self.inner.blobs.borrow().clone()
    }
    /// The connection's state.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, Value> {
        self.inner.state.borrow().clone()
    }
    /// The HTTP requests as the plugin made them, placeholders and all.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.inner.requests.borrow().clone()
    }
    /// Cancels the call after so many more reads.
    pub fn cancel_after(&self, reads: u64) {
        self.inner.reads_left.set(Some(reads));
    }
    /// Cancels the call, or lets calls go on again.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.inner.cancelled.set(cancelled);
        self.inner.reads_left.set(None);
    }
    /// Moves the clock on, unless it is the machine's.
    pub fn advance_ms(&self, ms: u64) {
        self.inner.advance(ms);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        HOST.with_borrow_mut(|host| *host = self.previous.take());
    }
}

impl Inner {
    pub(super) fn advance(&self, ms: u64) {
        if let Some(clock) = &self.virtual_ms {
            clock.set(clock.get().saturating_add(ms));
        }
    }
}
