//! How well persons were found, and what it cost.

use std::collections::HashMap;

use serde::Serialize;

/// Agreement of found persons with true ones. Pairs: of records that belong together; B-cubed (Bagga, Baldwin 1998): for each record
/// the share of its found and true companions that are right.
#[derive(Debug, Serialize)]
pub(crate) struct Quality {
    pub(crate) pair_precision: f64,
    pub(crate) pair_recall: f64,
    pub(crate) pair_f1: f64,
    pub(crate) b_cubed_f1: f64,
    pub(crate) found: usize,
    pub(crate) people: usize,
    pub(crate) largest: u64,
}

/// Compares found persons with true ones, record by record.
pub(crate) fn quality(truth: &[usize], found: &[usize]) -> Quality {
    let (mut cells, mut true_sizes, mut found_sizes) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (person, cluster) in truth.iter().zip(found) {
        *cells.entry((*person, *cluster)).or_insert(0_u64) += 1;
        *true_sizes.entry(*person).or_insert(0_u64) += 1;
        *found_sizes.entry(*cluster).or_insert(0_u64) += 1;
    }
    let pairs = |sizes: &mut dyn Iterator<Item = u64>| sizes.map(|size| (size * (size - 1) / 2) as f64).sum::<f64>();
    let right = pairs(&mut cells.values().copied());
    let precision = right / pairs(&mut found_sizes.values().copied()).max(1.0);
    let recall = right / pairs(&mut true_sizes.values().copied()).max(1.0);
    let (mut cubed_precision, mut cubed_recall) = (0.0, 0.0);
    for ((person, cluster), count) in &cells {
        let square = (count * count) as f64 / truth.len() as f64;
        cubed_precision += square / found_sizes[cluster] as f64;
        cubed_recall += square / true_sizes[person] as f64;
    }
    Quality {
        pair_precision: precision,
        pair_recall: recall,
        pair_f1: harmonic(precision, recall),
        b_cubed_f1: harmonic(cubed_precision, cubed_recall),
        found: found_sizes.len(),
        people: true_sizes.len(),
        largest: found_sizes.values().copied().max().unwrap_or(0),
    }
}

fn harmonic(one: f64, other: f64) -> f64 {
    if one + other > 0.0 { 2.0 * one * other / (one + other) } else { 0.0 }
}

/// CPU time of this process so far, in seconds: unlike the clock's, other processes do not lengthen it.
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).map_or(0.0, |nanos| nanos / 1e9)
}

/// Most memory that this process had, in MiB.
pub(crate) fn peak_mib() -> u64 {
    status("VmHWM:")
}

/// Memory that this process has, in MiB.
pub(crate) fn resident_mib() -> u64 {
    status("VmRSS:")
}

fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
