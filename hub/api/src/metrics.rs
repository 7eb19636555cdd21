//! Counts of the HTTP side, and the Prometheus text of everything the hub counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use throughline_engine::{Metric, MetricKind};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Default)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

/// By operation and status; both from small fixed sets, so the series cannot grow without bound.
#[derive(Default)]
pub(crate) struct HttpMetrics {
    /// Held for a few additions only, never across an await.
    series: Mutex<BTreeMap<(&'static str, u16), Series>>,
}

impl HttpMetrics {
    pub(crate) fn observe(&self, operation: &'static str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut all = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let series = all.entry((operation, status)).or_default();
        series.count += 1;
        series.seconds += seconds;
        for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    fn write(&self, text: &mut String) {
        let name = "throughline_http_request_duration_seconds";
        let _ = writeln!(text, "# HELP {name} Time to the first byte of the answer\n# TYPE {name} histogram");
        let all = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for ((operation, status), series) in all.iter() {
            let labels = format!("operation=\"{operation}\",status=\"{status}\"");
            for (count, bound) in series.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {}", series.seconds, series.count);
        }
    }
}

/// Everything, in the Prometheus text format.
pub(crate) fn prometheus(mut hub: Vec<Metric>, http: &HttpMetrics) -> String {
    let mut text = String::new();
    // The format wants all samples of a name in one group.
    hub.sort_by(|left, right| left.name.cmp(right.name));
    let mut last = "";
    for metric in &hub {
        if metric.name != last {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, escape(metric.help), metric.name);
            last = metric.name;
        }
        let labels: Vec<String> = metric.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{}{labels} {}", metric.name, metric.value);
    }
    http.write(&mut text);
    text
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_one_group_for_each_name_and_escaped_labels() {
        let metric = |name, value, label: &str| Metric {
            name,
            help: "what it is",
            kind: MetricKind::Counter,
            labels: vec![("connection", label.to_owned())],
            value,
        };
        let http = HttpMetrics::default();
        http.observe("profiles.get", 200, Duration::from_millis(3));
        let text = prometheus(vec![metric("b_total", 1.0, "x"), metric("a_total", 2.0, "q\"\n\\"), metric("b_total", 3.0, "y")], &http);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            &lines[..7],
            [
                "# HELP a_total what it is",
                "# TYPE a_total counter",
                "a_total{connection=\"q\\\"\\n\\\\\"} 2",
                "# HELP b_total what it is",
                "# TYPE b_total counter",
                "b_total{connection=\"x\"} 1",
                "b_total{connection=\"y\"} 3",
            ]
        );
        assert!(
            text.contains("throughline_http_request_duration_seconds_bucket{operation=\"profiles.get\",status=\"200\",le=\"0.002\"} 0")
        );
        assert!(
            text.contains("throughline_http_request_duration_seconds_bucket{operation=\"profiles.get\",status=\"200\",le=\"0.005\"} 1")
        );
        assert!(text.contains("throughline_http_request_duration_seconds_count{operation=\"profiles.get\",status=\"200\"} 1"));
    }
}
