//! The one place that knows what time it is, what the next id will be, and where random numbers come from.

use std::time::{SystemTime, UNIX_EPOCH};

use throughline_schemas::Timestamp;

/// Where the hub gets the time from; tests hand in their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Sixteen fresh bytes for an id: a UUIDv7, so that ids sort by when they were made.
pub(crate) fn fresh() -> [u8; 16] {
    seeded::id().unwrap_or_else(|| *uuid::Uuid::now_v7().as_bytes())
}

/// Bytes nobody can guess, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if !seeded::fill(&mut bytes) {
        getrandom::fill(&mut bytes).expect("the operating system has random numbers once it has booted");
    }
    bytes
}

/// A random number from 0 to 1.
pub(crate) fn chance() -> f64 {
    f64::from(u32::from_be_bytes(random())) / f64::from(u32::MAX)
}

/// Ids and random numbers that are the same in every run: for simulations, whose hub lives on one thread.
pub(crate) mod seeded {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::Clock;

    struct Source {
        state: u64,
        clock: Arc<dyn Clock>,
        count: u16,
        last: u64,
    }

    thread_local! {
        static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
    }

    /// From now on this thread's ids and random numbers come from `seed`, and the time in its ids from `clock`. Secrets made on this
    /// thread are worth nothing: never call it where anything is to be kept secret.
    pub fn seed_this_thread(seed: u64, clock: Arc<dyn Clock>) {
        SOURCE.with_borrow_mut(|source| *source = Some(Source { state: seed, clock, count: 0, last: 0 }));
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        SOURCE.with_borrow_mut(|source| {
            let Some(source) = source else { return false };
            bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&source.next().to_be_bytes()[..chunk.len()]));
            true
        })
    }

    /// Laid out as a UUIDv7: the time, then a counter within the millisecond, then chance.
    pub(super) fn id() -> Option<[u8; 16]> {
        SOURCE.with_borrow_mut(|source| {
            let source = source.as_mut()?;
            let now = u64::try_from(source.clock.now().as_millis()).unwrap_or(0).max(source.last);
            source.count = if now == source.last { source.count.saturating_add(1) } else { 0 };
            source.last = now;
            let mut bytes = [0; 16];
            bytes[..6].copy_from_slice(&now.to_be_bytes()[2..]);
            bytes[6..8].copy_from_slice(&(0x7000 | (source.count & 0x0fff)).to_be_bytes());
            bytes[8..].copy_from_slice(&source.next().to_be_bytes());
            bytes[8] = 0x80 | (bytes[8] & 0x3f);
            Some(bytes)
        })
    }

    impl Source {
        /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
        fn next(&mut self) -> u64 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}
