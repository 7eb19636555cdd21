//! The one writer. It drains the queue into one engine batch, makes it durable, publishes the durable head and only then answers.
//!
//! One thread gives a gap-free order, serial preconditions and one disk write for many commits. Nothing it does is visible as
//! acknowledged, or to readers of the log, before [`KvEngine::sync`] has returned. If applying or synchronising fails, nobody knows what
//! is on the disk: everybody in the batch hears `Unknown` and no more commits are taken until the store is opened again.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use crate::engine::sled_engine::panic_text;
use crate::engine::{KvEngine, WriteBatch};
use crate::layout::CRASH_GAP;
use crate::mark::Mark;
use crate::oneshot::Answer;
use crate::options::Clock;
use crate::plan::{Plan, Trimmed};
use crate::port::{Commit, Committed, Sequence, StoreError};
use crate::queue::{Bounds, Queue};
use crate::snapshot::{Snapshot, Tap};
use crate::status::{Status, count};
use crate::watch::Head;

/// What one engine batch carries at most.
pub(crate) const BATCH: Bounds = Bounds { items: 512, bytes: 1024 * 1024 };
/// Every sequence that a batch may hand out falls into the gap after a crash; a log entry weighs at least its key.
const _: () = assert!(CRASH_GAP as usize > BATCH.items + BATCH.bytes / 8);

/// Everything the sequencer can be asked.
pub(crate) enum Request {
    Commit(Commit, Answer<Committed>),
    Trim(Sequence, Answer<Trimmed>),
    Snapshot(Answer<Snapshot>),
}

impl Request {
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::Commit(_, answer) => answer.send(Err(error)),
            Self::Trim(_, answer) => answer.send(Err(error)),
            Self::Snapshot(answer) => answer.send(Err(error)),
        }
    }
}

/// A decided request that waits for the disk.
enum Decided {
    Commit(Answer<Committed>, Result<Committed, StoreError>),
    Trim(Answer<Trimmed>, Result<Trimmed, StoreError>),
}

impl Decided {
    fn answer(self) {
        match self {
            Self::Commit(answer, result) => answer.send(result),
            Self::Trim(answer, result) => answer.send(result),
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Commit(answer, _) => answer.send(Err(error)),
            Self::Trim(answer, _) => answer.send(Err(error)),
        }
    }
}

/// The side file, and how often it is synchronised.
pub(crate) struct Marking {
    pub(crate) mark: Mark,
    pub(crate) every: u64,
}

impl Marking {
    fn note(&mut self, durable: Sequence) -> Result<(), StoreError> {
        self.mark.note(durable)?;
        if durable.saturating_sub(self.mark.settled()) >= self.every {
            self.mark.settle(durable)?;
        }
        Ok(())
    }
}

/// Owned by the sequencer's thread.
pub(crate) struct Sequencer {
    pub(crate) engine: Arc<dyn KvEngine>,
    pub(crate) queue: Arc<Queue<Request>>,
    pub(crate) head: Arc<Head>,
    pub(crate) status: Arc<Status>,
    pub(crate) now_ms: Clock,
    pub(crate) marking: Option<Marking>,
    /// Held as long as the engine is open.
    pub(crate) lock: Option<File>,
    pub(crate) taps: Vec<Weak<Tap>>,
}

impl Sequencer {
    /// Works until the queue is closed and empty, then lets go of everything.
    pub(crate) fn run(mut self) -> Result<(), StoreError> {
        while let Some(requests) = self.queue.take(BATCH) {
            self.guarded_step(requests);
        }
        self.finish()
    }

    /// Does what waits and returns; for a store without a thread.
    pub(crate) fn catch_up(&mut self) {
        while let Some(requests) = self.queue.take_now(BATCH) {
            self.guarded_step(requests);
        }
    }

    fn guarded_step(&mut self, requests: Vec<Request>) {
        let step = catch_unwind(AssertUnwindSafe(|| self.step(requests)));
        // Whoever was not answered yet hears `Unknown`, because his answer was dropped.
        if let Err(panic) = step {
            self.status.fail(&format!("the sequencer panicked: {}", panic_text(panic.as_ref())));
        }
    }

