//! How far a silo's clock is off, learned from when its news arrives. Nothing can be received before it happened: what seems to come
//! from the future comes from a clock that is ahead, and news that always seems late by as much from one that is behind.

use std::collections::VecDeque;

use throughline_schemas::Timestamp;

/// News remembered.
const SAMPLES: usize = 32;
/// So much news is needed before anything is said.
const AT_LEAST: usize = 8;
/// What is older than this is no news, and says nothing of the clock, in milliseconds.
const NEWS_MS: i64 = 10 * 60 * 1000;
/// A time further ahead is no clock's, but somebody's entry, in milliseconds.
const NONSENSE_MS: i64 = 24 * 60 * 60 * 1000;
/// News takes so long to arrive: a clock that seems behind by less may be right, in milliseconds.
const ON_THE_WAY_MS: i64 = 5_000;

/// What is known of one silo's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skew {
    ahead: VecDeque<i64>,
}

impl Skew {
    /// A piece of news, dated by the silo, was received.
    pub fn learn(&mut self, dated: Timestamp, received: Timestamp) {
        let ahead = dated.since(received);
        if !(-NEWS_MS..=NONSENSE_MS).contains(&ahead) {
            return;
        }
        if self.ahead.len() == SAMPLES {
            self.ahead.pop_front();
        }
        self.ahead.push_back(ahead);
    }

    /// How far the clock is ahead, in milliseconds; negative if it is behind, 0 if that is not known.
    ///
    /// Three quarters of the news seem to be less ahead: single entries that are wrong do not count, nor does what was long on its way.
    #[must_use]
    pub fn ahead_ms(&self) -> i64 {
        if self.ahead.len() < AT_LEAST {
            return 0;
        }
        let mut sorted: Vec<i64> = self.ahead.iter().copied().collect();
        sorted.sort_unstable();
        let ahead = sorted[sorted.len() * 3 / 4];
        if (-ON_THE_WAY_MS..0).contains(&ahead) { 0 } else { ahead }
    }

    /// A time by the silo's clock, by ours.
    #[must_use]
    pub fn corrected(&self, dated: Timestamp) -> Timestamp {
        dated.plus_millis(self.ahead_ms().saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn learned(ahead: &[i64]) -> Skew {
        let mut skew = Skew::default();
        ahead.iter().for_each(|ahead| skew.learn(Timestamp::from_millis(NOW + ahead), Timestamp::from_millis(NOW)));
        skew
    }

    #[test]
    fn a_clock_is_known_by_its_news() {
        let table: [(&str, Vec<i64>, i64); 8] = [
            ("nothing is known", vec![], 0),
            ("too little is known", vec![60_000; AT_LEAST - 1], 0),
            ("it is ahead", vec![60_000; AT_LEAST], 60_000),
            ("it is behind", vec![-60_000; AT_LEAST], -60_000),
            ("it is right, and news takes a moment", vec![-2_000; AT_LEAST], 0),
            ("history says nothing", vec![-31_536_000_000; SAMPLES], 0),
            ("an entry for the year after next says nothing", vec![63_072_000_000; SAMPLES], 0),
            ("one odd entry does not count", [vec![0; SAMPLES - 1], vec![7_200_000]].concat(), 0),
        ];
        for (what, samples, wanted) in table {
            assert_eq!(learned(&samples).ahead_ms(), wanted, "{what}");
        }
    }

    #[test]
    fn a_clock_that_was_set_right_is_believed_soon() {
        assert_eq!(learned(&[vec![3_600_000; SAMPLES], vec![0; SAMPLES]].concat()).ahead_ms(), 0);
    }

    proptest! {
        #[test]
        fn a_clock_that_is_ahead_is_found_to_within_the_time_that_news_takes(
            skew in 60_000i64..3_600_000, delays in proptest::collection::vec(0i64..3_000, AT_LEAST..SAMPLES),
        ) {
            let samples: Vec<i64> = delays.iter().map(|delay| skew - delay).collect();
            let found = learned(&samples).ahead_ms();
            prop_assert!((skew - 3_000..=skew).contains(&found), "{found} of {skew}");
        }

        #[test]
        fn the_order_of_two_times_stays(
            samples in proptest::collection::vec(-700_000i64..100_000_000, 0..40), one in 0i64..NOW, other in 0i64..NOW,
        ) {
            let skew = learned(&samples);
            let corrected = |at| skew.corrected(Timestamp::from_millis(at));
            prop_assert_eq!(one.cmp(&other), corrected(one).cmp(&corrected(other)));
        }
    }
}
