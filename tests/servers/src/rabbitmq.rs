//! A private RabbitMQ.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{free_port, reaper};

/// Where Debian's package has the program itself; the one in the path wants to be another user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Some six seconds of one processor, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(180);
/// Each costs some time at the start.
const VHOSTS: usize = 16;

/// A user of all virtual hosts.
pub struct User {
    pub name: String,
    pub password: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

impl User {
    /// With all rights.
    pub fn guest() -> Self {
        let all = || ".*".to_owned();
        User { name: "guest".into(), password: "guest".into(), configure: all(), write: all(), read: all() }
    }
}

/// A running RabbitMQ with some virtual hosts and a user `guest`, who may do everything.
pub struct RabbitMq {
    folder: tempfile::TempDir,
    port: u16,
    /// Nobody listens there without a certificate.
    tls_port: u16,
    name: String,
    epmd: Mutex<Child>,
    epmd_port: u16,
    dist_port: u16,
    server: Mutex<Option<Child>>,
    vhosts: AtomicUsize,
}

impl RabbitMq {
    /// The one that all tests of a program share, each in virtual hosts of its own. Nobody stops it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One that a test may stop.
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// With more users.
    pub fn start_with(users: Vec<User>) -> Self {
        Self::launch(users, None)
    }

    /// With a port for TLS, too, that shows this certificate; both are PEM.
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        Self::launch(Vec::new(), Some([certificate, key]))
    }

    fn launch(users: Vec<User>, tls: Option<[&str; 2]>) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: this test needs a RabbitMQ of its own. Install it with \
             `apt-get install rabbitmq-server`; it need not run."
        );
        let folder = reaper::folder();
        let epmd_port = free_port();
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]).env("HOME", folder.path());
        epmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let epmd = epmd.spawn().expect("RabbitMQ comes with Erlang, and Erlang with epmd");
        reaper::kills(epmd.id(), folder.path());
        let server = RabbitMq {
            name: format!("tsm-{}-{epmd_port}@localhost", std::process::id()),
            port: free_port(),
            tls_port: free_port(),
            dist_port: free_port(),
            epmd_port,
            epmd: Mutex::new(epmd),
            server: Mutex::new(None),
            vhosts: AtomicUsize::new(0),
            folder,
        };
        server.write_files(users, tls);
        server.start_again();
        server
    }

    fn write_files(&self, mut users: Vec<User>, tls: Option<[&str; 2]>) {
        users.push(User::guest());
        let vhosts: Vec<String> = (0..VHOSTS).map(|number| format!("t{number}")).collect();
        let permissions: Vec<Value> = users
            .iter()
            .flat_map(|user| {
                vhosts.iter().map(|vhost| {
                    json!({ "user": user.name, "vhost": vhost, "configure": user.configure,
                            "write": user.write, "read": user.read })
                })
            })
            .collect();
        let users: Vec<Value> = users.iter().map(user).collect();
        let vhosts: Vec<Value> = vhosts.iter().map(|name| json!({ "name": name })).collect();
        let definitions = json!({ "users": users, "vhosts": vhosts, "permissions": permissions });
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("definitions.json"), definitions.to_string()).unwrap();
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = false\nload_definitions = {}\n\
             # The disk of a machine for tests may be nearly full.\ndisk_free_limit.absolute = 1MB\n",
            self.port,
            path("definitions.json").display()
        );
        if let Some([certificate, key]) = tls {
            fs::write(path("certificate.pem"), certificate).unwrap();
            fs::write(path("key.pem"), key).unwrap();
            config += &format!("listeners.ssl.1 = 127.0.0.1:{}\n", self.tls_port);
            for (key, file) in
                [("cacertfile", "certificate"), ("certfile", "certificate"), ("keyfile", "key")]
            {
                config += &format!("ssl_options.{key} = {}\n", path(&format!("{file}.pem")).display());
            }
            config += "ssl_options.verify = verify_none\n";
        }
        fs::write(path("rabbitmq.conf"), config).unwrap();
        fs::write(path("plugins"), "[].").unwrap();
    }

    /// Starts it again after [`kill`](Self::kill), and waits until it is ready for clients.
    pub fn start_again(&self) {
        let mut server = self.server.lock().unwrap();
        assert!(server.is_none(), "it runs");
        let earlier_starts = self.starts();
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(PROGRAM);
        command
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("HOME", self.folder.path())
            // Where Erlang leaves its dumps.
            .current_dir(self.folder.path())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().unwrap();
        reaper::kills(child.id(), self.folder.path());
        let child = server.insert(child);
        let deadline = Instant::now() + PATIENCE;
        // Its port is open before that, and then resets who comes.
        while self.starts() == earlier_starts {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "RabbitMQ did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&self) {
        let child = self.server.lock().unwrap().take();
        if let Some(mut child) = child {
            kill_group(&mut child);
        }
    }

    /// A virtual host that no other test is given.
    pub fn vhost(&self) -> String {
        let number = self.vhosts.fetch_add(1, Ordering::Relaxed);
        assert!(number < VHOSTS, "more tests than virtual hosts");
        format!("t{number}")
    }

    /// For `guest` in this virtual host.
    pub fn url(&self, vhost: &str) -> String {
        self.url_of("guest", "guest", vhost)
    }

    /// For this user.
    pub fn url_of(&self, user: &str, password: &str, vhost: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// For `guest`, by TLS, at this name.
    pub fn tls_url(&self, host: &str, vhost: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/{vhost}", self.tls_port)
    }

    /// Resident memory of the server in bytes.
    pub fn memory(&self) -> u64 {
        let pid = fs::read_to_string(self.folder.path().join("pid")).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// How often it said that it is ready.
    fn starts(&self) -> usize {
        self.log().matches("Server startup complete").count()
    }

    fn log(&self) -> String {
        let logs = fs::read_dir(self.folder.path().join("log")).into_iter().flatten();
        logs.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()).collect()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        kill_group(&mut self.epmd.lock().unwrap());
    }
}

fn kill_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    // A group that is gone is what is wanted.
    let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
    let _ = child.wait();
}

fn user(user: &User) -> Value {
    let salt = [7, 7, 7, 7];
    let hash = Sha256::digest([&salt, user.password.as_bytes()].concat());
    let tags = if user.name == "guest" { "administrator" } else { "" };
    json!({
        "name": user.name, "tags": tags, "hashing_algorithm": "rabbit_password_hashing_sha256",
        "password_hash": BASE64.encode([salt.as_slice(), &hash].concat()),
    })
}
