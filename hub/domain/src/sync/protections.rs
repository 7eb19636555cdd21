//! The rules that keep synchronisation from echoing, losing and doubling, each with a switch, so that a simulation can show what each is
//! for: with any of them off it fails. A hub runs with all of them on.

/// Which protective rules are in force. Only simulations switch any off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protections {
    /// What a silo reports is compared with what it reported before. Off: whatever it reports is taken for its change.
    pub shadows: bool,
    /// News that may be stale (no newer version than the one known) is read back before it is believed.
    pub read_back_hints: bool,
    /// A write whose outcome is not known is read back before anything else is written.
    pub read_back_outcomes: bool,
    /// What is being written is noted before, so that its echo is known for ours, also after a crash.
    pub intents: bool,
    /// A record that may have been made already is looked for before it is made.
    pub creates_looked_for: bool,
    /// Writes name the version they rest on, where the silo can refuse them.
    pub conditions: bool,
    /// A change that the silo dates later than we received it counts as of its receipt.
    pub clamped_clocks: bool,
    /// A field that goes back and forth is frozen, and a person asked.
    pub freezes: bool,
    /// A field whose value the silo refuses is left out until the value changes.
    pub quarantine: bool,
}

impl Default for Protections {
    fn default() -> Self {
        Self {
            shadows: true,
            read_back_hints: true,
            read_back_outcomes: true,
            intents: true,
            creates_looked_for: true,
            conditions: true,
            clamped_clocks: true,
            freezes: true,
            quarantine: true,
        }
    }
}

impl Protections {
    /// All rules but the one with this name; none if there is no such rule.
    #[must_use]
    pub fn without(rule: &str) -> Option<Self> {
        let mut rules = Self::default();
        let switch = match rule {
            "shadows" => &mut rules.shadows,
            "read_back_hints" => &mut rules.read_back_hints,
            "read_back_outcomes" => &mut rules.read_back_outcomes,
            "intents" => &mut rules.intents,
            "creates_looked_for" => &mut rules.creates_looked_for,
            "conditions" => &mut rules.conditions,
            "clamped_clocks" => &mut rules.clamped_clocks,
            "freezes" => &mut rules.freezes,
            "quarantine" => &mut rules.quarantine,
            _ => return None,
        };
        *switch = false;
        Some(rules)
    }
}
