//! Every seed and small changes of it, as ordinary tests, in processes with little memory.
//!
//! `UPDATE_SEEDS=1` writes seeds that are not there yet. What libFuzzer found goes beside them, so that
//! it is tried for ever.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::path::PathBuf;
use std::process::Command;

use tsm_fuzz::{TARGETS, Target, mutate, target};

/// Address space of a process. The largest seed has a hundred kilobytes.
const MEMORY_KB: u64 = 512 * 1024;

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

/// All files of a target's folder by name.
fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        let path = folder.join(format!("seed-{number:02}"));
        if update && !path.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(path, seed).unwrap();
        }
    }
    let mut seeds: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// What a target is given, in a process of its own.
fn alone(name: &str) {
    let run = format!("ulimit -v {MEMORY_KB} && exec \"$0\" --exact in_little_memory --ignored --nocapture");
    let this = std::env::current_exe().unwrap();
    let output = Command::new("sh").arg("-c").arg(run).arg(this).env("TARGET", name).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

#[test]
#[ignore = "run by the tests below"]
fn in_little_memory() {
    let target = target(&std::env::var("TARGET").unwrap());
    let seeds = seeds(&target);
    // Whole networks take milliseconds each, decoders microseconds.
    let changes = if target.name == "engine" { 2 } else { 400 };
    for (name, seed) in &seeds {
        // Tells which it was, should the process end.
        println!("{name}");
        (target.run)(seed);
        for number in 0..changes {
            let changed = mutate::change(seed, number);
            println!("{name}, change {number}: {:x?}", &changed[..changed.len().min(60)]);
            (target.run)(&changed);
        }
    }
}

macro_rules! tests {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                alone($name);
            }
        )*

        #[test]
        fn every_target_has_a_test_and_a_program_for_the_fuzzer() {
            let tested = [$($name),*];
            assert_eq!(tested, TARGETS.map(|target| target.name));
            for name in tested {
                let path = format!("{}/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
                assert!(std::fs::read_to_string(&path).unwrap().contains(&format!("{name:?}")), "{path}");
            }
        }
    };
}

tests! {
    frames: "frame",
    stored_records: "record",
    links: "link",
    messages_of_brokers: "broker",
    keys_and_signatures: "key",
    partial_signatures: "partial",
    messages_of_protocols: "message",
    configurations: "config",
    http_requests: "http",
    a_whole_run: "engine",
}
