//! What a load test measured, for people and for scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::Operation;
use super::load::{Failures, Load};
use crate::public_key::named;

/// Times in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    operation: String,
    players: Vec<u16>,
    curve: &'static str,
    clients: u16,
    seconds: f64,
    /// Operations that ended well within the time.
    operations: usize,
    per_second: f64,
    /// Presignatures of a batch, where an operation makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u16>,
    latency_ms: Latency,
    /// Failed operations, by error code.
    failures: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Report {
    /// `None` if no operation ended well. `latencies` ascend.
    pub(super) fn new(
        load: &Load,
        clients: u16,
        duration: Duration,
        latencies: &[Duration],
        failures: &Failures,
    ) -> Option<Report> {
        let curve = load.key.as_ref().map_or(load.curve, |key| key.public_key.curve());
        Some(Report {
            operation: load.operation.to_possible_value()?.get_name().to_owned(),
            players: load.players.clone(),
            curve: curve.name(),
            clients,
            seconds: duration.as_secs_f64(),
            operations: latencies.len(),
            per_second: latencies.len() as f64 / duration.as_secs_f64(),
            batch: (load.operation == Operation::Presign).then_some(load.batch),
            latency_ms: Latency::of(latencies)?,
            failures: failures.iter().map(|(code, failed)| (code.clone(), failed.count)).collect(),
        })
    }

    pub(super) fn text(&self) -> String {
        let latency = &self.latency_ms;
        let mut text = format!(
            "operation   {} on {} by {}\n\
             clients     {} at the same time, for {:.1} s\n\
             done        {} operations, {:.1} per second\n\
             latency     p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms (min {:.2}, mean {:.2}, max {:.2})",
            self.operation,
            self.curve,
            named(&self.players),
            self.clients,
            self.seconds,
            self.operations,
            self.per_second,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.min,
            latency.mean,
            latency.max,
        );
        if let Some(batch) = self.batch {
            let each_second = self.per_second * f64::from(batch);
            text.push_str(&format!("\nbatch       {batch} presignatures: {each_second:.1} per second"));
        }
        for (code, count) in &self.failures {
            text.push_str(&format!("\nfailed      {count} times: {code}"));
        }
        text
    }
}

impl Latency {
    /// `None` of nothing.
    fn of(ascending: &[Duration]) -> Option<Latency> {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
        let sum: Duration = ascending.iter().sum();
        Some(Latency {
            min: ms(ascending.first()?),
            mean: ms(&sum) / ascending.len() as f64,
            p50: ms(percentile(ascending, 50)?),
            p90: ms(percentile(ascending, 90)?),
            p99: ms(percentile(ascending, 99)?),
            max: ms(ascending.last()?),
        })
    }
}

/// The smallest value that at least `percent` of all do not exceed (nearest rank).
fn percentile(ascending: &[Duration], percent: usize) -> Option<&Duration> {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let latency = Latency::of(&hundred).unwrap();
        assert_eq!(
            [latency.min, latency.p50, latency.p90, latency.p99, latency.max],
            [1.0, 50.0, 90.0, 99.0, 100.0]
        );
        assert_eq!(latency.mean, 50.5);
        let one = Latency::of(&[Duration::from_millis(7)]).unwrap();
        assert_eq!([one.p50, one.p99, one.mean], [7.0; 3]);
        assert!(Latency::of(&[]).is_none());
    }

    #[test]
    fn a_report_for_scripts_has_a_fixed_shape() {
        let report = Report {
            operation: "sign".to_owned(),
            players: vec![0, 2],
            curve: "secp256k1",
            clients: 8,
            seconds: 10.0,
            operations: 2,
            per_second: 0.2,
            batch: None,
            latency_ms: Latency { min: 1.0, mean: 1.5, p50: 1.0, p90: 2.0, p99: 2.0, max: 2.0 },
            failures: [("session.timeout".to_owned(), 3)].into(),
        };
        let expected = r#"{"operation":"sign","players":[0,2],"curve":"secp256k1","clients":8,"seconds":10.0,"operations":2,"per_second":0.2,"latency_ms":{"min":1.0,"mean":1.5,"p50":1.0,"p90":2.0,"p99":2.0,"max":2.0},"failures":{"session.timeout":3}}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
        assert!(report.text().ends_with("\nfailed      3 times: session.timeout"));
        let of_batches = Report { batch: Some(64), failures: BTreeMap::new(), ..report };
        assert!(of_batches.text().ends_with("\nbatch       64 presignatures: 12.8 per second"));
    }
}
