//! Three real nodes under load, and everything that can go wrong with them on one machine: `scripts/chaos`.
//!
//! Faults are drawn from a seed; what they meet is not, since processes, disks and brokers are real. At the
//! end all faults are healed, and then every key and every signature is looked at.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tsm_sdk::{
    Client, CurveId, ErrorCode, Failure, GeneratedKey, PublicKey, SessionConfig, SignResult, ecdsa,
};
use tsm_test_servers::{RabbitMq, Redis};

use crate::brokers::{self, all_dynamic, blocking};
use crate::harness::{FaultyWay, Mount, Network, Way, sha256};

/// Sessions of the load; short, so that many end.
const CONNECT: Duration = Duration::from_secs(5);
const SESSION: Duration = Duration::from_secs(10);

/// By then every caller has an answer: the session's time, and what its SDK allows for the reply.
const ANSWERED: Duration = SESSION.saturating_add(Duration::from_secs(20));

/// How long the network may take to be itself again when all faults have ended, on a busy machine.
const HEALED: Duration = Duration::from_secs(120);

const CALLERS: u64 = 4;

/// What nodes find that are honest and meet hostile ones, or differ in what their callers want. Here all are
/// honest, and callers agree.
const NEVER: [ErrorCode; 8] = [
    ErrorCode::PlayerCheated,
    ErrorCode::Equivocation,
    ErrorCode::MessageMalformed,
    ErrorCode::PairCompromised,
    ErrorCode::ResultInconsistent,
    ErrorCode::SessionDisagreement,
    ErrorCode::LinkWrongKey,
    ErrorCode::StoreCorrupt,
];

#[tokio::test]
async fn half_a_minute_of_faults_loses_no_key_and_leaves_no_caller_without_an_answer() {
    run(Links::Tcp, 1, Duration::from_secs(25)).await.verdict();
}

/// `scripts/chaos`: CHAOS_SECONDS in all, CHAOS_SEED, CHAOS_LINKS (`tcp`, `amqp`, `redis`, all if empty).
#[tokio::test]
#[ignore = "takes minutes: scripts/chaos"]
async fn minutes_of_faults() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let number = |name: &str| variable(name).map(|value| value.parse::<u64>().unwrap());
    let whole = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(600));
    let seed = number("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let all = [(Links::Tcp, whole * 6 / 10), (Links::Amqp, whole * 2 / 10), (Links::Redis, whole * 2 / 10)];
    let runs = match variable("CHAOS_LINKS").as_deref() {
        None => all.to_vec(),
        Some(name) => {
            let links = all.iter().find(|(links, _)| links.name() == name);
            vec![(links.unwrap_or_else(|| panic!("CHAOS_LINKS: tcp, amqp or redis, not {name}")).0, whole)]
        }
    };
    let mut reports = Vec::new();
    for (links, time) in runs {
        reports.push(run(links, seed, time).await);
    }
    println!();
    reports.iter().for_each(|report| println!("{}", report.text()));
    reports.iter().for_each(Report::verdict);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Tcp,
    Amqp,
    Redis,
}

impl Links {
    fn name(self) -> &'static str {
        match self {
            Links::Tcp => "tcp",
            Links::Amqp => "amqp",
            Links::Redis => "redis",
        }
    }
}

/// The broker of a network that has one.
enum Server {
    None,
    RabbitMq(Option<RabbitMq>),
    Redis {
        redis: Option<Redis>,
        /// Its file must stay.
        _users: NamedTempFile,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    Terminate,
    StandStill,
    FullDisk,
    Partition,
    OneWay,
    Slow,
    Cut,
    BrokerKilled,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9",
            Fault::Terminate => "SIGTERM",
            Fault::StandStill => "SIGSTOP",
            Fault::FullDisk => "full disk",
            Fault::Partition => "partition",
            Fault::OneWay => "one-way partition",
            Fault::Slow => "slow link",
            Fault::Cut => "cut connections",
            Fault::BrokerKilled => "broker killed",
        }
    }

    fn of(links: Links) -> Vec<Fault> {
        let mut faults = vec![Fault::Kill, Fault::Terminate, Fault::StandStill, Fault::FullDisk];
        faults.extend(match links {
            Links::Tcp => [Fault::Partition, Fault::OneWay, Fault::Slow, Fault::Cut].as_slice(),
            Links::Amqp | Links::Redis => &[Fault::BrokerKilled],
        });
        faults
    }
}

