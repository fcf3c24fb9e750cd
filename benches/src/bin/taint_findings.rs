//! Holds what memcheck reported against the list of values that are public (`benches/taint.sh`).
//!
//! A finding is told by three things: the source line of ours that it happened in or below, the text
//! of that line, or its beginning, and the file in which the jump or address itself is. The list has them with a reason;
//! a finding that is not on it is a failure, and so is an entry that matches nothing.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;

const LIST: &str = "benches/taint/public.txt";

fn main() -> ExitCode {
    let logs: Vec<String> = std::env::args().skip(1).collect();
    match compare(&logs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all findings of these logs are on the list, and all entries were met.
fn compare(logs: &[String]) -> Result<bool, std::io::Error> {
    let list = std::fs::read_to_string(LIST)?;
    let entries: Vec<[&str; 4]> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>().try_into().ok())
        .collect();
    let mut met = vec![false; entries.len()];
    let mut unknown: BTreeMap<String, String> = BTreeMap::new();
    for log in logs {
        for finding in findings(&std::fs::read_to_string(log)?) {
            let text = finding.ours.as_ref().and_then(|(file, line)| source_line(file, *line));
            let file = finding.ours.as_ref().map_or("", |(file, _)| file.as_str());
            let entry = entries.iter().position(|[place, code, innermost, _]| {
                *place == file
                    && text.as_ref().is_some_and(|text| text.starts_with(code))
                    && (*innermost == "*" || finding.innermost == *innermost)
            });
            match entry {
                Some(entry) => met[entry] = true,
                None => {
                    let what = format!("{file} | {} | {}", text.unwrap_or_default(), finding.innermost);
                    unknown.entry(what).or_insert(finding.report);
                }
            }
        }
    }
    for (what, report) in &unknown {
        println!("depends on a secret: {what}\n{report}\n");
    }
    let unmet = entries.iter().zip(&met).filter(|(_, met)| !**met).map(|(entry, _)| entry.join(" | "));
    let unmet: Vec<String> = unmet.collect();
    for entry in &unmet {
        println!("{LIST} has an entry that nothing needs: {entry}");
    }
    println!("{} values are listed as public; {} findings are not on the list", entries.len(), unknown.len());
    Ok(unknown.is_empty() && unmet.is_empty())
}

struct Finding {
    /// File and line of the innermost frame that is our code.
    ours: Option<(String, usize)>,
    /// File of the innermost frame.
    innermost: String,
    report: String,
}

/// The reports of one log.
fn findings(log: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut lines = log.lines().map(|line| line.split_once("== ").map_or("", |(_, text)| text)).peekable();
    while let Some(head) = lines.next() {
        if !head.starts_with("Conditional jump or move depends") && !head.starts_with("Use of uninitialised")
        {
            continue;
        }
        let mut report = vec![head];
        while let Some(frame) = lines.next_if(|line| line.trim_start().starts_with(['a', 'b'])) {
            report.push(frame);
        }
        let places: Vec<(String, usize)> = report.iter().skip(1).filter_map(|frame| place(frame)).collect();
        found.push(Finding {
            ours: places.iter().find(|(file, _)| file.starts_with("tsm-")).cloned(),
            innermost: places.first().map_or(String::new(), |(file, _)| file.clone()),
            report: report.join("\n"),
        });
    }
    found
}

/// "... (path:line)", with the path behind "crates/" or, where that is not in it, its last two parts.
fn place(frame: &str) -> Option<(String, usize)> {
    let (path, line) = frame.rsplit_once('(')?.1.strip_suffix(')')?.rsplit_once(':')?;
    let short = match path.split_once("crates/tsm-") {
        Some((_, rest)) => format!("tsm-{rest}"),
        None => {
            path.rsplitn(3, '/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/")
        }
    };
    Some((short, line.parse().ok()?))
}

fn source_line(file: &str, line: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("crates/{file}")).ok()?;
    Some(text.lines().nth(line.checked_sub(1)?)?.trim().to_owned())
}
