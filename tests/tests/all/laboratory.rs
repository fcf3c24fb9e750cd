//! The simulator: a sample of its schedules, and that it sees what it is for.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, thread};

use tsm_sim::{Fault, Invariant, LIFE, Scenario, Summary, Workload, replay, run};

/// Some two and a half minutes of processor time without optimisation; `tsm sim` runs any number.
const SAMPLE: u64 = 2_000;

fn scenario(workload: Workload) -> Scenario {
    Scenario { nodes: 3, workload, faults: workload.faults() }
}

fn sample(scenario: &Scenario, schedules: u64) -> Summary {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let summary = run(scenario, 0..schedules, threads, |_| {});
    for failure in &summary.failures {
        eprintln!("seed {}:\n{}", failure.seed, failure.timeline.text());
    }
    let failed: Vec<_> = summary.failures.iter().map(|report| (report.seed, &report.violations)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(summary.schedules, schedules);
    summary
}

#[test]
fn a_sample_of_schedules_of_signatures_holds_every_invariant() {
    let scenario = scenario(Workload::Sign);
    let summary = sample(&scenario, SAMPLE);
    assert_eq!(summary.never_fired(&scenario.faults), []);
    // Most sessions succeed, and not all: or nothing would be shown.
    assert!(summary.succeeded > summary.sessions / 2 && summary.succeeded < summary.sessions, "{summary:?}");
}

#[test]
fn keys_and_presignatures_hold_every_invariant() {
    sample(&scenario(Workload::Keygen), 2 * LIFE);
    sample(&scenario(Workload::Mixed), 2 * LIFE);
}

#[test]
fn a_network_of_five_holds_every_invariant() {
    sample(&Scenario { nodes: 5, ..scenario(Workload::Mixed) }, LIFE);
}

#[test]
fn the_same_seed_gives_the_same_timeline_byte_for_byte() {
    for workload in Workload::ALL {
        for seed in [3, LIFE + 1] {
            let (one, two) = (replay(&scenario(workload), seed), replay(&scenario(workload), seed));
            assert!(!one.timeline.events.is_empty());
            assert_eq!(one.timeline.text(), two.timeline.text(), "{} {seed}", workload.name());
            assert_eq!(one.timeline.html("x"), two.timeline.html("x"));
            assert_ne!(one.timeline, replay(&scenario(workload), seed + 1).timeline);
        }
    }
}

/// What `scripts/planted` plants, all of which takes it many builds: that it still can is seen here.
#[test]
fn every_invariant_has_a_planted_bug_that_fits_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tripped = BTreeSet::new();
    for file in fs::read_dir(root.join("crates/tsm-sim/planted")).unwrap() {
        let (name, patch) = {
            let file = file.unwrap().path();
            (file.display().to_string(), fs::read_to_string(file).unwrap())
        };
        let invariant = patch.lines().find_map(|line| line.strip_prefix("invariant: "));
        tripped.insert(invariant.unwrap().parse::<usize>().unwrap());
        assert!(patch.contains("\nsim: --"), "{name}");
        let mut source = String::new();
        for part in patch.split("\n--- a/").skip(1) {
            let (path, changes) = part.split_once('\n').unwrap();
            source = fs::read_to_string(root.join(path)).unwrap();
            for change in changes.split("\n@@ ").skip(1) {
                let lines = change.lines().skip(1);
                let before = lines.filter_map(|line| line.strip_prefix([' ', '-'])).collect::<Vec<_>>();
                assert!(source.contains(&before.join("\n")), "{name} does not fit {path}: {before:#?}");
            }
        }
        assert!(!source.is_empty(), "{name} changes nothing");
    }
    assert_eq!(tripped, Invariant::ALL.map(Invariant::number).into());
}

#[test]
fn without_faults_every_session_succeeds() {
    let quiet = Scenario { faults: BTreeSet::new(), ..scenario(Workload::Mixed) };
    let summary = sample(&quiet, LIFE);
    assert_eq!(summary.succeeded, summary.sessions);
    assert!(Fault::ALL.iter().all(|fault| summary.fired.of(*fault) == 0));
}
