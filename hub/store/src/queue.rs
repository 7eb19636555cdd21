//! The bounded queue before the sequencer: many push without waiting, one takes whatever has gathered.
//!
//! It knows the weight of what it holds, nothing else. Taking all that is there is what makes one disk write serve many commits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::port::StoreError;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// A first-in-first-out queue with an end.
pub(crate) struct Queue<T> {
    bounds: Bounds,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self { bounds, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds an item of some weight, or gives it back with the reason.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), (T, StoreError)> {
        let mut state = self.lock();
        if state.closed {
            return Err((item, StoreError::Closed));
        }
        let full = state.items.len() >= self.bounds.items || state.bytes.saturating_add(bytes) > self.bounds.bytes;
        // What is heavier than all that may wait must still get through, alone.
        if full && !state.items.is_empty() {
            return Err((item, StoreError::Busy));
        }
        state.bytes = state.bytes.saturating_add(bytes);
        state.items.push_back((item, bytes));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until there is something, then takes as much as fits `bounds` (one item at least). None when closed and empty.
    pub(crate) fn take(&self, bounds: Bounds) -> Option<Vec<T>> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(take_from(&mut state, bounds))
    }

    /// As [`take`](Self::take), but none when there is nothing right now.
    pub(crate) fn take_now(&self, bounds: Bounds) -> Option<Vec<T>> {
        let mut state = self.lock();
        if state.items.is_empty() { None } else { Some(take_from(&mut state, bounds)) }
    }

    /// No more may come; what waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_from<T>(state: &mut State<T>, bounds: Bounds) -> Vec<T> {
    let mut taken = Vec::with_capacity(state.items.len().min(bounds.items));
    let mut weight = 0;
    while let Some((_, bytes)) = state.items.front() {
        let bytes = *bytes;
        if !taken.is_empty() && (taken.len() >= bounds.items || weight + bytes > bounds.bytes) {
            break;
        }
        weight += bytes;
        state.bytes -= bytes;
        taken.extend(state.items.pop_front().map(|(item, _)| item));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { items: 100, bytes: 100 };

    #[test]
    fn takes_in_order_as_much_as_fits() {
        let queue = Queue::new(WIDE);
        for (item, bytes) in [("a", 4), ("b", 4), ("c", 4), ("d", 50)] {
            queue.push(item, bytes).unwrap();
        }
        assert_eq!(queue.take(Bounds { items: 2, bytes: 100 }).unwrap(), ["a", "b"]);
        assert_eq!(queue.take(Bounds { items: 9, bytes: 10 }).unwrap(), ["c"]);
        assert_eq!(queue.take(Bounds { items: 9, bytes: 10 }).unwrap(), ["d"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn is_busy_when_full_and_only_then() {
        let queue = Queue::new(Bounds { items: 2, bytes: 10 });
        queue.push(1, 99).unwrap();
        assert_eq!(queue.push(2, 1), Err((2, StoreError::Busy)));
        queue.take(WIDE).unwrap();
        queue.push(3, 5).unwrap();
        queue.push(4, 5).unwrap();
        assert_eq!(queue.push(5, 0), Err((5, StoreError::Busy)));
    }

    #[test]
    fn is_drained_after_it_was_closed() {
        let queue = Queue::new(WIDE);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(2, 1), Err((2, StoreError::Closed)));
        assert_eq!(queue.take(WIDE), Some(vec![1]));
        assert_eq!(queue.take(WIDE), None);
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let queue = std::sync::Arc::new(Queue::new(WIDE));
        let taker = std::thread::spawn({
            let queue = std::sync::Arc::clone(&queue);
            move || (queue.take(WIDE), queue.take(WIDE))
        });
        queue.push(8, 1).unwrap();
        queue.close();
        assert_eq!(taker.join().unwrap(), (Some(vec![8]), None));
    }
}
