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
            kill) grep -q "$folder" "/proc/$group/environ" 2>/dev/null && kill -9 "-$group" ;;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn what_was_started_ends_with_the_tests() {
        let this = std::env::current_exe().unwrap();
        let leaves = ["--exact", "reaper::tests::leaves_a_server", "--ignored", "--nocapture"];
        let output = Command::new(this).args(leaves).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let process = said.lines().find_map(|line| line.strip_prefix("server ")).expect(&said);
        let process = Path::new("/proc").join(process);
        let deadline = Instant::now() + Duration::from_secs(30);
        // A process that has ended may wait for somebody to ask how; it has no program then.
        while std::fs::read_link(process.join("exe")).is_ok() {
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    #[ignore = "run by the test above"]
    #[allow(clippy::print_stdout, reason = "that is how the test above hears of it")]
    #[allow(clippy::zombie_processes, reason = "that nobody waits for it is the point")]
    fn leaves_a_server() {
        let folder = folder();
        let mut server = Command::new("sleep");
        server.arg("600").env("HOME", folder.path()).process_group(0);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        kills(server.id(), folder.path());
        println!("server {}", server.id());
        // As a shared server: nobody stops it.
        std::mem::forget(folder);
    }
}