/// SplitMix64: small, and the same for ever.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

/// What happened.
#[derive(Default)]
struct Seen {
    /// Keys that somebody was told of.
    keys: BTreeMap<String, PublicKey>,
    keygens: u64,
    signs: u64,
    signatures: u64,
    /// Answers that were failures, by code.
    failures: BTreeMap<String, u64>,
    violations: Vec<String>,
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Seen>>);

impl Book {
    fn write(&self, entry: impl FnOnce(&mut Seen)) {
        entry(&mut self.0.lock().unwrap());
    }

    fn violation(&self, what: String) {
        println!("VIOLATION: {what}");
        self.write(|seen| seen.violations.push(what));
    }

    fn failure(&self, failure: &Failure) {
        self.write(|seen| *seen.failures.entry(failure.code.to_string()).or_default() += 1);
        if NEVER.contains(&failure.code) {
            self.violation(format!("an honest network was told {failure:?}"));
        }
    }

    fn some_key(&self, draws: &mut Draws) -> Option<(String, PublicKey)> {
        let seen = self.0.lock().unwrap();
        let place = draws.below(seen.keys.len().max(1));
        seen.keys.iter().nth(place).map(|(id, key)| (id.clone(), key.clone()))
    }
}

struct Report {
    links: Links,
    seed: u64,
    time: Duration,
    /// Of each kind, how often it was done, and how long it met something or was in force.
    faults: BTreeMap<Fault, u64>,
    met: u64,
    skipped: Option<String>,
    checked: usize,
    seen: Seen,
}

impl Report {
    fn text(&self) -> String {
        let Report { links, seed, time, faults, met, seen, checked, .. } = self;
        let faults: Vec<_> =
            faults.iter().map(|(fault, times)| format!("{} {times}", fault.name())).collect();
        let failures: Vec<_> = seen.failures.iter().map(|(code, times)| format!("{code} {times}")).collect();
        let skipped = self.skipped.as_ref().map(|why| format!("\n  not done: {why}")).unwrap_or_default();
        let verdict = match seen.violations.len() {
            0 => "held".to_owned(),
            many => format!("BROKEN, {many} times: {:#?}", seen.violations),
        };
        format!(
            "chaos over {name}, seed {seed}, {time:?}\n  faults: {faults}; {met} connections and reads met one of the \
             network{skipped}\n  load: {keygens} key generations, {signs} signings, {signatures} signatures made and \
             verified\n  failures told: {failures}\n  at the end: {checked} keys, each signed with by all its holders and \
             verified\n  verdict: {verdict}",
            name = links.name(),
            faults = faults.join(", "),
            keygens = seen.keygens,
            signs = seen.signs,
            signatures = seen.signatures,
            failures = failures.join(", "),
        )
    }

    fn verdict(&self) {
        println!("{}", self.text());
        assert!(self.seen.violations.is_empty(), "{:#?}", self.seen.violations);
        assert!(self.seen.signatures > 0 && self.checked > 0, "the load did nothing");
        assert!(self.faults.values().sum::<u64>() > 0, "no fault fired");
    }
}

/// The network, its ways and disk.
struct Scene {
    network: Network,
    server: Server,
    /// From 0 to 1, from 0 to 2, from 1 to 2; none with a broker.
    ways: Vec<FaultyWay>,
    disk: Result<(PathBuf, Mount), String>,
    session: fn(&Network, &[u16]) -> SessionConfig,
}

