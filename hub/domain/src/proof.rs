//! One-time codes that prove an address is the speaker's: how long, how often, and what an attempt comes to.
//!
//! A code is six digits, bound to one conversation and one address, good for ten minutes and three attempts (NIST SP 800-63B, 5.1.3.2,
//! asks for at most ten minutes and a limit on attempts): a guesser has three chances in a million for each code, and at most eight
//! codes for an address in the first hour. What is kept is a keyed hash.

use throughline_schemas::Timestamp;

use crate::continuity::budget::Budget;

/// How long a code holds, in milliseconds.
pub const HOLDS_MS: i64 = 10 * 60 * 1000;
/// How many attempts a code has.
pub const ATTEMPTS: u8 = 3;
/// How many digits a code has.
pub const DIGITS: u8 = 6;
/// How long a proven conversation stays so, in milliseconds: a session, not for ever.
pub const PROVEN_MS: i64 = 12 * 60 * 60 * 1000;
/// Codes sent to one address: three at once, then one each twelve minutes. Whoever owns it is not to be flooded.
pub const PER_ADDRESS: Budget = Budget { burst: 3, every_ms: 12 * 60 * 1000 };
/// Codes asked for in one conversation: five at once, then one each twelve minutes.
pub const PER_CONVERSATION: Budget = Budget { burst: 5, every_ms: 12 * 60 * 1000 };
/// Codes sent by one connection: sixty at once, then one each ten seconds. Messages cost money, and pumping them is a trade.
pub const PER_CONNECTION: Budget = Budget { burst: 60, every_ms: 10 * 1000 };

/// Where a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeState {
    /// When it stops to hold.
    pub expires_at: Timestamp,
    /// Attempts that are left.
    pub attempts_left: u8,
    /// It was used, given up or replaced by a newer one.
    pub is_over: bool,
}

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Right.
    Approved,
    /// Wrong, with so many attempts left.
    Wrong {
        /// How many.
        attempts_left: u8,
    },
    /// Not looked at: its time is over.
    Expired,
    /// Not looked at: it was used, or has had its attempts.
    Over,
}

/// Judges an attempt.
#[must_use]
pub fn attempt(state: CodeState, is_right: bool, now: Timestamp) -> Attempt {
    if state.is_over || state.attempts_left == 0 {
        return Attempt::Over;
    }
    if now >= state.expires_at {
        return Attempt::Expired;
    }
    if is_right { Attempt::Approved } else { Attempt::Wrong { attempts_left: state.attempts_left - 1 } }
}

/// An address as it may be shown to whoever waits for the code: enough to know it by.
#[must_use]
pub fn masked(address: &str) -> String {
    let hide = |text: &str, from: usize, to: usize| -> String {
        let length = text.chars().count();
        text.chars().enumerate().map(|(place, char)| if place < from || place + to >= length { char } else { '•' }).collect()
    };
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", hide(local, 1, 0)),
        None => hide(address, 3, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_three_attempts_and_ten_minutes() {
        let at = Timestamp::from_millis;
        let state = |attempts_left, is_over| CodeState { expires_at: at(HOLDS_MS), attempts_left, is_over };
        let table = [
            (state(3, false), true, 0, Attempt::Approved),
            (state(3, false), false, 0, Attempt::Wrong { attempts_left: 2 }),
            (state(1, false), false, 0, Attempt::Wrong { attempts_left: 0 }),
            (state(0, false), true, 0, Attempt::Over),
            (state(3, true), true, 0, Attempt::Over),
            (state(3, false), true, HOLDS_MS, Attempt::Expired),
            (state(3, false), true, HOLDS_MS - 1, Attempt::Approved),
        ];
        for (state, is_right, now, wanted) in table {
            assert_eq!(attempt(state, is_right, at(now)), wanted, "{state:?} {is_right} at {now}");
        }
    }

    #[test]
    fn an_address_is_shown_so_that_only_its_owner_knows_it() {
        assert_eq!(masked("ada@example.com"), "a••@example.com");
        assert_eq!(masked("+447700900101"), "+44••••••••01");
        assert_eq!(masked("é@x"), "é@x");
    }
}
