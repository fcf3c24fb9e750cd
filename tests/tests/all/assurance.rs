//! docs/assurance.md against the code: every rule has a row, every row names tests that exist, and
//! every test that is named after a rule stands in that rule's row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::measured;
use crate::sources::{self, Source};

/// What may stand in place of tests.
const REASONS: [&str; 3] = ["does not apply: ", "review rule: ", "not yet: "];

/// Rules beyond the two ranges that the page must have.
const FURTHER_RULES: [u32; 13] = [80, 87, 88, 89, 90, 91, 92, 93, 111, 112, 113, 116, 117];

/// Every rule and check that must have a row.
fn required() -> BTreeSet<String> {
    let rules = (1..=65).chain(95..=108).chain(FURTHER_RULES).map(|number| format!("S-{number:02}"));
    let numbered = |letter: char, last: u32| (1..=last).map(move |number| format!("{letter}{number}"));
    let checks = numbered('K', 7).chain(numbered('C', 14)).chain(numbered('N', 4)).chain(numbered('D', 4));
    rules.chain(checks).collect()
}

fn path() -> PathBuf {
    sources::root().join("docs/assurance.md")
}

fn page() -> String {
    std::fs::read_to_string(path()).expect("docs/assurance.md is readable")
}

/// Rules with the last cell of their rows. A rule has one row.
fn rows(page: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [rule, _, _, tests] = cells[..] else { continue };
        if tests != "tests" && !tests.starts_with("---") {
            assert!(rows.insert(rule.to_owned(), tests.to_owned()).is_none(), "{rule} has two rows");
        }
    }
    rows
}

/// What cheats do, and the last cells of their rows.
fn strategies(page: &str) -> Vec<(&str, &str)> {
    let (_, section) = page.split_once("\n## A.11 ").expect("the page has the strategies of cheats");
    let (section, _) = section.split_once("\n## ").expect("which are not its last section");
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> =
            line.strip_prefix("| ")?.trim_end_matches('|').split('|').map(str::trim).collect();
        let [strategy, _, tests] = cells[..] else { return None };
        Some((strategy, tests))
    });
    rows.skip(2).collect()
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The tests that a row names.
fn tests_of(cell: &str) -> Vec<&str> {
    if REASONS.iter().any(|reason| cell.starts_with(reason)) { Vec::new() } else { quoted(cell) }
}

/// Names of all test functions. Suites that run for several backends are functions that a macro calls.
pub(crate) fn test_functions(all: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in all {
        let is_suite = source.path.ends_with("suite.rs") || source.path.ends_with("conformance.rs");
        let mut attributes = String::new();
        for line in source.text.lines().map(str::trim) {
            if line.starts_with("#[") {
                attributes += line;
                continue;
            }
            if let Some(name) = function(line)
                && (is_suite || (attributes.contains("test") && !attributes.contains("cfg(test)")))
            {
                names.insert(name.to_owned());
            }
            attributes.clear();
        }
    }
    names
}

fn function(line: &str) -> Option<&str> {
    let declared = line.split_once("fn ").filter(|(before, _)| {
        before.split_whitespace().all(|word| ["pub", "pub(crate)", "async"].contains(&word))
    })?;
    declared.1.split(['(', '<']).next()
}

/// The rules and checks with which a test's name begins: `c2_and_s41_...` has two.
fn rules_of(name: &str) -> Vec<String> {
    name.split('_')
        .filter(|word| *word != "and")
        .map_while(|word| {
            let (letter, number) = word.split_at_checked(1)?;
            let number: u32 = number.parse().ok()?;
            match letter {
                "s" => Some(format!("S-{number:02}")),
                "c" | "d" | "k" | "n" => Some(format!("{}{number}", letter.to_uppercase())),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn every_rule_has_a_row_with_tests_or_an_allowed_reason() {
    let page = page();
    let rows = rows(&page);
    let missing: Vec<String> = required().into_iter().filter(|rule| !rows.contains_key(rule)).collect();
    assert!(missing.is_empty(), "no row in docs/assurance.md: {missing:?}");
    for (rule, cell) in &rows {
        let has_reason =
            REASONS.iter().any(|reason| cell.strip_prefix(reason).is_some_and(|why| why.len() > 10));
        assert!(has_reason || !tests_of(cell).is_empty(), "{rule}: neither tests nor a reason: {cell:?}");
    }
}

#[test]
fn every_check_that_a_peer_can_fail_has_a_strategy_of_a_cheat() {
    let page = page();
    let strategies = strategies(&page);
    let checks = required().into_iter().filter(|rule| !rule.starts_with(['S', 'D']));
    let tried: BTreeSet<&str> = strategies
        .iter()
        .filter_map(|(strategy, _)| strategy.split_once(": "))
        .flat_map(|(checks, _)| checks.split(", "))
        .collect();
    let missing: Vec<String> = checks.filter(|check| !tried.contains(check.as_str())).collect();
    assert!(missing.is_empty(), "no strategy in A.11: {missing:?}");
    assert!(strategies.iter().all(|(_, tests)| !quoted(tests).is_empty()), "a strategy without a test");
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = page();
    let functions = test_functions(&sources::rust());
    let rows = rows(&page);
    let of_rules = rows.iter().map(|(rule, cell)| (rule.as_str(), tests_of(cell)));
    let of_cheats = strategies(&page).into_iter().map(|(strategy, cell)| (strategy, quoted(cell)));
    let mut gone = Vec::new();
    for (what, names) in of_rules.chain(of_cheats) {
        let unknown = names.into_iter().filter(|name| !functions.contains(*name));
        gone.extend(unknown.map(|name| format!("{what}: {name}")));
    }
    assert!(gone.is_empty(), "named in docs/assurance.md but nowhere a test: {gone:#?}");
}

#[test]
fn every_test_named_after_a_rule_stands_in_its_row() {
    let page = page();
    let rows = rows(&page);
    let mut missing = Vec::new();
    for name in test_functions(&sources::rust()) {
        for rule in rules_of(&name) {
            let stands = rows.get(&rule).is_some_and(|cell| tests_of(cell).contains(&name.as_str()));
            if !stands {
                missing.push(format!("{rule}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/assurance.md: {missing:#?}");
}

/// Counts that the page states.
fn figures(page: &str) -> String {
    let rows = rows(page);
    let count = |is: &dyn Fn(&str) -> bool| rows.values().filter(|cell| is(cell)).count();
    let tests: BTreeSet<&str> = rows.values().flat_map(|cell| tests_of(cell)).collect();
    let [not_applicable, reviewed, missing] = REASONS.map(|reason| count(&|cell| cell.starts_with(reason)));
    format!(
        "| rules and checks | held by tests | of these in part | by review | do not apply | not yet | different tests named |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n\
         | {} | {} | {} | {reviewed} | {not_applicable} | {missing} | {} |\n",
        rows.len(),
        count(&|cell| !tests_of(cell).is_empty()),
        count(&|cell| !tests_of(cell).is_empty() && cell.contains("not yet: ")),
        tests.len(),
    )
}

#[test]
fn the_figures_on_the_page_are_right() {
    let page = page();
    let right = with(&page, "figures", &figures(&page));
    let right = with(&right, "measured", &measured::tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(), right).expect("the page is writable");
        return;
    }
    assert!(page == right, "renew them with `scripts/figures page`");
}

/// The page with this between the two lines that name it.
fn with(page: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: written by the test -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has a place for it");
    let (_, after) = rest.split_once(&end).expect("the place ends");
    format!("{before}{begin}{text}{end}{after}")
}
