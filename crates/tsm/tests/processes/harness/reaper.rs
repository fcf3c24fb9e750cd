//! Ends what the tests started, however the tests end.
//!
//! A shell in a process group of its own waits for the end of its standard input. The other end is
//! held by this process, so it comes with its end: by return, panic, abort or `kill -9`.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The last thing said is done first. Kills a process only if it still is the tested binary: process
/// numbers are used again.
const SCRIPT: &str = r#"
    while read -r what; do list="$what
$list"; done
    echo "$list" | while read -r verb object; do
        case "$verb" in
            kill) case "$(readlink "/proc/$object/exe")" in "$1"*) kill -9 "$object" ;; esac ;;
            umount) ! grep -q " $object " /proc/mounts || umount -l "$object" ;;
            remove) case "$object" in */tsm-tests-*) rm -rf --one-file-system "$object" ;; esac ;;
        esac
    done
"#;

/// Kills this process when the tests end, if it lives.
pub(super) fn kills(pid: u32) {
    tell(&format!("kill {pid}"));
}

/// A folder for files, removed when it is dropped or when the tests end.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("tsm-tests-").tempdir().unwrap();
    tell(&format!("remove {}", folder.path().display()));
    folder
}

fn tell(what: &str) {
    static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "reaper"]).arg(super::node::binary());
        // Whoever reads the tests' output to its end does not wait for the reaper.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(shell.spawn().expect("there is a shell"))
    });
    writeln!(reaper.lock().unwrap().stdin.as_mut().unwrap(), "{what}").unwrap();
}

/// A small disk. Gone when dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts a file system of `kibibytes` in memory at `folder`, or says why that is not possible.
    pub(crate) fn new(folder: &Path, kibibytes: u32) -> Result<Self, String> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={kibibytes}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tsm-tests"]).arg(folder);
        let output = mount.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        tell(&format!("umount {}", folder.display()));
        Ok(Mount(folder.to_owned()))
    }

    /// From now on nothing can be written there.
    pub(crate) fn read_only(&self) {
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(remounted.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What is still in use goes with its last user.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
