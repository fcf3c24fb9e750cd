//! What is left of secrets in the heap of a process (`src/bin/heap`).

use std::process::Command;

/// What the process found of its own secrets.
fn found(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_heap")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    // It knew what to look for, and looked at something.
    let numbers: Vec<usize> = lines.next().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 1000 && numbers[1] > 100_000, "{text}");
    lines.map(|line| line.strip_prefix("found: ").unwrap().to_owned()).collect()
}

#[test]
fn s111_what_was_dropped_is_not_in_the_heap() {
    assert_eq!(found(&[]), Vec::<String>::new());
}

#[test]
fn s111_a_copy_that_nobody_wiped_is_found_in_the_heap() {
    assert!(found(&["plant"]).contains(&"share of the key".to_owned()));
}
