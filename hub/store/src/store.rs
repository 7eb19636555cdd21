//! The handle that everybody above holds: reads go straight to the engine, commits go through the sequencer.
//!
//! A read may see what is applied but not durable yet; the log may not: it ends at the durable head. What is acknowledged is always both.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::engine::{EngineError, KvEngine};
use crate::layout;
use crate::mark::StoreId;
use crate::oneshot::{Pending, pair};
use crate::options::{IDEMPOTENCY_LIMIT, LIMITS, Options};
use crate::port::{Commit, Committed, Key, KeyRange, Limits, LogEntry, ScanPage, Sequence, StoreError, Versioned};
use crate::queue::{Bounds, Queue};
use crate::sequencer::{Request, Sequencer};
use crate::snapshot::Snapshot;
use crate::status::{Stats, Status};
use crate::watch::{Head, Watch};

/// The answer to a commit: a future for tasks, [`wait`](Pending::wait) for threads. It arrives when the commit is durable. Dropping it
/// does not undo the commit.
pub type CommitFuture = Pending<Committed>;

/// What a commit weighs in the queue besides its bytes.
const REQUEST_OVERHEAD: usize = 64;
/// What a log entry weighs besides its bytes: its key.
const LOG_KEY: usize = 9;

/// An open store. Clones are the same store; the last one dropped closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn KvEngine>,
    queue: Arc<Queue<Request>>,
    head: Arc<Head>,
    status: Arc<Status>,
    id: StoreId,
    /// Without a thread of its own the sequencer works here, on the thread of whoever asks.
    inline: Option<Mutex<Sequencer>>,
    ending: Mutex<Ending>,
}

enum Ending {
    Running(JoinHandle<Result<(), StoreError>>),
    Inline,
    Ended(Result<(), StoreError>),
}

impl Store {
    /// Values of keys, in the order of the keys.
    ///
    /// # Errors
    /// If a key is not of a table, or the engine cannot read.
    pub fn get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, StoreError> {
        if let Some(key) = keys.iter().find(|key| !layout::belongs_to_tables(key)) {
            return Err(StoreError::ReservedKey(key.clone()));
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = self.inner.engine.get(&keys)?;
        found.into_iter().map(|bytes| bytes.map(layout::versioned).transpose()).collect()
    }

    /// At most `limit` entries of a range, from its start or, with `reverse`, from its end backwards. Not a snapshot: commits made
    /// meanwhile may show in part.
    ///
    /// # Errors
    /// If the range is not of tables, or the engine cannot read.
    pub fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> Result<ScanPage, StoreError> {
        if !layout::range_belongs_to_tables(range) {
            return Err(StoreError::ReservedKey(range.start.clone()));
        }
        let page = self.inner.engine.scan(range, reverse, limit)?;
        let entries =
            page.entries.into_iter().map(|(key, bytes)| Ok((key, layout::versioned(bytes)?))).collect::<Result<_, StoreError>>()?;
        Ok(ScanPage { entries, more: page.more })
    }

    /// Commits, all or nothing. Deletes come before puts; of several puts of one key the last counts.
    ///
    /// Errors that mean "nothing was applied": `Busy`, `Full`, `TooLarge`, `ReservedKey`, `Io`, `Corrupt`, `Closed`. After `Unknown` send
    /// it again with the same idempotency id, to this store or to one opened anew.
    pub fn commit(&self, commit: Commit) -> CommitFuture {
        match checked_size(&commit) {
            Ok(size) => self.ask(size, |answer| Request::Commit(commit, answer)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// Commits and blocks the thread until it is durable.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_blocking(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.commit(commit).wait()
    }

    /// At most `limit` log entries after a sequence, in order, none beyond the durable head.
    ///
    /// # Errors
    /// If the engine cannot read.
    pub fn read_log(&self, after: Sequence, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let durable = self.durable_head();
        if after >= durable {
            return Ok(Vec::new());
        }
        let range = layout::log_range(after + 1, durable.saturating_add(1));
        let page = self.inner.engine.scan(&range, false, limit)?;
        page.entries.into_iter().map(|(key, value)| Ok(LogEntry { sequence: layout::log_sequence(&key)?, value })).collect()
    }

    /// Everything up to this sequence is durable.
    #[must_use]
    pub fn durable_head(&self) -> Sequence {
        self.inner.head.get()
    }

    /// A hint when the durable head moves.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(&self.inner.head)
    }

    /// Removes log entries before a sequence, in steps that let commits in between. Blocks the thread; gives how many were removed.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); what was removed until then stays removed.
    pub fn trim_log(&self, before: Sequence) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let trimmed = self.ask(0, |answer| Request::Trim(before, answer)).wait()?;
            removed += trimmed.removed;
            if trimmed.done {
                return Ok(removed);
            }
        }
    }

