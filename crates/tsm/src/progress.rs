//! A line on the terminal while something takes its time.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// How often the line is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// Shows what is waited for, on standard error and only if it is a terminal, until dropped.
pub(crate) struct Progress(Option<Drawing>);

struct Drawing {
    task: JoinHandle<()>,
    /// Set before the line is wiped; the task looks at it while it holds standard error, so that
    /// nothing is drawn afterwards.
    ended: Arc<AtomicBool>,
}

impl Progress {
    /// Must be called within a tokio runtime.
    pub(crate) fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::watch(move || what.clone())
    }

    /// Like [`start`](Self::start), with a text that changes.
    pub(crate) fn watch(what: impl Fn() -> String + Send + 'static) -> Self {
        Progress(io::stderr().is_terminal().then(|| {
            let ended = Arc::new(AtomicBool::new(false));
            Drawing { task: tokio::spawn(draw(what, ended.clone())), ended }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Drawing { task, ended }) = &self.0 {
            task.abort();
            ended.store(true, Ordering::SeqCst);
            write("\r\x1b[K", || true);
        }
    }
}

async fn draw(what: impl Fn() -> String, ended: Arc<AtomicBool>) {
    let started = Instant::now();
    for symbol in SPINNER.iter().cycle() {
        let line = format!("\r\x1b[K{symbol} {} ... {:.1} s", what(), started.elapsed().as_secs_f64());
        write(&line, || !ended.load(Ordering::SeqCst));
        tokio::time::sleep(FRAME).await;
    }
}

/// A terminal that has gone away is nobody's loss.
fn write(text: &str, allowed: impl Fn() -> bool) {
    let mut stderr = io::stderr().lock();
    if allowed() {
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
