//! How long what holds, for which brand, channel and reason: what an admin may set, and what of it applies.
//!
//! The rule that names the most of brand, channel and reason wins, field by field; of equally particular ones the later. What no rule
//! sets is the default's, and what that leaves open is the hub's own.

use serde::{Deserialize, Serialize};
use throughline_schemas::Channel;

use super::budget::Budget;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Nothing holds longer: ten years, in hours.
const LONGEST: u32 = 10 * 366 * 24;
/// So many rules can still be read by a person.
const MOST_RULES: usize = 200;
/// So many automatic messages or re-opens a day are no bound any more.
const MOST_A_DAY: u32 = 1000;

/// What applies to one enquiry on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContinuityPolicy {
    /// C2 goes on with an open enquiry that was last spoken of within this time, in milliseconds.
    pub window_ms: i64,
    /// A resolved enquiry opens again within this time, in milliseconds.
    pub grace_ms: i64,
    /// A new enquiry follows one that ended within this time, in milliseconds.
    pub follow_ms: i64,
    /// A number that was not heard of for longer may be another person's, in milliseconds.
    pub stale_ms: i64,
    /// Whether the sender's one open enquiry is gone on with at all (C2); if not, it is only suggested.
    pub attach_by_person: bool,
    /// Automatic messages to one counterparty in one conversation.
    pub automatic: Budget,
    /// Times that one counterparty opens the same enquiry again.
    pub reopens: Budget,
}

impl Default for ContinuityPolicy {
    fn default() -> Self {
        Self {
            window_ms: 30 * DAY_MS,
            grace_ms: 7 * DAY_MS,
            follow_ms: 30 * DAY_MS,
            stale_ms: 180 * DAY_MS,
            attach_by_person: true,
            automatic: a_day(3),
            reopens: a_day(5),
        }
    }
}

const fn a_day(count: u32) -> Budget {
    Budget { burst: count, every_ms: if count == 0 { DAY_MS } else { DAY_MS / count as i64 } }
}

/// What is set; absent means what a less particular rule says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// How long an open enquiry is gone on with because it is the sender's only one, in hours since it was last spoken of. 720 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_hours: Option<u32>,
    /// How long a resolved enquiry opens again, in hours. 168 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
    /// How long after its end a new enquiry follows an old one, in hours. 720 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_hours: Option<u32>,
    /// After how many hours of silence a phone number may be another person's. 4320 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_hours: Option<u32>,
    /// Whether the sender's one open enquiry is gone on with (C2), or only suggested. True if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach_by_person: Option<bool>,
    /// Automatic messages a day to one counterparty in one conversation. 3 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_per_day: Option<u32>,
    /// How often a day one counterparty opens the same enquiry again. 5 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopens_per_day: Option<u32>,
}

/// Settings for some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Of this brand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// On this kind of channel only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Of enquiries whose reason has this in it, whatever its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What holds for them.
    pub set: PolicySettings,
}

/// Everything that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContinuityPolicies {
    /// For all that no rule is about.
    #[serde(default)]
    pub default: PolicySettings,
    /// For some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<PolicyRule>,
}

impl ContinuityPolicies {
    /// What applies to an enquiry of this brand and reason, spoken of on this channel.
    #[must_use]
    pub fn applying(&self, brand: &str, channel: Channel, reason: &str) -> ContinuityPolicy {
        let reason = reason.to_lowercase();
        let mut rules: Vec<&PolicyRule> = self.rules.iter().filter(|rule| rule.is_about(brand, channel, &reason)).collect();
        rules.sort_by_key(|rule| rule.particularity());
        let settings = std::iter::once(&self.default).chain(rules.into_iter().map(|rule| &rule.set));
        settings.fold(ContinuityPolicy::default(), |policy, set| set.over(policy))
    }

    /// What is wrong: a JSON pointer and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found = self.default.problems("/default");
        if self.rules.len() > MOST_RULES {
            found.push(("/rules".to_owned(), format!("at most {MOST_RULES} rules")));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let at = format!("/rules/{index}");
            if rule.particularity() == 0 {
                found.push((at.clone(), "name a brand, a channel or a reason; what holds for all belongs to /default".to_owned()));
            }
            for (name, text) in [("brand", &rule.brand), ("reason", &rule.reason)] {
                if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                    found.push((format!("{at}/{name}"), "is empty; leave it out for all".to_owned()));
                }
            }
            found.extend(rule.set.problems(&format!("{at}/set")));
        }
        found
    }
}

