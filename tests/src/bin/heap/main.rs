//! A process that makes a key, signatures and presignatures, drops everything, and looks into its own heap
//! for what should have been wiped (rule S-111). `tests/all/heap.rs` runs it.
//!
//! With the argument `plant` it also drops a copy of a share that nobody wipes, which it must find.
//!
//! Everything runs in the main thread, so that all of it is in the one heap that is looked at. Stacks are not:
//! what a function leaves there, the next one overwrites.

mod players;
mod secrets;

use std::cell::RefCell;
use std::rc::Rc;

use players::Players;
use secrets::{Recorder, Secrets};
use tsm_crypto::CurveId;

fn main() {
    let plant = std::env::args().any(|argument| argument == "plant");
    let secrets = Rc::new(RefCell::new(Secrets::new()));
    run(&secrets, plant);
    let secrets = secrets.borrow();
    let (found, bytes) = secrets.scan();
    #[allow(clippy::print_stdout, reason = "what the test reads")]
    {
        println!("{} secrets, {bytes} bytes", secrets.len());
        for what in found {
            println!("found: {what}");
        }
    }
}

/// Makes and drops everything; `secrets` knows it afterwards.
fn run(secrets: &Rc<RefCell<Secrets>>, plant: bool) {
    let mut players = Players::new(3, Recorder::new(secrets.clone()));
    secrets.borrow_mut().now("key generation");
    let shares = players.generate_key(CurveId::Secp256k1, 1);
    for share in shares.values() {
        secrets.borrow_mut().add_scalar("share of the key", share.secret.expose());
    }
    secrets.borrow_mut().now("set-up of a pair");
    players.set_up_pairs();
    secrets.borrow_mut().now("signing");
    players.sign(&shares);
    secrets.borrow_mut().now("presigning");
    let presignatures = players.presign(&shares, 3);
    secrets.borrow_mut().now("use of a presignature");
    // One is used, the others are dropped.
    for mut made in presignatures {
        made.pop().map(players::use_presignature);
    }
    if plant {
        // In the middle of something large, of which the allocator overwrites little.
        let mut copy = vec![0; 64 * 1024];
        for share in shares.values() {
            copy[32 * 1024..][..32].copy_from_slice(share.secret.expose());
        }
        drop(std::hint::black_box(copy));
    }
}