    /// Entries before this sequence were trimmed: a reader who is not so far yet has missed some. 0 if nothing ever was.
    ///
    /// # Errors
    /// If the engine cannot read.
    pub fn log_start(&self) -> Result<Sequence, StoreError> {
        let found = crate::engine::get_one(self.inner.engine.as_ref(), layout::LOG_START)?;
        found.map_or(Ok(0), |bytes| layout::number_in(&bytes, "the start of the log"))
    }

    /// What it can take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        LIMITS
    }

    /// The store's name: 16 random bytes given when it was made, kept through backup and restore.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.inner.id
    }

    /// Numbers since it was opened.
    ///
    /// # Errors
    /// If the size on disk cannot be found out.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let inner = &self.inner;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        let counters = &inner.status.counters;
        Ok(Stats {
            commits: read(&counters.commits),
            conflicts: read(&counters.conflicts),
            duplicates: read(&counters.duplicates),
            batches: read(&counters.batches),
            bytes: read(&counters.bytes),
            syncs: inner.engine.syncs(),
            waiting: inner.queue.len(),
            durable_head: self.durable_head(),
            disk_bytes: inner.engine.size_on_disk()?,
            failure: self.failure(),
        })
    }

    /// Why the store takes no more commits, if the disk or the engine failed it. Reading goes on as far as it can; opening the store
    /// again, once the cause is removed, is the remedy.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.status.failure()
    }

    /// Why commits are refused for lack of room, if they would be now. By itself it ends when there is room again.
    #[must_use]
    pub fn out_of_room(&self) -> Option<StoreError> {
        self.inner.status.room().err()
    }

    /// Takes no more commits, finishes those that wait, and lets go of the files: they can be opened again when this returns. Every
    /// clone of the handle is closed with it.
    ///
    /// # Errors
    /// If the last data could not be made durable; what was acknowledged is.
    pub fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }

    /// The state of everything at the durable head, to be read page by page.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.ask(0, Request::Snapshot).wait()
    }

    /// Starts the sequencer on an engine whose contents are durable up to `head`.
    pub(crate) fn start(
        id: StoreId,
        options: &Options,
        sequencer: impl FnOnce(Arc<Queue<Request>>) -> Sequencer,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(Bounds { items: options.queue_commits, bytes: options.queue_bytes }));
        let sequencer = sequencer(Arc::clone(&queue));
        let (engine, head, status) = (Arc::clone(&sequencer.engine), Arc::clone(&sequencer.head), Arc::clone(&sequencer.status));
        let thread = std::thread::Builder::new()
            .name("store-sequencer".to_owned())
            .spawn(move || sequencer.run())
            .map_err(|error| StoreError::Io(format!("cannot start the sequencer: {error}")))?;
        let ending = Mutex::new(Ending::Running(thread));
        Ok(Self { inner: Arc::new(Inner { engine, queue, head, status, id, inline: None, ending }) })
    }

    /// As [`start`](Self::start), but without a thread: whoever asks does the work and has the answer at once. For simulations, where
    /// another thread would make two runs differ.
    pub(crate) fn start_inline(id: StoreId, options: &Options, sequencer: impl FnOnce(Arc<Queue<Request>>) -> Sequencer) -> Self {
        let queue = Arc::new(Queue::new(Bounds { items: options.queue_commits, bytes: options.queue_bytes }));
        let sequencer = sequencer(Arc::clone(&queue));
        let (engine, head, status) = (Arc::clone(&sequencer.engine), Arc::clone(&sequencer.head), Arc::clone(&sequencer.status));
        let (inline, ending) = (Some(Mutex::new(sequencer)), Mutex::new(Ending::Inline));
        Self { inner: Arc::new(Inner { engine, queue, head, status, id, inline, ending }) }
    }

    fn ask<T>(&self, size: usize, request: impl FnOnce(crate::oneshot::Answer<T>) -> Request) -> Pending<T> {
        if self.inner.status.has_failed() {
            return Pending::ready(Err(StoreError::Closed));
        }
        let (answer, pending) = pair();
        match self.inner.queue.push(request(answer), size + REQUEST_OVERHEAD) {
            Ok(()) => {
                if let Some(sequencer) = &self.inner.inline {
                    sequencer.lock().unwrap_or_else(PoisonError::into_inner).catch_up();
                }
                pending
            }
            Err((request, error)) => {
                request.refuse(error);
                pending
            }
        }
    }
}

