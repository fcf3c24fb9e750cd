//! `tsm sim`: whole networks on a virtual clock, with faults drawn from seeds.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::json;
use tsm_sim::{Fault, Report, Scenario, Summary, Violation, Workload};

use super::runtime;
use crate::error::CommandError;
use crate::output::OutputArgs;
use crate::progress::Progress;

/// So few schedules need not meet every kind of fault.
const ENOUGH: u64 = 500;

/// Run networks through everything that can go wrong, and check what must hold
///
/// Real nodes, protocols and stores in one thread, on a virtual clock. Each seed is a schedule: who asks
/// for what, which faults befall the network and when. After each, callers must have had their answers in
/// time, answers must agree, signatures verify, nobody honest be accused, keys be usable, and nothing be
/// left. A schedule that fails is told by its seed, which shows it again: --seed N --schedules 1.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 48))]
    seed: u64,
    /// How many schedules; one alone is shown with its timeline
    #[arg(long, value_name = "K", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..1 << 32))]
    schedules: u64,
    /// Players in the network
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    nodes: u16,
    /// What may go wrong [default: all that the workload can meet]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = fault)]
    faults: Vec<Fault>,
    /// What callers ask for
    #[arg(long, value_enum, default_value_t = Asked::Sign)]
    workload: Asked,
    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Where timelines and sequence charts of failed schedules are written, and of a single one
    #[arg(long, value_name = "DIR", default_value = ".")]
    charts: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What callers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Signatures with one key
    Sign,
    /// Keys
    Keygen,
    /// Keys, signatures and presignatures
    Mixed,
}

impl From<Asked> for Workload {
    fn from(asked: Asked) -> Workload {
        match asked {
            Asked::Sign => Workload::Sign,
            Asked::Keygen => Workload::Keygen,
            Asked::Mixed => Workload::Mixed,
        }
    }
}

impl Sim {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let workload = Workload::from(self.workload);
        let possible = workload.faults();
        let faults: BTreeSet<Fault> = match self.faults.is_empty() {
            true => possible.clone(),
            false => self.faults.iter().copied().collect(),
        };
        if let Some(fault) = faults.iter().find(|fault| !possible.contains(fault)) {
            let what = format!("{fault} needs a workload that stores something");
            return Err(CommandError::refused(what, "Use --workload keygen or mixed."));
        }
        let scenario = Scenario { nodes: self.nodes, workload, faults };
        if self.schedules == 1 { self.one(&scenario) } else { self.many(&scenario) }
    }

    fn one(&self, scenario: &Scenario) -> Result<(), CommandError> {
        let report = tsm_sim::replay(scenario, self.seed);
        let chart = self.chart(&report)?;
        let shown = json!({
            "seed": report.seed,
            "violations": violations(&report),
            "timeline": report.timeline.text().lines().collect::<Vec<_>>(),
            "chart": chart,
        });
        self.output.print(&shown, format!("{}\n{}", report.timeline.text(), verdict(&report)))?;
        failed(std::slice::from_ref(&report))
    }

    fn many(&self, scenario: &Scenario) -> Result<(), CommandError> {
        let threads =
            self.threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
        let runtime = runtime()?;
        let within = runtime.enter();
        let (line, started) = (Arc::new(Mutex::new(String::new())), Instant::now());
        let shown = line.clone();
        let progress = Progress::watch(move || shown.lock().expect("no holder panics").clone());
        let seeds = self.seed..self.seed + self.schedules;
        let summary = tsm_sim::run(scenario, seeds, threads, |summary| {
            *line.lock().expect("no holder panics") = far(summary, self.schedules, started);
        });
        drop(progress);
        drop(within);
        for report in &summary.failures {
            self.chart(report)?;
        }
        self.output.print(&as_json(&summary, scenario), table(&summary, scenario))?;
        failed(&summary.failures)?;
        let never = summary.never_fired(&scenario.faults);
        if self.schedules >= ENOUGH && !never.is_empty() {
            let names: Vec<&str> = never.iter().map(|fault| fault.name()).collect();
            return Err(CommandError::Fault(format!("never fired: {}", names.join(", "))));
        }
        Ok(())
    }

    /// Writes a report's timeline and chart; returns where.
    fn chart(&self, report: &Report) -> Result<String, CommandError> {
        let title = format!("seed {}", report.seed);
        let path = self.charts.join(format!("sim-{}.html", report.seed));
        let text = self.charts.join(format!("sim-{}.txt", report.seed));
        let wrong = |error| CommandError::Fault(format!("cannot write {}: {error}", path.display()));
        std::fs::create_dir_all(&self.charts).map_err(wrong)?;
        std::fs::write(&path, report.timeline.html(&title)).map_err(wrong)?;
        std::fs::write(&text, format!("{}\n{}", report.timeline.text(), verdict(report))).map_err(wrong)?;
        Ok(path.display().to_string())
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    Fault::from_name(name).ok_or_else(|| format!("possible are {}", names.join(", ")))
}

