//! An answer that arrives once: filled in by the sequencer's thread, awaited as a future or waited for by a thread.
//!
//! Made by hand so that this crate needs no async runtime. It knows nothing of commits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::port::StoreError;

/// What everybody is answered whose question was dropped: the sequencer died with it, so nobody knows how far it came.
const LOST: &str = "the sequencer stopped before it answered";

struct Slot<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

enum State<T> {
    Waiting(Option<Waker>),
    Filled(Result<T, StoreError>),
    Taken,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, result: Result<T, StoreError>) {
        let before = std::mem::replace(&mut *self.lock(), State::Filled(result));
        self.filled.notify_all();
        // Outside the lock: a waker may run the task at once.
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// The side that answers. Dropped without an answer it says [`StoreError::Unknown`].
pub(crate) struct Answer<T> {
    slot: Option<Arc<Slot<T>>>,
}

impl<T> Answer<T> {
    pub(crate) fn send(mut self, result: Result<T, StoreError>) {
        if let Some(slot) = self.slot.take() {
            slot.fill(result);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.fill(Err(StoreError::Unknown(LOST.to_owned())));
        }
    }
}

/// The side that waits. Dropping it does not undo the question.
#[must_use = "it is done either way, but only the answer says what came of it"]
pub struct Pending<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Pending<T> {
    /// Already answered.
    pub(crate) fn ready(result: Result<T, StoreError>) -> Self {
        Self { slot: Arc::new(Slot { state: Mutex::new(State::Filled(result)), filled: Condvar::new() }) }
    }

    /// Blocks the thread until the answer is there. Not for async tasks: await them instead.
    ///
    /// # Errors
    /// The answer's own.
    pub fn wait(self) -> Result<T, StoreError> {
        let mut state = self.slot.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Filled(result) => return result,
                State::Taken => return Err(StoreError::Unknown("the answer was taken before".to_owned())),
                State::Waiting(waker) => {
                    *state = State::Waiting(waker);
                    state = self.slot.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Filled(result) => Poll::Ready(result),
            State::Taken => panic!("polled after it was ready"),
            State::Waiting(_) => {
                *state = State::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Both sides of one answer.
pub(crate) fn pair<T>() -> (Answer<T>, Pending<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(None)), filled: Condvar::new() });
    (Answer { slot: Some(Arc::clone(&slot)) }, Pending { slot })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waiting_task_is_woken_once_and_finds_the_answer() {
        let (answer, mut pending) = pair();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert_eq!(Pin::new(&mut pending).poll(&mut context), Poll::Pending);
        answer.send(Ok(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut pending).poll(&mut context), Poll::Ready(Ok(7)));
    }

    #[test]
    fn a_waiting_thread_gets_the_answer() {
        let (answer, pending) = pair();
        let waiting = std::thread::spawn(move || pending.wait());
        answer.send(Ok("done"));
        assert_eq!(waiting.join().unwrap(), Ok("done"));
    }

    #[test]
    fn a_dropped_question_is_unknown() {
        let (answer, pending) = pair::<()>();
        drop(answer);
        assert!(matches!(pending.wait(), Err(StoreError::Unknown(_))));
    }

    #[test]
    fn answering_nobody_is_no_error() {
        let (answer, pending) = pair();
        drop(pending);
        answer.send(Ok(1));
    }
}
