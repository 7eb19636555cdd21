//! Lanes: what concerns the same person, conversation or record is decided one at a time; the rest runs side by side.
//!
//! A lane is a stripe of a fixed set of locks, chosen by hash. Taking several at once is safe because they are taken in order.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

const STRIPES: usize = 1024;

/// The set of lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    stripes: Vec<Arc<Mutex<()>>>,
}

/// Lanes held; freed when dropped.
#[derive(Debug)]
#[must_use = "the lanes are free again as soon as this is dropped"]
pub(crate) struct LaneGuard {
    _held: Vec<OwnedMutexGuard<()>>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Arc::new(Mutex::new(()))).collect() }
    }

    /// Waits for the lanes of all these names.
    pub(crate) async fn enter(&self, names: impl IntoIterator<Item = String>) -> LaneGuard {
        let wanted: BTreeSet<usize> = names.into_iter().map(|name| stripe(&name)).collect();
        let mut held = Vec::with_capacity(wanted.len());
        for index in wanted {
            held.push(Arc::clone(&self.stripes[index]).lock_owned().await);
        }
        LaneGuard { _held: held }
    }
}

fn stripe(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (hasher.finish() % STRIPES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_name_waits_and_overlapping_sets_do_not_lock_up() {
        let lanes = Arc::new(Lanes::new());
        let first = lanes.enter(["a".to_owned(), "b".to_owned()]).await;
        let waiting = {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { drop(lanes.enter(["b".to_owned(), "a".to_owned(), "b".to_owned()]).await) })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
