//! Bytes that one party sends to one counterparty, from the messages of real runs.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use tsm_benches::{Traffic, ours, rival};
use tsm_types::{CurveId, PlayerIndex};

fn main() {
    println!("| run | parties | system | messages | bytes |");
    println!("|---|---|---|---|---|");

    let mut network = ours::Network::new(3);
    network.set_up_pair(PlayerIndex(0), PlayerIndex(1));
    row("pair set-up", 2, "OpenTSM", network.take_traffic());
    network.set_up_pairs();
    for curve in [CurveId::Secp256k1, CurveId::P256] {
        network.take_traffic();
        let shares = network.generate_key(curve, 1);
        row(&format!("{} key", curve.name()), 3, "OpenTSM", network.take_traffic());
        for signers in [2, 3] {
            network.sign(&shares, signers);
            row(&format!("{} signature", curve.name()), signers, "OpenTSM", network.take_traffic());
        }
        network.presign(&shares, 2, 64);
        row(&format!("{} batch of 64 presignatures", curve.name()), 2, "OpenTSM", network.take_traffic());
    }

    for signers in [2, 3] {
        let mut network = rival::Network::new(signers, 3);
        let parties = network.generate_key::<k256::Secp256k1>();
        if signers == 2 {
            row("secp256k1 key and pairs", 3, "dkls23-core", network.take_traffic());
        }
        network.take_traffic();
        network.sign(&parties);
        row("secp256k1 signature", usize::from(signers), "dkls23-core", network.take_traffic());
    }
}

/// Every party sends each other one as many bytes, up to the lengths of signatures in DER.
fn row(run: &str, parties: usize, system: &str, traffic: Traffic) {
    let pairs = parties * (parties - 1);
    println!(
        "| {run} | {parties} | {system} | {} | {} |",
        traffic.messages / pairs,
        traffic.bytes.div_ceil(pairs)
    );
}