impl Scene {
    async fn set(links: Links) -> Self {
        let server = match links {
            Links::Tcp => Server::None,
            Links::Amqp => Server::RabbitMq(Some(blocking(RabbitMq::start).await)),
            Links::Redis => {
                let (redis, users) = blocking(crate::redis::redis).await;
                Server::Redis { redis: Some(redis), _users: users }
            }
        };
        let small_disk = |player, config: String| match player {
            1 => config.replace("tsm_node_1.sqlite", "disk/tsm_node_1.sqlite"),
            _ => config,
        };
        let network = match &server {
            Server::None => Network::prepare(&[], |places, config| small_disk(places.player, config)),
            Server::RabbitMq(server) => {
                let server = server.as_ref().unwrap();
                let url = server.url(&server.vhost());
                let dynamic = all_dynamic(&url);
                Network::prepare(&[], |places, config| small_disk(places.player, dynamic(places, config)))
            }
            Server::Redis { redis, .. } => {
                crate::redis::network_with(&[], redis.as_ref().unwrap(), crate::redis::deployed, small_disk)
            }
        };
        let mut ways = Vec::new();
        if links == Links::Tcp {
            for (from, to) in [(0, 1), (0, 2), (1, 2)] {
                let port = network.node(to).mpc_port.unwrap();
                let way = FaultyWay::to(port).await;
                let path = network.node(from).config_path();
                let config = fs::read_to_string(&path).unwrap();
                let (there, by_proxy) =
                    (format!("\"127.0.0.1:{port}?"), format!("\"127.0.0.1:{}?", way.port));
                assert!(config.contains(&there), "{from} dials {to}");
                fs::write(&path, config.replace(&there, &by_proxy)).unwrap();
                ways.push(way);
            }
        }
        let folder = network.node(1).folder.join("disk");
        let disk = Mount::new(&folder, 4096).map(|mount| (folder.clone(), mount));
        fs::create_dir_all(&folder).unwrap();
        let session: fn(&Network, &[u16]) -> SessionConfig = match links {
            Links::Tcp | Links::Redis => |network, players| network.session(players),
            Links::Amqp => |_, players| brokers::session(players),
        };
        Scene { network, server, ways, disk, session }
    }