impl PolicyRule {
    fn is_about(&self, brand: &str, channel: Channel, lower_case_reason: &str) -> bool {
        self.brand.as_deref().is_none_or(|own| own == brand)
            && self.channel.is_none_or(|own| own == channel)
            && self.reason.as_ref().is_none_or(|own| lower_case_reason.contains(&own.to_lowercase()))
    }

    fn particularity(&self) -> usize {
        usize::from(self.brand.is_some()) + usize::from(self.channel.is_some()) + usize::from(self.reason.is_some())
    }
}

impl PolicySettings {
    fn over(&self, policy: ContinuityPolicy) -> ContinuityPolicy {
        let time = |hours: Option<u32>, known: i64| hours.map_or(known, |hours| i64::from(hours) * HOUR_MS);
        ContinuityPolicy {
            window_ms: time(self.window_hours, policy.window_ms),
            grace_ms: time(self.grace_hours, policy.grace_ms),
            follow_ms: time(self.follow_hours, policy.follow_ms),
            stale_ms: time(self.stale_hours, policy.stale_ms),
            attach_by_person: self.attach_by_person.unwrap_or(policy.attach_by_person),
            automatic: self.automatic_per_day.map_or(policy.automatic, a_day),
            reopens: self.reopens_per_day.map_or(policy.reopens, a_day),
        }
    }

    fn problems(&self, at: &str) -> Vec<(String, String)> {
        let times = [
            ("window_hours", self.window_hours),
            ("grace_hours", self.grace_hours),
            ("follow_hours", self.follow_hours),
            ("stale_hours", self.stale_hours),
        ];
        let counts = [("automatic_per_day", self.automatic_per_day), ("reopens_per_day", self.reopens_per_day)];
        let too_long = times.into_iter().filter(|(_, hours)| hours.is_some_and(|hours| hours > LONGEST));
        let too_many = counts.into_iter().filter(|(_, count)| count.is_some_and(|count| count > MOST_A_DAY));
        let too_long = too_long.map(|(name, _)| (format!("{at}/{name}"), format!("at most {LONGEST} hours")));
        too_long.chain(too_many.map(|(name, _)| (format!("{at}/{name}"), format!("at most {MOST_A_DAY} a day")))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(text: &str) -> ContinuityPolicies {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_most_particular_rule_wins_field_by_field() {
        let set = policies(
            r#"{"default": {"window_hours": 10, "grace_hours": 10},
                "rules": [{"brand": "shop", "channel": "phone", "set": {"window_hours": 1}}, {"brand": "shop", "set": {"window_hours": 2, "follow_hours": 3}},
                          {"reason": "Refund", "set": {"attach_by_person": false}}, {"channel": "email", "set": {"grace_hours": 5}}]}"#,
        );
        assert_eq!(set.problems(), []);
        let hours = |brand, channel, reason| {
            let policy = set.applying(brand, channel, reason);
            (policy.window_ms / HOUR_MS, policy.grace_ms / HOUR_MS, policy.follow_ms / HOUR_MS, policy.attach_by_person)
        };
        assert_eq!(hours("shop", Channel::Phone, "x"), (1, 10, 3, true));
        assert_eq!(hours("shop", Channel::Email, "x"), (2, 5, 3, true));
        assert_eq!(hours("other", Channel::Phone, "my refund"), (10, 10, 720, false));
        assert_eq!(policies("{}").applying("b", Channel::Chat, ""), ContinuityPolicy::default());
        assert_eq!(policies(r#"{"default": {"automatic_per_day": 0}}"#).applying("b", Channel::Chat, "").automatic.burst, 0);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let set =
            policies(r#"{"default": {"window_hours": 100000}, "rules": [{"set": {}}, {"brand": " ", "set": {"reopens_per_day": 5000}}]}"#);
        let pointers: Vec<String> = set.problems().into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers, ["/default/window_hours", "/rules/0", "/rules/1/brand", "/rules/1/set/reopens_per_day"]);
        assert!(serde_json::from_str::<ContinuityPolicies>(r#"{"windows": 1}"#).is_err());
    }
}
