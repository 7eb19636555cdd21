//! Watches a running guest: how long it takes, and how long it holds its thread.
//!
//! A guest gives way at every tick, so the sum of the times its future is polled is the time it spent computing; what it spends
//! waiting in imports is not counted. No timer is made for a call that never waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// What a call or a listener may use up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Wall time; none for a listener.
    pub(crate) wall: Option<Duration>,
    /// CPU time, in the whole call or in each window.
    pub(crate) cpu: Duration,
    /// The window after which CPU time is counted anew.
    pub(crate) window: Option<Duration>,
}

/// How a guest went beyond its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// It computed for too long.
    Cpu(Duration),
    /// It took too long, mostly computing.
    Ran(Duration),
    /// It took too long, mostly waiting for others.
    Waited(Duration),
}

/// A future under supervision.
pub(crate) struct Supervised<F> {
    inner: Pin<Box<F>>,
    budget: Budget,
    started: Instant,
    window_started: Instant,
    used_in_window: Duration,
    used: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Supervised<F> {
    pub(crate) fn new(inner: F, budget: Budget) -> Self {
        let now = Instant::now();
        Self {
            inner: Box::pin(inner),
            budget,
            started: now,
            window_started: now,
            used_in_window: Duration::ZERO,
            used: Duration::ZERO,
            timer: None,
        }
    }

    /// CPU time so far.
    pub(crate) fn used(&self) -> Duration {
        self.used
    }

    fn note(&mut self, began: Instant) {
        let now = Instant::now();
        let spent = now.duration_since(began);
        self.used += spent;
        if self.budget.window.is_some_and(|window| now.duration_since(self.window_started) >= window) {
            self.window_started = began;
            self.used_in_window = Duration::ZERO;
        }
        self.used_in_window += spent;
    }

    fn wall_overrun(&self, wall: Duration) -> Overrun {
        if self.used * 2 > self.started.elapsed() { Overrun::Ran(wall) } else { Overrun::Waited(wall) }
    }
}

impl<F: Future> Future for Supervised<F> {
    type Output = Result<F::Output, Overrun>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let began = Instant::now();
        if let Poll::Ready(output) = self.inner.as_mut().poll(cx) {
            self.note(began);
            return Poll::Ready(Ok(output));
        }
        self.note(began);
        if self.used_in_window > self.budget.cpu {
            return Poll::Ready(Err(Overrun::Cpu(self.budget.cpu)));
        }
        let Some(wall) = self.budget.wall else { return Poll::Pending };
        let deadline = self.started + wall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.wall_overrun(wall))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(wall_ms: u64, cpu_ms: u64) -> Budget {
        Budget { wall: Some(Duration::from_millis(wall_ms)), cpu: Duration::from_millis(cpu_ms), window: None }
    }

    async fn spin(for_ms: u64) {
        let end = Instant::now() + Duration::from_millis(for_ms);
        while Instant::now() < end {
            let tick = Instant::now() + Duration::from_millis(2);
            while Instant::now() < tick {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_way_of_overrunning_is_told_from_the_others() {
        let long = 60_000;
        assert_eq!(Supervised::new(async { 7 }, budget(long, long)).await, Ok(7));
        assert!(matches!(Supervised::new(spin(long), budget(long, 20)).await, Err(Overrun::Cpu(_))));
        assert!(matches!(Supervised::new(spin(long), budget(60, long)).await, Err(Overrun::Ran(_))));
        assert!(matches!(Supervised::new(std::future::pending::<()>(), budget(20, long)).await, Err(Overrun::Waited(_))));
    }

    #[tokio::test]
    async fn a_window_counts_anew() {
        let windowed = Budget { wall: None, cpu: Duration::from_millis(500), window: Some(Duration::from_millis(50)) };
        assert_eq!(Supervised::new(spin(800), windowed).await, Ok(()), "no window holds more than its CPU time");
    }
}