    /// Starts what does not run, until everything answers that it is ready.
    async fn heal(&mut self, book: &Book) {
        self.ways.iter().for_each(|way| way.set(Way::Open));
        if let Ok((folder, _)) = &self.disk {
            drop(fs::remove_file(folder.join("filler")));
        }
        let deadline = Instant::now() + HEALED;
        for player in 0..3 {
            loop {
                let node = self.network.node_mut(player);
                if !node.runs() {
                    node.spawn();
                }
                let ready = timeout(Duration::from_secs(2), node.client().ready()).await;
                if ready.is_ok_and(|reply| reply.is_ok_and(|reply| reply.ready)) {
                    break;
                }
                if Instant::now() > deadline {
                    return book.violation(format!("node {player} does not become ready:\n{}", node.log()));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// One fault, from its beginning to its end. Returns whether it could be done.
    async fn befall(&mut self, fault: Fault, draws: &mut Draws) -> bool {
        let player = u16::try_from(draws.below(3)).unwrap();
        let way = draws.below(3);
        match fault {
            Fault::Kill => {
                self.network.node_mut(player).kill();
                sleep(draws.milliseconds(100, 3000)).await;
                self.network.node_mut(player).spawn();
            }
            Fault::Terminate => {
                let node = self.network.node_mut(player);
                if !node.runs() {
                    return false;
                }
                node.terminate();
                let deadline = Instant::now() + Duration::from_secs(40);
                while self.network.node_mut(player).runs() && Instant::now() < deadline {
                    sleep(Duration::from_millis(50)).await;
                }
                self.network.node_mut(player).kill();
                self.network.node_mut(player).spawn();
            }
            Fault::StandStill => {
                if !self.network.node_mut(player).runs() {
                    return false;
                }
                self.network.node(player).pause();
                sleep(draws.milliseconds(200, 6000)).await;
                self.network.node(player).resume();
            }
            Fault::FullDisk => {
                let Ok((folder, _)) = &self.disk else { return false };
                fill(folder);
                sleep(draws.milliseconds(1000, 5000)).await;
                drop(fs::remove_file(folder.join("filler")));
            }
            Fault::Partition => self.change(way, Way::Silent, draws.milliseconds(500, 8000)).await,
            Fault::OneWay => self.change(way, Way::DiallerMute, draws.milliseconds(500, 8000)).await,
            Fault::Slow => {
                let late = draws.milliseconds(50, 500);
                self.change(way, Way::Slow(late), draws.milliseconds(1000, 5000)).await;
            }
            Fault::Cut => self.change(way, Way::Broken, draws.milliseconds(10, 2000)).await,
            Fault::BrokerKilled => {
                let away = draws.milliseconds(200, 4000);
                match &mut self.server {
                    Server::None => return false,
                    Server::RabbitMq(server) => {
                        let taken = server.take().unwrap();
                        let back = blocking(move || {
                            taken.kill();
                            std::thread::sleep(away);
                            taken.start_again();
                            taken
                        });
                        *server = Some(back.await);
                    }
                    Server::Redis { redis, .. } => {
                        let mut taken = redis.take().unwrap();
                        let back = blocking(move || {
                            taken.kill();
                            std::thread::sleep(away);
                            taken.restart();
                            taken
                        });
                        *redis = Some(back.await);
                    }
                }
            }
        }
        // A node that found its disk full, or was killed while it started, has ended by itself.
        for player in 0..3 {
            let node = self.network.node_mut(player);
            if !node.runs() {
                node.spawn();
            }
        }
        true
    }

    async fn change(&self, way: usize, to: Way, time: Duration) {
        self.ways[way].set(to);
        sleep(time).await;
        self.ways[way].set(Way::Open);
    }
}

async fn run(links: Links, seed: u64, time: Duration) -> Report {
    let mut scene = Scene::set(links).await;
    let book = Book::default();
    scene.heal(&book).await;
    let clients: Vec<Client> = (0..3).map(|player| scene.network.node(player).client()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (clients, book, over, session) =
            (clients.clone(), book.clone(), over.clone(), session_of(&scene));
        callers.spawn(async move {
            let mut draws = Draws(seed ^ (number << 32));
            while !over.load(Ordering::SeqCst) {
                call(&clients, &book, &session, &mut draws).await;
            }
        });
    }

    let begun = Instant::now();
    let mut draws = Draws(seed);
    let (faults, mut counts) = (Fault::of(links), BTreeMap::new());
    // Each once, in an order of the seed, then whichever.
    let mut due = faults.clone();
    while begun.elapsed() < time {
        sleep(draws.milliseconds(200, 2500)).await;
        let fault = if due.is_empty() { draws.of(&faults) } else { due.swap_remove(draws.below(due.len())) };
        println!("{:>6.1} s  {}", begun.elapsed().as_secs_f64(), fault.name());
        if scene.befall(fault, &mut draws).await {
            *counts.entry(fault).or_default() += 1;
        }
    }
    over.store(true, Ordering::SeqCst);
    let ended = timeout(ANSWERED * 2, callers.join_all()).await;
    if ended.is_err() {
        book.violation("a caller did not come back".to_owned());
    }
    scene.heal(&book).await;
    let checked = check(&scene, &clients, &book).await;
    let met = scene.ways.iter().map(FaultyWay::met).sum();
    let skipped =
        scene.disk.as_ref().err().map(|why| format!("full disk, a small disk cannot be mounted: {why}"));
    for player in 0..3 {
        let panics = scene.network.node(player).log_lines("panicked");
        if !panics.is_empty() {
            book.violation(format!("node {player}: {panics:?}"));
        }
    }
    let seen = std::mem::take(&mut *book.0.lock().unwrap());
    Report { links, seed, time: begun.elapsed(), faults: counts, met, skipped, checked, seen }
}

/// Makes sessions of the load.
fn session_of(scene: &Scene) -> impl Fn(&[u16]) -> SessionConfig + Send + Sync + use<> {
    let amqp = matches!(scene.server, Server::RabbitMq(_));
    let sessions = scene.network.sessions();
    move |players| {
        let session = if amqp { brokers::session(players) } else { sessions(players) };
        session.with_connect_timeout(CONNECT).with_session_timeout(SESSION)
    }
}

/// One call of all players' callers.
async fn call(
    clients: &[Client],
    book: &Book,
    session: &impl Fn(&[u16]) -> SessionConfig,
    draws: &mut Draws,
) {
    let known = book.some_key(draws);
    match known.filter(|_| draws.below(4) > 0) {
        None => {
            let session = session(&[0, 1, 2]);
            book.write(|seen| seen.keygens += 1);
            let answers = ask(&[0, 1, 2], book, |player| {
                let (client, session) = (clients[usize::from(player)].clone(), session.clone());
                async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await }
            });
            let made: Vec<GeneratedKey> = answers.await.into_iter().flatten().collect();
            if made.iter().any(|key| *key != made[0]) {
                book.violation(format!("one session, several keys: {made:?}"));
            }
            if let Some(key) = made.into_iter().next() {
                book.write(|seen| drop(seen.keys.insert(key.key_id, key.public_key)));
            }
        }
        Some((key_id, key)) => {
            let signers: &[u16] = draws.of(&[&[0, 1][..], &[0, 2], &[1, 2], &[0, 1, 2]]);
            book.write(|seen| seen.signs += 1);
            if sign(clients, book, &session(signers), signers, &key_id, &key, draws.next()).await {
                book.write(|seen| seen.signatures += 1);
            }
        }
    }
    // Callers of refused calls do not run in circles.
    sleep(draws.milliseconds(10, 100)).await;
}

/// Whether a signature was made; one that was verifies.
async fn sign(
    clients: &[Client],
    book: &Book,
    session: &SessionConfig,
    signers: &[u16],
    key_id: &str,
    key: &PublicKey,
    message: u64,
) -> bool {
    let digest = sha256(&message.to_be_bytes());
    let answers = ask(signers, book, |player| {
        let client = clients[usize::from(player)].clone();
        let (session, key_id, digest) = (session.clone(), key_id.to_owned(), digest.clone());
        async move { client.ecdsa().sign(&session, &key_id, &[], &digest).await }
    });
    let parts: Vec<SignResult> = answers.await.into_iter().flatten().collect();
    if parts.len() < signers.len() {
        return false;
    }
    let parts: Vec<Vec<u8>> = parts.into_iter().map(|part| part.partial_signature).collect();
    let signature = ecdsa::finalise_for(key, &digest, &parts);
    let verified = signature.and_then(|signature| ecdsa::verify(key.der(), &digest, signature.der()));
    if let Err(failure) = verified {
        book.violation(format!(
            "all parts were made by {signers:?} with {key_id}, and no signature: {failure}"
        ));
    }
    true
}

/// Asks all players' nodes at once. `None` for a failure, which is in the book; each is answered in time.
async fn ask<T: Send + 'static, W>(players: &[u16], book: &Book, call: impl Fn(u16) -> W) -> Vec<Option<T>>
where
    W: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let calls: Vec<_> = players.iter().map(|player| tokio::spawn(timeout(ANSWERED, call(*player)))).collect();
    let mut answers = Vec::new();
    for (player, call) in players.iter().zip(calls) {
        answers.push(match call.await.unwrap() {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(failure)) => {
                book.failure(&failure);
                None
            }
            Err(_) => {
                book.violation(format!("the caller of player {player} has no answer after {ANSWERED:?}"));
                None
            }
        });
    }
    answers
}

/// Every key that anybody was told of, or that any node has, is usable by all its holders together. Returns
/// their number.
async fn check(scene: &Scene, clients: &[Client], book: &Book) -> usize {
    let mut keys: BTreeMap<String, PublicKey> = book.0.lock().unwrap().keys.clone();
    for client in clients {
        let listed = client.key_management().list_keys().await;
        for key_id in listed.unwrap_or_default() {
            let Entry::Vacant(place) = keys.entry(key_id) else { continue };
            match client.ecdsa().public_key(place.key(), &[]).await {
                Ok(key) => drop(place.insert(key)),
                Err(failure) => {
                    book.violation(format!("{} is listed, and has no public key: {failure}", place.key()));
                }
            }
        }
    }
    let deadline = Instant::now() + HEALED;
    let quiet = Book::default();
    for (number, (key_id, key)) in keys.iter().enumerate() {
        let mut why = String::new();
        loop {
            let session = (scene.session)(&scene.network, &[0, 1, 2]);
            let message = u64::try_from(number).unwrap();
            if sign(clients, &quiet, &session, &[0, 1, 2], key_id, key, message).await {
                break;
            }
            why = format!("{:?}", quiet.0.lock().unwrap().failures);
            if Instant::now() > deadline {
                book.violation(format!("key {key_id} is not usable by all its holders: {why}"));
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        drop(why);
    }
    let broken = std::mem::take(&mut quiet.0.lock().unwrap().violations);
    broken.into_iter().for_each(|what| book.violation(what));
    keys.len()
}

fn fill(disk: &Path) {
    let Ok(mut filler) = File::create(disk.join("filler")) else { return };
    while filler.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
}