impl Inner {
    fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ending::Ended(result) = &*ending {
            return result.clone();
        }
        let unknown = || Err(StoreError::Unknown("the sequencer did not end well".to_owned()));
        let thread = match std::mem::replace(&mut *ending, Ending::Ended(unknown())) {
            Ending::Running(thread) => thread,
            Ending::Inline => {
                let sequencer = self.inline.as_ref().map(|inline| inline.lock().unwrap_or_else(PoisonError::into_inner));
                let result = sequencer.map_or_else(unknown, |mut sequencer| sequencer.finish());
                *ending = Ending::Ended(result.clone());
                return result;
            }
            Ending::Ended(_) => return unknown(),
        };
        if thread.thread().id() == std::thread::current().id() {
            // A waker run by the sequencer dropped the last handle: the thread ends by itself and cannot wait for itself.
            *ending = Ending::Ended(Ok(()));
            return Ok(());
        }
        let result = thread.join().unwrap_or_else(|_| unknown());
        *ending = Ending::Ended(result.clone());
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to be told; what was acknowledged is durable already.
        let _ = self.close();
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Corrupt(detail) => Self::Corrupt(detail),
            EngineError::Io(detail) => Self::Io(detail),
            EngineError::Locked(path) => Self::Locked(path),
            EngineError::Closed => Self::Closed,
        }
    }
}

/// Refuses what is beyond the limits; gives the size of what is not.
fn checked_size(commit: &Commit) -> Result<usize, StoreError> {
    let keys = commit.expect.iter().map(|(key, _)| key).chain(commit.put.iter().map(|(key, _)| key)).chain(&commit.delete);
    let mut size = 0;
    for key in keys {
        within("a key", key.len(), LIMITS.key)?;
        if !layout::belongs_to_tables(key) {
            return Err(StoreError::ReservedKey(key.clone()));
        }
        size += key.len();
    }
    for (_, value) in &commit.put {
        within("a value", value.len(), LIMITS.value)?;
        size += layout::VERSION_BYTES + value.len();
    }
    for entry in &commit.log {
        within("a log entry", entry.len(), LIMITS.value)?;
        size += LOG_KEY + entry.len();
    }
    if let Some(named) = &commit.idempotency {
        within("an idempotency id", named.id.len(), IDEMPOTENCY_LIMIT)?;
        size += 2 * named.id.len();
    }
    within("a commit", size, LIMITS.commit)?;
    Ok(size)
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}