    /// Ends in good order, and lets go of everything.
    pub(crate) fn finish(&mut self) -> Result<(), StoreError> {
        let result = self.settle();
        self.engine.close();
        self.head.close();
        if let Some(lock) = self.lock.take() {
            // Said in so many words: closing our handle would leave the lock to a process that is just being started with a copy of it.
            let _ = lock.unlock();
        }
        result
    }

    fn step(&mut self, requests: Vec<Request>) {
        let mut group = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Snapshot(answer) => {
                    self.group(std::mem::take(&mut group));
                    answer.send(self.snapshot());
                }
                other => group.push(other),
            }
        }
        self.group(group);
    }

    /// Decides, applies and answers what forms one engine batch.
    fn group(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        if let Err(error) = self.accepts() {
            requests.into_iter().for_each(|request| request.refuse(error.clone()));
            return;
        }
        let (decided, batch, head) = self.decide(requests);
        match self.make_durable(batch, head) {
            Ok(()) => {
                self.tally(&decided);
                decided.into_iter().for_each(Decided::answer);
            }
            Err(error) => {
                self.status.fail(&error.to_string());
                decided.into_iter().for_each(|decided| decided.refuse(StoreError::Unknown(error.to_string())));
            }
        }
    }

    fn accepts(&self) -> Result<(), StoreError> {
        if self.status.has_failed() {
            return Err(StoreError::Closed);
        }
        self.status.room()
    }

    fn decide(&self, requests: Vec<Request>) -> (Vec<Decided>, WriteBatch, Sequence) {
        let mut plan = Plan::new(self.engine.as_ref(), self.head.get(), (self.now_ms)());
        // Housekeeping must not keep anybody from committing: what cannot be read now is said to whoever needs it.
        let _ = plan.forget_expired();
        let decided = requests
            .into_iter()
            .map(|request| match request {
                Request::Commit(commit, answer) => Decided::Commit(answer, plan.commit(commit)),
                Request::Trim(before, answer) => Decided::Trim(answer, plan.trim(before)),
                Request::Snapshot(_) => unreachable!("snapshots are taken between groups"),
            })
            .collect();
        let (batch, head) = plan.finish();
        (decided, batch, head)
    }

    /// Applies the batch, waits for the disk, publishes the head. In this order and no other.
    fn make_durable(&mut self, batch: WriteBatch, head: Sequence) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.bytes() as u64;
        self.taps.retain(|tap| tap.upgrade().map(|tap| tap.save(self.engine.as_ref(), &batch)).is_some());
        self.engine.apply(batch)?;
        self.engine.sync()?;
        if let Some(marking) = &mut self.marking {
            // The batch is durable whatever becomes of the mark; but a disk that refuses this is not to be trusted with more.
            if let Err(error) = marking.note(head) {
                self.status.fail(&error.to_string());
            }
        }
        self.head.publish(head);
        count(&self.status.counters.batches, 1);
        count(&self.status.counters.bytes, bytes);
        Ok(())
    }

    fn tally(&self, decided: &[Decided]) {
        let counters = &self.status.counters;
        for decided in decided {
            match decided {
                Decided::Commit(_, Ok(Committed::Applied(_))) => count(&counters.commits, 1),
                Decided::Commit(_, Ok(Committed::Conflict { .. })) => count(&counters.conflicts, 1),
                Decided::Commit(_, Ok(Committed::Duplicate(_))) => count(&counters.duplicates, 1),
                Decided::Commit(_, Err(_)) | Decided::Trim(..) => {}
            }
        }
    }

    /// Between two batches everything visible is durable: the moment to begin a snapshot.
    fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        if self.status.has_failed() {
            return Err(StoreError::Closed);
        }
        let tap = Arc::new(Tap::new());
        self.taps.push(Arc::downgrade(&tap));
        Ok(Snapshot::new(Arc::clone(&self.engine), tap, self.head.get()))
    }

    /// Notes that the end is an orderly one, and where it is.
    fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = self.status.failure() {
            return Err(StoreError::Unknown(failure));
        }
        crate::open::end(self.engine.as_ref(), self.head.get())?;
        self.marking.as_mut().map_or(Ok(()), |marking| marking.mark.settle(self.head.get()))
    }
}
