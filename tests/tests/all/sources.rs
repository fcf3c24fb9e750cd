//! The repository's own files, as tests of the sources read them.

use std::path::{Path, PathBuf};

/// One text file.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// All Rust files.
pub(crate) fn rust() -> Vec<Source> {
    all().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// All text files but what is built, and hidden ones, which belong to git and to editors.
pub(crate) fn all() -> Vec<Source> {
    let (root, mut found) = (root(), Vec::new());
    collect(&root, &root, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository is readable") {
        let path = entry.expect("an entry is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A folder, or in a further working tree a file that says where the folder is.
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            if name != "target" && (!name.starts_with('.') || name == ".ci") {
                collect(root, &path, found);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let inside = path.strip_prefix(root).expect("it lies below the root");
            found.push(Source { path: inside.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// The lines of production code in these crates: without tests, comments and documentation.
pub(crate) fn production(crates: &[&str]) -> Vec<(String, usize, String)> {
    let all = rust();
    let test_files: Vec<String> = all.iter().flat_map(test_modules).collect();
    let mut lines = Vec::new();
    for source in &all {
        let wanted = crates.iter().any(|name| source.path.starts_with(&format!("crates/{name}/src/")));
        let is_test = test_files
            .iter()
            .any(|file| source.path == format!("{file}.rs") || source.path.starts_with(&format!("{file}/")));
        if !wanted || is_test {
            continue;
        }
        let mut in_tests = false;
        let mut test_item = false;
        for (number, line) in source.text.lines().enumerate() {
            if line.trim() == "#[cfg(test)]" {
                test_item = true;
                continue;
            }
            if test_item && !line.trim_start().starts_with("#[") {
                test_item = false;
                in_tests = line.ends_with('{');
                continue;
            }
            if in_tests {
                in_tests = line != "}";
                continue;
            }
            let code = line.trim_start();
            if !code.starts_with("//") && !code.is_empty() {
                lines.push((source.path.clone(), number + 1, line.to_owned()));
            }
        }
    }
    assert!(lines.len() > 500, "only {} lines of production code were found", lines.len());
    lines
}

/// Where the modules lie that a file declares for tests only, without `.rs`.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder.to_owned(),
        Some(_) | None => stem.to_owned(),
    };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';')?;
        Some(format!("{folder}/{name}"))
    });
    declared.collect()
}
