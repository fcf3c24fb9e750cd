//! Runs one workload so and so often, for callgrind to count (`benches/instructions.sh`) and for
//! `benches/times.sh`, and prints the CPU time of one run in nanoseconds: of all but the first, which
//! makes tables.
//!
//! Instructions of n runs less those of one are those of n - 1 runs without set-up.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::hint::black_box;
use std::process::ExitCode;

use tsm_benches::{clocked, floor, ours, rival};
use tsm_types::{CurveId, PlayerIndex};

/// That of the binary `tsm`, for everybody.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Presignatures of a batch.
const BATCH: u16 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, runs] = &arguments[..] else { return usage() };
    let Some(runs) = runs.parse().ok().filter(|runs| *runs > 0) else { return usage() };
    match name.as_str() {
        "ours-sign-2" => our_signature(CurveId::Secp256k1, 2, runs),
        "ours-sign-3" => our_signature(CurveId::Secp256k1, 3, runs),
        "ours-sign-2-p256" => our_signature(CurveId::P256, 2, runs),
        "ours-join" => {
            let (mut network, shares) = our_key(CurveId::Secp256k1);
            let partials = network.sign(&shares, 2);
            repeat(runs, || ours::join_and_verify(&partials));
        }
        "ours-presign-2" => our_presignatures(CurveId::Secp256k1, 2, runs),
        "ours-presign-3" => our_presignatures(CurveId::Secp256k1, 3, runs),
        "ours-presign-2-p256" => our_presignatures(CurveId::P256, 2, runs),
        "ours-online" => {
            let (mut network, shares) = our_key(CurveId::Secp256k1);
            let mut made = Vec::new();
            while made.len() < runs as usize {
                made.extend(network.presign(&shares, 2, BATCH).swap_remove(0));
            }
            repeat(runs, || ours::use_presignature(made.pop().expect("one for each run")));
        }
        "ours-key" => {
            let mut network = ours::Network::new(3);
            repeat(runs, || network.generate_key(CurveId::Secp256k1, 1));
        }
        "ours-pair" => {
            let mut network = ours::Network::new(2);
            repeat(runs, || network.set_up_pair(PlayerIndex(0), PlayerIndex(1)));
        }
        "rival-sign-2" => rival_signature::<k256::Secp256k1>(2, runs),
        "rival-sign-3" => rival_signature::<k256::Secp256k1>(3, runs),
        "rival-sign-2-p256" => rival_signature::<p256::NistP256>(2, runs),
        "rival-sign-2-join" => {
            let mut network = rival::Network::new(2, 3);
            let parties = network.deal_key::<k256::Secp256k1>();
            repeat(runs, || network.sign(&parties).join_and_verify());
        }
        "rival-key" => {
            let mut network = rival::Network::new(2, 3);
            repeat(runs, || network.generate_key::<k256::Secp256k1>());
        }
        "k256-sign" => {
            let signer = floor::K256::new();
            repeat(runs, || signer.sign());
        }
        "secp256k1-sign" => {
            let signer = floor::Libsecp256k1::new();
            repeat(runs, || signer.sign());
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn our_signature(curve: CurveId, signers: usize, runs: u32) {
    let (mut network, shares) = our_key(curve);
    repeat(runs, || network.sign(&shares, signers));
}

/// One run is a batch of [`BATCH`].
fn our_presignatures(curve: CurveId, signers: usize, runs: u32) {
    let (mut network, shares) = our_key(curve);
    repeat(runs, || network.presign(&shares, signers, BATCH));
}

fn our_key(curve: CurveId) -> (ours::Network, ours::Shares) {
    let mut network = ours::Network::new(3);
    network.set_up_pairs();
    let shares = network.generate_key(curve, 1);
    (network, shares)
}

fn rival_signature<C: rival::Curve>(signers: u8, runs: u32) {
    let mut network = rival::Network::new(signers, 3);
    let parties = network.deal_key::<C>();
    repeat(runs, || {
        network.sign(&parties);
    });
}

/// The clock is read twice for all runs, so that its reading does not count.
fn repeat<T>(runs: u32, mut work: impl FnMut() -> T) {
    black_box(work());
    let more = runs - 1;
    let all = clocked(|| (0..more).for_each(|_| drop(black_box(work()))));
    if let Some(mean) = all.checked_div(more) {
        println!("{}", mean.as_nanos());
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: instructions WORKLOAD RUNS; the workloads are listed in benches/instructions.sh");
    ExitCode::FAILURE
}
