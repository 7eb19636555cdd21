//! Times and memory, as numbers.

use std::time::Duration;

use anyhow::Context as _;

/// Durations to be summed up.
#[derive(Debug, Default)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What this share of them does not exceed, in milliseconds; not a number if there is none.
    pub(crate) fn percentile_ms(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
    }
}

/// What a process keeps in memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    /// Everything.
    pub(crate) all: f64,
    /// What is its own: no pages of files.
    pub(crate) anonymous: f64,
    /// Everything, each page that is mapped several times counted once.
    pub(crate) once: f64,
}

/// Asks the kernel about a process; `self` is this one.
pub(crate) fn resident(pid: &str) -> anyhow::Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("this needs Linux")?;
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("this needs Linux")?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status
            .lines()
            .chain(rollup.lines())
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| format!("the kernel tells no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Resident { all: field("VmRSS:")?, anonymous: field("RssAnon:")?, once: field("Pss:")? })
}

/// Processor time this process has used.
pub(crate) fn processor_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("this needs Linux")?;
    // The second field may hold blanks; what counts comes after it. Ticks are hundredths of a second.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
