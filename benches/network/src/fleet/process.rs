//! The server's process, as the driving program sees it.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::SERVE;
use super::words::{Answer, Asked, Held, Reply, Told, What};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A running server. It ends when this is dropped.
pub struct Server {
    /// Where phones reach it.
    pub address: String,
    lines: mpsc::UnboundedSender<String>,
    waiting: Waiting,
    numbers: AtomicU64,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts this program once more, as the server.
    ///
    /// # Errors
    ///
    /// If it cannot be started or says nothing.
    pub async fn start() -> std::io::Result<Server> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let mut out = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
        let address =
            out.next_line().await?.ok_or_else(|| std::io::Error::other("the server did not start"))?;
        let (lines, mut to_write) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            while let Some(line) = to_write.recv().await {
                if stdin.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let waiting = Waiting::default();
        let answered = waiting.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = out.next_line().await {
                let Ok(reply) = serde_json::from_str::<Reply>(&line) else { continue };
                let waits = answered.lock().expect("no holder panics").remove(&reply.number);
                waits.into_iter().for_each(|waits| drop(waits.send(reply.answer.clone())));
            }
            // Nobody waits for a server that is gone.
            answered.lock().expect("no holder panics").clear();
        });
        Ok(Server { address, lines, waiting, numbers: AtomicU64::new(0), _child: child, _folder: folder })
    }

    /// Asks the server's side for a key.
    pub async fn generate_key(&self, session: &str, phone: &str) -> Answer {
        self.ask(What::GenerateKey { session: session.to_owned(), phone: phone.to_owned() }).await
    }

    /// Asks the server's side for its part of a signature. It waits for the phone for `patience`; its
    /// caller may leave early.
    pub async fn sign(
        &self,
        session: &str,
        phone: &str,
        key_id: &str,
        patience: Duration,
        leaves_after: Option<Duration>,
    ) -> Answer {
        let (session, phone, key_id) = (session.to_owned(), phone.to_owned(), key_id.to_owned());
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let leaves_after = leaves_after.map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        self.ask(What::Sign { session, phone, key_id, patience, leaves_after }).await
    }

    /// What the server's process holds now.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub async fn held(&self) -> Held {
        match self.ask(What::Held).await.told {
            Told::Held(held) => held,
            other @ (Told::Key(_) | Told::Part(_) | Told::Failed(..) | Told::Left) => {
                panic!("the server says {other:?}")
            }
        }
    }

    async fn ask(&self, what: What) -> Answer {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().expect("no holder panics").insert(number, sender);
        let line = serde_json::to_string(&Asked { number, what }).expect("a request can be written");
        let _ = self.lines.send(line + "\n");
        answer.await.expect("the server answers every line while it runs")
    }
}
