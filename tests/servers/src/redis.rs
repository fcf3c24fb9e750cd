//! A private `redis-server`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, RedisResult, Value};

use crate::{free_port, reaper};

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis on a loopback port that keeps nothing on disk. Ends when dropped, or when the test's process does.
pub struct Redis {
    port: u16,
    options: Vec<String>,
    /// `None` while it is killed.
    process: Option<Child>,
}

impl Redis {
    /// An empty server that lets everybody do everything.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options, as on the command line of `redis-server`.
    pub fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        // Somebody else may take the port first.
        for _ in 0..10 {
            let mut redis = Redis { port: free_port(), options: options.clone(), process: None };
            if redis.launch() {
                return redis;
            }
        }
        panic!(
            "no redis-server started: install Redis 7 (Debian's package redis-server), so that the command \
             redis-server is in PATH"
        );
    }

    /// With a port for TLS, too, that shows this certificate; both are PEM. Returns that port.
    pub fn start_with_tls(certificate: &str, key: &str) -> (Self, u16) {
        let (folder, port) = (reaper::folder(), free_port());
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for (name, pem) in [("certificate.pem", certificate), ("key.pem", key)] {
            std::fs::write(path(name), pem).expect("a folder of our own");
        }
        let redis = Self::start_with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path("certificate.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-auth-clients",
            "no",
        ]);
        // It has read them.
        (redis, port)
    }

    /// A handle on one that somebody else started and ends.
    pub fn at(url: &str) -> Self {
        let port =
            url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL of a test's Redis");
        Redis { port, options: Vec::new(), process: None }
    }

    /// Where it listens, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, without a user.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its URL for this user.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// A connection of an administrator.
    pub fn connect(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("this test's Redis runs")
    }

    /// What it answers to an administrator's command, in words without blanks.
    pub fn command(&self, words: &str) -> Value {
        self.try_command(words).unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// The same, where a refusal is no surprise.
    pub fn try_command(&self, words: &str) -> RedisResult<Value> {
        let mut command = Cmd::new();
        command.arg(words.split_whitespace().collect::<Vec<_>>());
        command.query(&mut self.connect())
    }

    /// How many messages wait in a stream.
    pub fn length_of(&self, key: &str) -> u64 {
        redis::cmd("XLEN").arg(key).query(&mut self.connect()).expect("a stream, or nothing")
    }

    /// Appends messages to these streams, to each in turn.
    pub fn append_to_all(&self, keys: &[String], messages: impl Iterator<Item = Vec<u8>>) {
        const IN_ONE_WRITE: usize = 1000;
        let mut connection = self.connect();
        let mut messages = messages.zip(keys.iter().cycle()).peekable();
        while messages.peek().is_some() {
            let mut appends = redis::pipe();
            for (message, key) in messages.by_ref().take(IN_ONE_WRITE) {
                appends.cmd("XADD").arg(key).arg("*").arg("m").arg(message).ignore();
            }
            appends.query::<()>(&mut connection).expect("a Redis that takes all");
        }
    }

    /// Appends every message that is in a stream to every stream.
    pub fn mix_streams(&self) {
        let mut connection = self.connect();
        let keys = self.keys();
        let mut messages = Vec::new();
        for key in &keys {
            // Streams can be gone meanwhile.
            let entries: Entries =
                redis::cmd("XREVRANGE").arg(key).arg("+").arg("-").query(&mut connection).unwrap_or_default();
            messages.extend(entries.into_iter().flat_map(|(_, fields)| fields));
        }
        for (field, message) in messages.iter().take(100) {
            for key in &keys {
                let mut append = redis::cmd("XADD");
                append.arg(key).arg("NOMKSTREAM").arg("*").arg(field).arg(message);
                let _ = append.query::<()>(&mut connection);
            }
        }
    }

    /// Records all that is asked of it from now on.
    pub fn watch(&self) -> Watch {
        let mut monitor = TcpStream::connect(("127.0.0.1", self.port)).expect("this test's Redis runs");
        monitor.write_all(b"MONITOR\r\n").expect("a connection");
        let mut answer = [0; 5];
        monitor.read_exact(&mut answer).expect("an answer");
        let mut reading = monitor.try_clone().expect("a second handle");
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            // Ends when the connection does.
            let _ = reading.read_to_end(&mut seen);
            seen
        });
        Watch { monitor, reader }
    }

    /// Makes a user with these rules of `ACL SETUSER`, which may have blanks inside of parentheses.
    pub fn make_user(&self, user: &str, password: &str, rules: &str) {
        let mut command = Cmd::new();
        command.arg("ACL").arg("SETUSER").arg(user).arg("on").arg(format!(">{password}"));
        let mut depth = 0;
        let mut rule = String::new();
        for word in rules.split_whitespace() {
            depth += word.matches('(').count();
            depth -= word.matches(')').count();
            rule = if rule.is_empty() { word.to_owned() } else { format!("{rule} {word}") };
            if depth == 0 {
                command.arg(std::mem::take(&mut rule));
            }
        }
        command.query::<()>(&mut self.connect()).unwrap_or_else(|error| panic!("{rules}: {error}"));
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        redis::cmd("KEYS").arg("*").query(&mut self.connect()).expect("a list of keys")
    }

    /// Ends it at once. Everything in it is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The shell around it reads this, and kills it.
            drop(process.stdin.take());
            process.wait().expect("the shell ends");
        }
    }

    /// Starts it again after [`kill`](Self::kill), empty, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + PATIENCE;
        while !self.launch() {
            assert!(Instant::now() < deadline, "redis-server does not start again");
        }
    }

    /// Returns whether it runs.
    fn launch(&mut self) -> bool {
        // Killed when this process closes its end of the pipe, or ends in whatever way.
        let script = "\"$@\" & read _; kill -9 $!; wait";
        let port = self.port.to_string();
        let name = format!("tsm-{}-{}", std::process::id(), free_port());
        let process = Command::new("sh")
            .args(["-c", script, "sh", "redis-server", "--bind", "127.0.0.1", "--port", &port])
            .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .args(["--syslog-ident", &name])
            .args(["--dir", &std::env::temp_dir().to_string_lossy()])
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        self.process = Some(process);
        let own = || -> Option<bool> {
            let mut connection = Client::open(self.url()).ok()?.get_connection().ok()?;
            let answer: Vec<String> =
                redis::cmd("CONFIG").arg("GET").arg("syslog-ident").query(&mut connection).ok()?;
            // Another test's may have got the port.
            Some(answer.last() == Some(&name))
        };
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if own() == Some(true) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Entries of a stream, and the fields of each.
type Entries = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;

/// See [`Redis::watch`].
pub struct Watch {
    monitor: TcpStream,
    reader: JoinHandle<Vec<u8>>,
}

impl Watch {
    /// The bytes of all commands and what they carried.
    pub fn end(self) -> Vec<u8> {
        // What is under way to this connection comes first.
        std::thread::sleep(Duration::from_millis(200));
        self.monitor.shutdown(Shutdown::Both).expect("an open connection");
        unescaped(&self.reader.join().expect("a reader that does not panic"))
    }
}

/// `MONITOR` shows bytes that cannot be printed as `\\x00` and the like.
fn unescaped(shown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => (high * 16 + low, after),
                    _ => (first, rest.split_at(1).1),
                }
            }
            (b'\\', [letter, after @ ..]) => {
                let byte = match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    other => *other,
                };
                (byte, after)
            }
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// Three masters that share the slots, each on a loopback port of its own.
pub struct RedisCluster {
    nodes: Vec<Redis>,
    folder: std::path::PathBuf,
}

impl RedisCluster {
    /// An empty cluster in which all slots are served.
    pub fn start() -> Self {
        let unique = free_port();
        let folder = std::env::temp_dir().join(format!("tsm-redis-cluster-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in the system's place for temporary ones");
        let node = |number: usize| {
            let file = folder.join(format!("nodes-{number}.conf"));
            let bus = free_port().to_string();
            Redis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                &file.to_string_lossy(),
                "--cluster-port",
                &bus,
            ])
        };
        let cluster = RedisCluster { nodes: (0..3).map(node).collect(), folder };
        let places = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(places)
            .arg("--cluster-yes")
            .output()
            .expect("redis-cli, which comes with redis-server");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        cluster.wait();
        cluster
    }

    /// Every member.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        let ready = |node: &Redis| {
            let info: String =
                redis::cmd("CLUSTER").arg("INFO").query(&mut node.connect()).unwrap_or_default();
            info.contains("cluster_state:ok")
        };
        while !self.nodes.iter().all(ready) {
            assert!(Instant::now() < deadline, "the cluster is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Redis::kill);
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
