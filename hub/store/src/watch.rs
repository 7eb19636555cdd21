//! A hint that the log has grown. It may come late, once for many commits, or for nothing; readers look for themselves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::port::{Sequence, StoreError};

/// The durable head, and who waits for it to move.
pub(crate) struct Head {
    durable: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    closed: bool,
    next: u64,
    /// In the order in which they came, so that they are also woken in it.
    wakers: BTreeMap<u64, Waker>,
}

impl Head {
    pub(crate) fn new(durable: Sequence) -> Self {
        Self { durable: AtomicU64::new(durable), waiting: Mutex::default() }
    }

    /// Everything up to this sequence is durable.
    pub(crate) fn get(&self) -> Sequence {
        self.durable.load(Ordering::Acquire)
    }

    /// Moves it forward and wakes whoever waits.
    pub(crate) fn publish(&self, durable: Sequence) {
        self.durable.fetch_max(durable, Ordering::AcqRel);
        let wakers = std::mem::take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// It will not move again.
    pub(crate) fn close(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the durable head to move. It does not keep the store open.
pub struct Watch {
    head: Arc<Head>,
    id: u64,
    seen: Sequence,
}

impl Watch {
    pub(crate) fn new(head: &Arc<Head>) -> Self {
        let id = {
            let mut waiting = head.lock();
            waiting.next += 1;
            waiting.next
        };
        Self { head: Arc::clone(head), id, seen: head.get() }
    }

    /// Resolves with the durable head as soon as it is beyond the one last seen by this watch (at first: the one when it was made).
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StoreError::Closed`] once the store is shut down and everything was seen.
    pub fn changed(&mut self) -> Changed<'_> {
        Changed { watch: self }
    }

    fn look(&mut self) -> Option<Sequence> {
        let durable = self.head.get();
        if durable <= self.seen {
            return None;
        }
        self.seen = durable;
        Some(durable)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.head.lock().wakers.remove(&self.id);
    }
}

/// See [`Watch::changed`].
#[must_use = "futures do nothing unless awaited"]
pub struct Changed<'a> {
    watch: &'a mut Watch,
}

impl Future for Changed<'_> {
    type Output = Result<Sequence, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let watch = &mut *self.watch;
        if let Some(durable) = watch.look() {
            return Poll::Ready(Ok(durable));
        }
        let closed = {
            let mut waiting = watch.head.lock();
            waiting.wakers.insert(watch.id, context.waker().clone());
            waiting.closed
        };
        // Once more: the head may have moved between the look and the registration.
        match watch.look() {
            Some(durable) => Poll::Ready(Ok(durable)),
            None if closed => Poll::Ready(Err(StoreError::Closed)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(watch: &mut Watch) -> Poll<Result<Sequence, StoreError>> {
        let mut changed = watch.changed();
        Pin::new(&mut changed).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn sees_each_head_once_and_coalesces() {
        let head = Arc::new(Head::new(5));
        let mut watch = Watch::new(&head);
        assert_eq!(poll(&mut watch), Poll::Pending);
        head.publish(6);
        head.publish(9);
        assert_eq!(poll(&mut watch), Poll::Ready(Ok(9)));
        assert_eq!(poll(&mut watch), Poll::Pending);
    }

    #[test]
    fn ends_after_the_last_head_was_seen() {
        let head = Arc::new(Head::new(0));
        let mut watch = Watch::new(&head);
        head.publish(1);
        head.close();
        assert_eq!(poll(&mut watch), Poll::Ready(Ok(1)));
        assert_eq!(poll(&mut watch), Poll::Ready(Err(StoreError::Closed)));
    }

    #[test]
    fn the_head_never_goes_back_and_dropped_watches_leave_nothing() {
        let head = Arc::new(Head::new(3));
        head.publish(2);
        assert_eq!(head.get(), 3);
        let mut watch = Watch::new(&head);
        assert_eq!(poll(&mut watch), Poll::Pending);
        assert_eq!(head.lock().wakers.len(), 1);
        drop(watch);
        assert!(head.lock().wakers.is_empty());
    }
}
