//! One server with very many tenants: memory, first contact, signatures of the first and the last
//! tenant, and many phones at the same moment. `tenants [TENANTS [PAIRS]]`, 1000 by default.
//!
//! The server is a process of its own; the phones are in this one, each with its own identity, node,
//! link and database. PAIRS of the tenants also sign once, which sets their pair up.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tsm_network_benches::fleet::{self, Crowd, Held, Phone, SERVE, Server, quantile};

/// Phones that are brought in at the same time: no more than the machine can serve.
const AT_ONCE: usize = 4;
/// First contacts that are measured, one by one.
const FIRST_CONTACTS: usize = 40;
/// Signatures of one tenant whose median is taken.
const SIGNATURES: usize = 200;
/// Phones that sign at the same moment, and how often that is repeated.
const CROWD: usize = 200;
const CROWDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, folder] = &arguments[..]
        && first == SERVE
    {
        fleet::serve(Path::new(folder)).expect("the server runs");
        return ExitCode::SUCCESS;
    }
    let number = |at: usize, default| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let Some(tenants @ 1..) = number(0, 1000) else { return usage() };
    let Some(pairs) = number(1, tenants) else { return usage() };
    tokio::runtime::Runtime::new().expect("a runtime starts").block_on(measure(tenants, pairs.min(tenants)));
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: tenants [TENANTS [PAIRS]]");
    ExitCode::FAILURE
}

/// A phone with its key.
struct Tenant {
    phone: Phone,
    key_id: String,
}

async fn measure(tenants: usize, pairs: usize) {
    let server = Arc::new(Server::start().await.expect("the server starts"));
    let mut found = Map::new();
    found.insert("program".to_owned(), json!("tenants"));
    found.insert("tenants".to_owned(), json!(tenants));
    let empty = server.held().await;
    memory("at rest", empty, empty, 0);

    let mut all = first_contacts(&server, FIRST_CONTACTS.min(tenants), &mut found).await;
    let alone = signatures(&server, &all[..1], "alone").await[0];
    println!("a signature with the only tenant that does anything: median {alone} us");

    let before = server.held().await;
    let begun = Instant::now();
    let linked = bring_in(&server, all.len(), tenants, pairs).await;
    let more = linked.len();
    all.extend(linked);
    let held = server.held().await;
    memory("with all links and pairs", held, before, more);
    println!("{more} tenants came in {:.0} s", begun.elapsed().as_secs_f64());
    let links_without_pairs = tenants - pairs.max(FIRST_CONTACTS.min(tenants));
    found.insert("pairs".to_owned(), json!(held.pairs));
    found.insert("links_without_pair".to_owned(), json!(links_without_pairs));
    found.insert(
        "resident_kib".to_owned(),
        json!({ "at_rest": empty.resident_kib, "with_all": held.resident_kib }),
    );

    // In turn, so that what else the machine does is shared by both.
    let last = &all[all.len() - 1..];
    signatures(&server, last, "warm-up").await;
    let first_and_last: Vec<u64> = signatures_in_turn(&server, &all[0], &last[0]).await;
    println!(
        "a signature with tenant 1: median {} us, with tenant {tenants}: {} us, ratio {:.3}",
        first_and_last[0],
        first_and_last[1],
        first_and_last[1] as f64 / first_and_last[0] as f64
    );
    found.insert(
        "signature_micros".to_owned(),
        json!({ "alone": alone, "first": first_and_last[0], "last": first_and_last[1] }),
    );

    crowds(&server, &all, &mut found).await;
    at_the_door(&server, &all[0], &mut found).await;
    leave(&server, all, held, &mut found).await;
    println!("{}", Value::Object(found));
}

fn memory(when: &str, held: Held, before: Held, tenants: usize) {
    let more = held.resident_kib.saturating_sub(before.resident_kib);
    let each = if tenants == 0 { 0.0 } else { more as f64 / tenants as f64 };
    println!(
        "{when}: {} KiB resident ({each:.1} KiB for each of {tenants} more tenants), {} files, {} pairs, {:.1} s of CPU",
        held.resident_kib,
        held.files,
        held.pairs,
        held.cpu_micros as f64 / 1e6
    );
}

