//! The table of `docs/performance.md` from what criterion left in its folder.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args().nth(1) else { return Err("usage: medians FOLDER/criterion".into()) };
    let mut rows: BTreeMap<String, BTreeMap<String, Times>> = BTreeMap::new();
    for file in samples(Path::new(&folder))? {
        let benchmark: Value =
            serde_json::from_slice(&std::fs::read(file.with_file_name("benchmark.json"))?)?;
        let (Some(group), Some(function)) =
            (benchmark["group_id"].as_str(), benchmark["function_id"].as_str())
        else {
            return Err(format!("{} names no benchmark", file.display()).into());
        };
        let (row, side) = function.rsplit_once('/').unwrap_or((function, "alone"));
        let times = Times::read(&file)?;
        rows.entry(format!("{group}: {row}")).or_default().insert(side.to_owned(), times);
    }

    println!("| per party | side | median | minimum | rival / ours: medians | minima |");
    println!("|---|---|---|---|---|---|");
    for (row, sides) in &rows {
        for (side, times) in sides {
            let ratio = |of: fn(&Times) -> f64| match (side.as_str(), sides.get("ours")) {
                ("rival", Some(ours)) => format!("{:.2}", of(times) / of(ours)),
                _ => String::new(),
            };
            println!(
                "| {row} | {side} | {:.1} µs | {:.1} µs | {} | {} |",
                times.median / 1e3,
                times.minimum / 1e3,
                ratio(|times| times.median),
                ratio(|times| times.minimum)
            );
        }
    }
    Ok(())
}

/// Nanoseconds of one iteration.
struct Times {
    median: f64,
    minimum: f64,
}

impl Times {
    fn read(file: &Path) -> Result<Self, Box<dyn Error>> {
        let sample: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let list = |name: &str| sample[name].as_array().cloned().unwrap_or_default();
        let mut times: Vec<f64> = list("times")
            .iter()
            .zip(&list("iters"))
            .filter_map(|(time, iterations)| Some(time.as_f64()? / iterations.as_f64()?))
            .collect();
        times.sort_by(f64::total_cmp);
        let (Some(minimum), Some(median)) = (times.first(), times.get(times.len() / 2)) else {
            return Err(format!("{} has no samples", file.display()).into());
        };
        Ok(Times { median: *median, minimum: *minimum })
    }
}

/// All `new/sample.json` below a folder: the last run of each benchmark.
fn samples(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(samples(&path)?);
        } else if path.ends_with("new/sample.json") {
            found.push(path);
        }
    }
    Ok(found)
}
