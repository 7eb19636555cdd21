//! Budgets: so much at once, and then one more each so many milliseconds. For wrong codes, automatic answers, re-opens.
//!
//! The generic cell rate algorithm (ITU-T I.371, appendix A): all there is to keep is the moment at which the budget is full again,
//! so that a row of the store is one timestamp, and none is a full budget.

use throughline_schemas::Timestamp;

/// How much of something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many at once.
    pub burst: u32,
    /// One comes back each so many milliseconds.
    pub every_ms: i64,
}

impl Budget {
    /// Whether one may happen now. `full_at`: when the budget is full again, none if it is.
    #[must_use]
    pub fn allows(&self, full_at: Option<Timestamp>, now: Timestamp) -> bool {
        let owed = full_at.map_or(0, |full_at| full_at.since(now).max(0));
        owed.saturating_add(self.every_ms) <= self.every_ms.saturating_mul(i64::from(self.burst))
    }

    /// When the budget is full again once one more has happened now.
    #[must_use]
    pub fn spend(&self, full_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
        full_at.map_or(now, |full_at| full_at.max(now)).plus_millis(self.every_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_at_a_time() {
        let budget = Budget { burst: 3, every_ms: 10 };
        let mut full_at = None;
        let mut allowed = Vec::new();
        for now in [0, 0, 0, 0, 9, 10, 10, 35, 35, 35, 35, 100].map(Timestamp::from_millis) {
            let may = budget.allows(full_at, now);
            allowed.push(may);
            if may {
                full_at = Some(budget.spend(full_at, now));
            }
        }
        assert_eq!(allowed, [true, true, true, false, false, true, false, true, true, false, false, true]);
        assert!(!Budget { burst: 0, every_ms: 10 }.allows(None, Timestamp::from_millis(0)));
    }
}
