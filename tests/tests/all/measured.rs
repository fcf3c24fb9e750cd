//! What was measured: the runs that `scripts/figures` keeps in docs/figures, as tables for
//! docs/assurance.md.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sources;

/// All tables.
pub(crate) fn tables() -> String {
    let sim = latest("sim", |run| format!("{}, {} nodes", text(run, "workload"), number(run, "nodes")));
    let mut tables = vec![schedules(&sim), faults(&sim), cases(), fuzzing(), mutants()];
    tables.retain(|table| !table.is_empty());
    tables.join("\n")
}

fn schedules(runs: &BTreeMap<String, Value>) -> String {
    let heads = "schedules of `tsm sim` | run | sessions | of which succeeded | something did not hold in | slowest recovery, s | version, day";
    table(heads, runs, |name, run| {
        let [schedules, sessions, succeeded] =
            ["schedules", "sessions", "succeeded"].map(|field| count(run, field));
        let failed = run["failures"].as_array().expect("a list of failures").len();
        let recovery = run["slowest_recovery_s"].as_f64().expect("seconds");
        format!("{name} | {schedules} | {sessions} | {succeeded} | {failed} | {recovery:.1} | {}", of(run))
    })
}

/// How often each kind fired.
fn faults(runs: &BTreeMap<String, Value>) -> String {
    let mut fired: BTreeMap<String, Value> = BTreeMap::new();
    for (name, run) in runs {
        for (fault, times) in run["fired"].as_object().expect("faults by their names") {
            fired.entry(format!("`{fault}`")).or_default()[name] = times.clone();
        }
    }
    let names: Vec<&str> = runs.keys().map(String::as_str).collect();
    let heads = format!("faults that fired | {}", names.join(" | "));
    table(&heads, &fired, |fault, times| {
        let times = names.iter().map(|name| times[name].as_u64().map_or("not asked for".to_owned(), grouped));
        format!("{fault} | {}", times.collect::<Vec<_>>().join(" | "))
    })
}

fn cases() -> String {
    let runs = latest("cases", |run| text(run, "on").to_owned());
    let heads = "fields and messages changed, on | cases, none of which ended otherwise than the specification says | version, day";
    table(heads, &runs, |on, run| format!("{on} | {} | {}", count(run, "cases"), of(run)))
}

/// Runs of one target add up: each goes on from what earlier ones found.
fn fuzzing() -> String {
    let mut sums: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for run in kept("fuzz") {
        let sum = sums.entry(text(&run, "target").to_owned()).or_default();
        sum.0 += number(&run, "seconds");
        sum.1 += number(&run, "executions");
        sum.2 += number(&run, "findings");
    }
    let runs = latest("fuzz", |run| text(run, "target").to_owned());
    let heads = "fuzzed with libFuzzer | minutes | executions | edges of code reached in the last run | findings | version, day";
    table(heads, &runs, |target, last| {
        let (seconds, executions, findings) = sums[target];
        let (minutes, executions, edges) = (seconds as f64 / 60.0, grouped(executions), count(last, "edges"));
        format!("`{target}` | {minutes:.1} | {executions} | {edges} | {findings} | {}", of(last))
    })
}

fn mutants() -> String {
    let runs = latest("mutants", |run| text(run, "file").to_owned());
    let heads = "mutants of | tried | do not build | caught by tests | never end | survive | left out, each with a reason | version, day";
    table(heads, &runs, |file, run| {
        let counts =
            ["tried", "unviable", "caught", "timeout", "missed", "left_out"].map(|field| count(run, field));
        format!("`{file}` | {} | {}", counts.join(" | "), of(run))
    })
}

/// The runs of a kind, in the order in which they were made.
fn kept(kind: &str) -> Vec<Value> {
    let path = sources::root().join(format!("docs/figures/{kind}.jsonl"));
    // What was never run has no table.
    let lines = std::fs::read_to_string(&path).unwrap_or_default();
    lines.lines().map(|line| serde_json::from_str(line).expect("a run is a line of JSON")).collect()
}

/// The last run of each name.
fn latest(kind: &str, name: impl Fn(&Value) -> String) -> BTreeMap<String, Value> {
    kept(kind).into_iter().map(|run| (name(&run), run)).collect()
}

fn table(heads: &str, runs: &BTreeMap<String, Value>, row: impl Fn(&str, &Value) -> String) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let rule = "--- | ".repeat(heads.split(" | ").count());
    let rows = runs.iter().map(|(name, run)| format!("| {} |\n", row(name, run)));
    format!("| {heads} |\n| {}\n{}", rule.trim_end(), rows.collect::<String>())
}

/// What it was measured on.
fn of(run: &Value) -> String {
    format!("{}, {}", text(run, "version"), text(run, "date"))
}

fn text<'a>(run: &'a Value, field: &str) -> &'a str {
    run[field].as_str().unwrap_or_else(|| panic!("{field} is a text in {run}"))
}

fn number(run: &Value, field: &str) -> u64 {
    run[field].as_u64().unwrap_or_else(|| panic!("{field} is a number in {run}"))
}

fn count(run: &Value, field: &str) -> String {
    grouped(number(run, field))
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}