/// New phones one by one: their first key and signature, and the next signature.
async fn first_contacts(server: &Server, count: usize, found: &mut Map<String, Value>) -> Vec<Arc<Tenant>> {
    let (mut keys, mut first, mut next, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut tenants = Vec::new();
    for number in 1..=count {
        let phone = Phone::start(number as u64, server).await;
        let before = server.held().await.cpu_micros;
        let (key_id, micros) = phone.make_key(server, &format!("contact-{number}")).await;
        keys.push(micros);
        let sign = async |id| {
            let signed = phone.make_signature(server, &format!("{id}-{number}"), &key_id).await;
            signed.expect("a first signature works")
        };
        first.push(micros + sign("first").await);
        cpu.push(server.held().await.cpu_micros - before);
        next.push(sign("next").await);
        tenants.push(Arc::new(Tenant { phone, key_id }));
    }
    [&mut keys, &mut first, &mut next, &mut cpu].into_iter().for_each(|times| times.sort_unstable());
    let [keys, first, next, cpu] = [keys, first, next, cpu].map(|times| quantile(&times, 1, 2));
    println!(
        "first contact: link and key {keys} us, with set-up and first signature {first} us, of which {cpu} us of the \
         server's CPU; next signature {next} us (medians of {count})"
    );
    found.insert(
        "first_contact_micros".to_owned(),
        json!({ "link_and_key": keys, "with_set_up_and_signature": first, "server_cpu": cpu, "next_signature": next }),
    );
    tenants
}

/// The other tenants, some at a time. The last one always has a pair, since its signatures are measured.
async fn bring_in(server: &Arc<Server>, from: usize, to: usize, pairs: usize) -> Vec<Arc<Tenant>> {
    let mut running = JoinSet::new();
    let mut come = Vec::new();
    for number in from + 1..=to {
        if running.len() >= AT_ONCE {
            come.extend(running.join_next().await.into_iter().flatten());
        }
        let at = server.clone();
        running.spawn(async move {
            let phone = Phone::start(number as u64, &at).await;
            let (key_id, _) = phone.make_key(&at, &format!("make-{number}")).await;
            if number <= pairs || number == to {
                let signed = phone.make_signature(&at, &format!("pair-{number}"), &key_id).await;
                signed.expect("a first signature works");
            }
            (number, Arc::new(Tenant { phone, key_id }))
        });
        if number % 1000 == 0 {
            memory(&format!("about {number} tenants"), server.held().await, Held::default(), number);
        }
    }
    come.extend(running.join_all().await);
    come.sort_by_key(|(number, _)| *number);
    come.into_iter().map(|(_, tenant)| tenant).collect()
}

/// Medians of each tenant's signatures.
async fn signatures(server: &Server, tenants: &[Arc<Tenant>], name: &str) -> Vec<u64> {
    let mut medians = Vec::new();
    for (at, tenant) in tenants.iter().enumerate() {
        let Tenant { phone, key_id } = &**tenant;
        let mut times = Vec::new();
        for run in 0..SIGNATURES {
            let signed = phone.make_signature(server, &format!("{name}-{at}-{run}"), key_id).await;
            times.push(signed.expect("an honest signature works"));
        }
        times.sort_unstable();
        medians.push(quantile(&times, 1, 2));
    }
    medians
}

async fn signatures_in_turn(server: &Server, first: &Tenant, last: &Tenant) -> Vec<u64> {
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..SIGNATURES * 3 {
        for (which, tenant) in [first, last].into_iter().enumerate() {
            let session = format!("turn-{which}-{run}");
            let signed = tenant.phone.make_signature(server, &session, &tenant.key_id).await;
            times[which].push(signed.expect("an honest signature works"));
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    times.iter().map(|times| quantile(times, 1, 2)).collect()
}

/// Many phones that sign at the same moment.
async fn crowds(server: &Arc<Server>, all: &[Arc<Tenant>], found: &mut Map<String, Value>) {
    let crowd = &all[..CROWD.min(all.len())];
    for (at, tenant) in crowd.iter().enumerate() {
        let ready = tenant.phone.make_signature(server, &format!("ready-{at}"), &tenant.key_id).await;
        ready.expect("an honest signature works");
    }
    let (mut times, mut seconds) = (Vec::new(), 0.0);
    for round in 0..CROWDS {
        let begun = Instant::now();
        let mut at_once = JoinSet::new();
        for (at, tenant) in crowd.iter().cloned().enumerate() {
            let (server, session) = (server.clone(), format!("crowd-{round}-{at}"));
            at_once
                .spawn(async move { tenant.phone.make_signature(&server, &session, &tenant.key_id).await });
        }
        let signed = at_once.join_all().await;
        seconds += begun.elapsed().as_secs_f64();
        times.extend(signed.into_iter().map(|signed| signed.expect("nobody starves")));
    }
    times.sort_unstable();
    let (p50, p99, most) = (quantile(&times, 1, 2), quantile(&times, 99, 100), quantile(&times, 1, 1));
    let per_second = times.len() as f64 / seconds;
    println!(
        "{} phones at the same moment, {CROWDS} times: {per_second:.0} signatures/s, p50 {p50} us, p99 {p99} us, \
         slowest {most} us, none failed",
        crowd.len()
    );
    found.insert(
        "crowd".to_owned(),
        json!({ "phones": crowd.len(), "per_second": per_second, "p50": p50, "p99": p99, "max": most }),
    );
}

/// Signatures of a known phone while strangers besiege the server from the same address.
async fn at_the_door(server: &Server, known: &Arc<Tenant>, found: &mut Map<String, Value>) {
    let quiet = signatures(server, std::slice::from_ref(known), "quiet").await[0];
    let crowd = Crowd::begin(server);
    sleep(Duration::from_secs(1)).await;
    let (before, begun) = (crowd.handshakes.load(Ordering::Relaxed), Instant::now());
    let besieged = signatures(server, std::slice::from_ref(known), "besieged").await[0];
    let knocks = crowd.handshakes.load(Ordering::Relaxed) - before;
    let per_second = knocks as f64 / begun.elapsed().as_secs_f64();
    println!(
        "a known phone's signature while unknown keys make {per_second:.0} handshakes a second: median {besieged} us, \
         without {quiet} us"
    );
    found.insert(
        "besieged".to_owned(),
        json!({ "handshakes_per_second": per_second, "signature": besieged, "without": quiet }),
    );
}

/// What the server holds when nobody is there any more: as soon as the links are closed, and when what it
/// keeps for a while is over.
async fn leave(server: &Server, all: Vec<Arc<Tenant>>, with_all: Held, found: &mut Map<String, Value>) {
    for tenant in &all {
        tenant.phone.vanish().await;
    }
    drop(all);
    let mut held = server.held().await;
    let until = Instant::now() + Duration::from_secs(30);
    while held.files > 100 && Instant::now() < until {
        sleep(Duration::from_millis(200)).await;
        held = server.held().await;
    }
    let say = |when: &str, held: Held| {
        println!(
            "{when}: {} KiB resident (of {}), {} files, {} pairs",
            held.resident_kib, with_all.resident_kib, held.files, held.pairs
        );
    };
    say("all phones left", held);
    // A pair that was linked when it was looked at is looked at again as much later.
    sleep(fleet::KEPT_FOR * 2 + Duration::from_secs(30)).await;
    let later = server.held().await;
    say("some minutes later", later);
    found.insert(
        "after_all_left_kib".to_owned(),
        json!({ "at_once": held.resident_kib, "minutes_later": later.resident_kib, "pairs": later.pairs }),
    );
}
