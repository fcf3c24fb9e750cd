//! docs/dynamic-nodes.md against the code: every claim has tests, and every `dn..._` test a claim.

use std::collections::{BTreeMap, BTreeSet};

use crate::assurance::{quoted, test_functions};
use crate::sources;

/// Claims of the page are numbered from 1 to this.
const CLAIMS: u32 = 16;

/// What may stand in place of tests.
const NOT_YET: &str = "not yet: ";

/// The last cell of each claim's row.
fn claims() -> BTreeMap<u32, String> {
    let page = std::fs::read_to_string(sources::root().join("docs/dynamic-nodes.md")).unwrap();
    let mut claims = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| D-")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, claim, tests] = cells[..] else { panic!("not three cells: {line}") };
        assert!(claim.len() > 20, "{line}");
        let number = number.strip_prefix("D-").unwrap().parse().unwrap();
        assert!(claims.insert(number, tests.to_owned()).is_none(), "D-{number} stands twice");
    }
    claims
}

/// The claim that a test is named after.
fn claim_of(test: &str) -> Option<u32> {
    test.strip_prefix("dn")?.split('_').next()?.parse().ok()
}

#[test]
fn every_claim_on_dynamic_nodes_has_tests_that_exist_or_says_that_it_does_not_hold_yet() {
    let claims = claims();
    assert!(claims.keys().copied().eq(1..=CLAIMS), "{:?}", claims.keys());
    let functions = test_functions(&sources::rust());
    for (number, cell) in &claims {
        let tests = quoted(cell);
        if let Some(why) = cell.strip_prefix(NOT_YET) {
            assert!(why.len() > 10 && tests.is_empty(), "D-{number}: {cell}");
            continue;
        }
        assert!(!tests.is_empty(), "D-{number} has no test");
        for test in tests {
            assert_eq!(claim_of(test), Some(*number), "{test} in the row of D-{number}");
            assert!(functions.contains(test), "D-{number}: there is no test {test}");
        }
    }
}

#[test]
fn every_test_named_after_a_claim_on_dynamic_nodes_stands_in_its_row() {
    let claims = claims();
    let named = |number: u32| -> BTreeSet<&str> {
        claims.get(&number).map(|cell| quoted(cell).into_iter().collect()).unwrap_or_default()
    };
    let tests = test_functions(&sources::rust());
    let missing: Vec<&String> = tests
        .iter()
        .filter(|test| claim_of(test).is_some_and(|number| !named(number).contains(test.as_str())))
        .collect();
    assert!(missing.is_empty(), "not in docs/dynamic-nodes.md: {missing:#?}");
}
