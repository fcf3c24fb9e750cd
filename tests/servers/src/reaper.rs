//! Ends what was started, however the tests end: a shell waits for the end of its standard input, whose
//! other end this process holds.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Kills a process group only if its leader still has the folder in its environment: process numbers are
/// used again.
const SCRIPT: &str = r#"
    while read -r what; do list="$what
$list"; done
    echo "$list" | while read -r verb group folder; do
        case "$verb" in
            kill) grep -q "$folder" "/proc/$group/environ" 2>/dev/null && kill -9 -- "-$group" ;;
            remove) case "$folder" in */tsm-server-*) rm -rf --one-file-system "$folder" ;; esac ;;
        esac
    done
"#;

/// Kills this process group, of a server in this folder, when the tests end.
pub(crate) fn kills(group: u32, folder: &Path) {
    tell(&format!("kill {group} {}", folder.display()));
}

/// A folder, removed when the tests end.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("tsm-server-").tempdir().unwrap();
    tell(&format!("remove 0 {}", folder.path().display()));
    folder
}

fn tell(what: &str) {
    static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "reaper"]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(shell.spawn().expect("there is a shell"))
    });
    writeln!(reaper.lock().unwrap().stdin.as_mut().unwrap(), "{what}").unwrap();
}
