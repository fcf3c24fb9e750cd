//! One `tsm node` process.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tsm_sdk::{ApiKey, Client, Configuration, ReadyReply};

use super::{PATIENCE, reaper, until_within};

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TSM_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tsm").into(), PathBuf::from)
}

/// A node: its configuration, its files, and its process while it runs.
pub(crate) struct Node {
    pub(crate) player: u16,
    /// Where its configuration, database and log are.
    pub(crate) folder: PathBuf,
    pub(crate) sdk_port: u16,
    /// The port for other players; player 0 of the seed document has none.
    pub(crate) mpc_port: Option<u16>,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Node {
    /// Writes the configuration. Nothing runs yet.
    pub(super) fn new(
        player: u16,
        folder: PathBuf,
        (sdk_port, mpc_port): (u16, Option<u16>),
        config: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let node = Node { player, folder, sdk_port, mpc_port, environment, process: None };
        fs::write(node.config_path(), config).unwrap();
        node
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The database, as the seed document names it.
    pub(crate) fn database_path(&self) -> PathBuf {
        self.folder.join(format!("tsm_node_{}.sqlite", self.player))
    }

    /// All bytes of the database's files, by name.
    pub(crate) fn database_files(&self) -> Vec<(String, Vec<u8>)> {
        let database = self.database_path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut files: Vec<_> = fs::read_dir(self.database_path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with(&database))
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// Everything that the node's processes wrote.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The lines of the log with this text.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Waits until the log has this text.
    pub(crate) async fn logs_within(&self, patience: Duration, text: &str) {
        let what = format!("{text:?} in the log of node {}", self.player);
        until_within(patience, &what, || !self.log_lines(text).is_empty()).await;
    }

    /// A client with the API key of the seed document.
    pub(crate) fn client(&self) -> Client {
        self.client_with(&format!("Node{}LoginPassword", self.player))
    }

    pub(crate) fn client_with(&self, api_key: &str) -> Client {
        client_of(&format!("http://127.0.0.1:{}", self.sdk_port), api_key)
    }

    pub(crate) fn sdk_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.sdk_port).into()
    }

    /// Whether the process runs. One that has ended is forgotten.
    pub(crate) fn runs(&mut self) -> bool {
        let running = self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none());
        if !running {
            self.process = None;
        }
        running
    }

    /// Starts the process; `ready` waits for it.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "node {} runs", self.player);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.command();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        reaper::kills(process.id());
        self.process = Some(process);
    }

    /// Waits until the node takes sessions.
    pub(crate) async fn ready(&mut self) {
        self.replies(|reply| reply.ready).await;
    }

    /// Waits until the node answers, be it that it is not ready.
    pub(crate) async fn answers(&mut self) {
        self.replies(|_| true).await;
    }

    async fn replies(&mut self, as_wanted: impl Fn(ReadyReply) -> bool) {
        let client = self.client();
        let deadline = Instant::now() + PATIENCE;
        while !client.ready().await.is_ok_and(&as_wanted) {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "node {} ended, {ended:?}:\n{}", self.player, self.log());
            assert!(Instant::now() < deadline, "node {} is not ready:\n{}", self.player, self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Runs a second process with the same configuration, and waits for its end.
    pub(crate) fn run_another(&self) -> Output {
        run_to_its_end(self.command())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits for the end of a terminated node.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                self.process = None;
                return status;
            }
            assert!(Instant::now() < deadline, "node {} does not stop:\n{}", self.player, self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, and waiting.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// SIGSTOP: the process stands still, its connections stay.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status();
        assert!(status.unwrap().success());
    }

    fn command(&self) -> Command {
        let mut command = node_command();
        command.arg("--config").arg(self.config_path()).envs(self.environment.iter().cloned());
        command
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- log of node {} ---\n{}", self.player, self.log());
        }
    }
}

/// Runs a node that should not start, with this configuration file in `--config` and `CONFIG_FILE`.
pub(crate) fn run_node(config: Option<&str>, config_file: Option<&str>) -> Output {
    let mut command = node_command();
    command.args(config.into_iter().flat_map(|path| ["--config", path]));
    command.envs(config_file.map(|path| ("CONFIG_FILE", path)));
    run_to_its_end(command)
}

/// Runs the binary with these arguments to its end.
pub(crate) fn run_tsm(arguments: &[String]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("TSM_NODES").env_remove("TSM_API_KEY");
    run_to_its_end(command)
}

fn node_command() -> Command {
    let mut command = Command::new(binary());
    command.arg("node").env_remove("RUST_LOG").env_remove("CONFIG_FILE").stdin(Stdio::null());
    command
}

/// A client of the node at `url`.
pub(crate) fn client_of(url: &str, api_key: &str) -> Client {
    let configuration = Configuration::new(url).unwrap().with_api_key(ApiKey::new(api_key).unwrap());
    Client::new(configuration).unwrap()
}

/// Runs a command that should end by itself soon, and kills it if it does not.
fn run_to_its_end(mut command: Command) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    command.stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut process = command.spawn().unwrap();
    reaper::kills(process.id());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("{command:?} did not end:\n{}", read(&err));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output { status, stdout: read(&out).into(), stderr: read(&err).into() }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}
