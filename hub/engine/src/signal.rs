//! A value that many wait for. Like tokio's `watch`, but it wakes them in the order in which they began to wait: tokio's order is
//! random, and what is woken first may draw the next random number, so that two runs of one simulation would differ.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Sets the value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal<T> {
    shared: Arc<Shared<T>>,
}

/// Waits for the value, and knows up to where it has seen it.
#[derive(Debug, Clone)]
pub(crate) struct Listener<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared<T> {
    /// How often it was set, and to what. Held only to read or set it.
    state: Mutex<(u64, T)>,
    changed: Notify,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, (u64, T)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Signal<T> {
    /// Sets the value, and wakes everybody also if it is the same.
    pub(crate) fn set(&self, value: T) {
        self.modify(|held| *held = value);
    }

    /// Changes the value, and wakes everybody.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut T)) {
        let mut state = self.shared.state();
        state.0 += 1;
        change(&mut state.1);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// What it is now.
    pub(crate) fn get(&self) -> T
    where
        T: Copy,
    {
        self.shared.state().1
    }

    /// Waits for what is set from now on.
    pub(crate) fn listen(&self) -> Listener<T> {
        let seen = self.shared.state().0;
        Listener { shared: Arc::clone(&self.shared), seen }
    }
}

impl<T> Listener<T> {
    /// What it is now.
    pub(crate) fn get(&self) -> T
    where
        T: Copy,
    {
        self.shared.state().1
    }

    /// Overlooks what was set so far.
    pub(crate) fn skip(&mut self) {
        self.seen = self.shared.state().0;
    }

    /// Resolves as soon as it was set since it was last seen.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Counts from here on, so that nothing set after the look is missed.
            let changed = self.shared.changed.notified();
            let now = self.shared.state().0;
            if now != self.seen {
                self.seen = now;
                return;
            }
            changed.await;
        }
    }

    /// Resolves as soon as the value is such.
    pub(crate) async fn until(&mut self, mut is_so: impl FnMut(&T) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            if is_so(&self.shared.state().1) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_it_is_set_and_not_before() {
        let signal = Signal::<u32>::default();
        let (mut early, mut late) = (signal.listen(), signal.listen());
        signal.set(1);
        early.changed().await;
        late.skip();
        assert_eq!(late.get(), 1);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), late.changed()).await.is_err(), "it has seen that");
        let waiting = tokio::spawn(async move { late.until(|value| *value == 3).await });
        tokio::task::yield_now().await;
        signal.modify(|value| *value += 1);
        signal.modify(|value| *value += 1);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began() {
        let signal = Signal::<()>::default();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (mut listener, woken) = (signal.listen(), Arc::clone(&woken));
            tasks.spawn(async move {
                listener.changed().await;
                woken.lock().unwrap().push(number);
            });
        }
        tokio::task::yield_now().await;
        signal.set(());
        while tasks.join_next().await.is_some() {}
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