fn far(summary: &Summary, schedules: u64, started: Instant) -> String {
    let (done, seconds) = (summary.schedules, started.elapsed().as_secs_f64());
    format!(
        "{done} of {schedules} schedules, {:.0} a second, {} failed",
        done as f64 / seconds.max(0.001),
        summary.failures.len()
    )
}

fn verdict(report: &Report) -> String {
    if report.violations.is_empty() {
        return "everything holds".to_owned();
    }
    report
        .violations
        .iter()
        .map(|violation| format!("does not hold: {violation}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn failed(failures: &[Report]) -> Result<(), CommandError> {
    let failures: Vec<&Report> = failures.iter().filter(|report| !report.violations.is_empty()).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let seeds: Vec<String> = failures.iter().map(|report| report.seed.to_string()).collect();
    let what = format!("something does not hold in the schedules of these seeds: {}", seeds.join(", "));
    Err(CommandError::Fault(what))
}

fn table(summary: &Summary, scenario: &Scenario) -> String {
    let mut text = format!(
        "{} schedules of {} nodes ({}) in {:.1} s: {} sessions, of which {} succeeded\n         slowest recovery after faults: {:.3} s\n\nfaults that fired:\n",
        summary.schedules,
        scenario.nodes,
        scenario.workload.name(),
        summary.took.as_secs_f64(),
        summary.sessions,
        summary.succeeded,
        summary.slowest_recovery.as_secs_f64(),
    );
    for fault in &scenario.faults {
        let _ = writeln!(text, "  {:<14} {:>10}", fault.name(), summary.fired.of(*fault));
    }
    let _ = write!(text, "\nschedules in which something did not hold: {}", summary.failures.len());
    for report in &summary.failures {
        for violation in &report.violations {
            let _ = write!(text, "\n  seed {}: {violation}", report.seed);
        }
    }
    text
}

fn violations(report: &Report) -> Vec<serde_json::Value> {
    let shown =
        |violation: &Violation| json!({ "invariant": violation.invariant.number(), "what": violation.what });
    report.violations.iter().map(shown).collect()
}

fn as_json(summary: &Summary, scenario: &Scenario) -> serde_json::Value {
    let fired =
        scenario.faults.iter().map(|fault| (fault.name().to_owned(), summary.fired.of(*fault).into()));
    let failures = summary.failures.iter();
    let failures: Vec<_> =
        failures.map(|report| json!({ "seed": report.seed, "violations": violations(report) })).collect();
    json!({
        "nodes": scenario.nodes,
        "workload": scenario.workload.name(),
        "schedules": summary.schedules,
        "sessions": summary.sessions,
        "succeeded": summary.succeeded,
        "fired": serde_json::Map::from_iter(fired),
        "slowest_recovery_s": summary.slowest_recovery.as_secs_f64(),
        "seconds": summary.took.as_secs_f64(),
        "failures": failures,
    })
}
