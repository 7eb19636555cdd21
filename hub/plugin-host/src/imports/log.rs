//! `log`: a guest's messages, redacted, with connection and plugin, at most so many bytes in a second.

use std::time::{Duration, Instant};

use crate::guest::Guest;
use crate::wit::v0_1_0::imports::log::{Host, Level};

/// How much a guest may log in the running second.
pub(crate) struct LogBudget {
    per_second: u32,
    used: u32,
    dropped: u32,
    second_began: Instant,
}

enum Verdict {
    Write,
    /// Drop it, and say so once.
    FirstDropped,
    Drop,
}

impl LogBudget {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, used: 0, dropped: 0, second_began: Instant::now() }
    }

    fn spend(&mut self, bytes: usize, now: Instant) -> Verdict {
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            *self = Self { second_began: now, ..Self::new(self.per_second) };
        }
        self.used = self.used.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.used <= self.per_second {
            return Verdict::Write;
        }
        self.dropped += 1;
        if self.dropped == 1 { Verdict::FirstDropped } else { Verdict::Drop }
    }
}

impl Host for Guest {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        let size = message.len() + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        match self.log.spend(size, Instant::now()) {
            Verdict::Drop => {}
            Verdict::FirstDropped => {
                let limit = self.log.per_second;
                tracing::warn!(
                    connection = self.connection.id,
                    plugin = self.connection.plugin,
                    "the plugin logs more than {limit} bytes in a second: the rest of this second is dropped"
                );
            }
            Verdict::Write => self.write_log(level, &message, &fields),
        }
    }
}

impl Guest {
    fn write_log(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        let redactor = &self.connection.redactor;
        let message = redactor.log(message);
        let fields = fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ");
        let fields = redactor.log(&fields);
        let (connection, plugin) = (self.connection.id.as_str(), self.connection.plugin.as_str());
        match level {
            Level::Trace => tracing::trace!(target: "plugin", connection, plugin, %fields, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", connection, plugin, %fields, "{message}"),
            Level::Info => tracing::info!(target: "plugin", connection, plugin, %fields, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", connection, plugin, %fields, "{message}"),
            Level::Error => tracing::error!(target: "plugin", connection, plugin, %fields, "{message}"),
        }
        if matches!(level, Level::Error) {
            self.last_error = Some(message.into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_budget_and_one_notice() {
        let mut budget = LogBudget::new(10);
        let now = Instant::now();
        assert!(matches!(budget.spend(10, now), Verdict::Write));
        assert!(matches!(budget.spend(1, now), Verdict::FirstDropped));
        assert!(matches!(budget.spend(1, now), Verdict::Drop));
        assert!(matches!(budget.spend(1, now + Duration::from_secs(1)), Verdict::Write));
    }
}
