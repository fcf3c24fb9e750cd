//! What `benches/taint.sh` runs under memcheck: a pair set-up, a signature and presignatures with secrets from
//! /dev/urandom and messages that go to /dev/null. The script says what that means.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::ExitCode;

use rand_core::{TryCryptoRng, TryRng};
use tsm_benches::ours::{self, Network};
use tsm_types::{CurveId, PlayerIndex};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what] = &arguments[..] else { return usage() };
    match what.as_str() {
        "leak-by-branch" => {
            let byte = Secrets::open().byte();
            // A jump, whatever the compiler thinks of it.
            if black_box(byte) & 1 == 1 {
                eprintln!("odd");
            }
        }
        "leak-by-index" => {
            let byte = Secrets::open().byte();
            // As long as a byte has values: no bound is checked, only the address depends on it.
            let table: [u8; 256] = black_box(std::array::from_fn(|index| index as u8));
            black_box(table[usize::from(byte)]);
        }
        name => {
            let Some(curve) = CurveId::from_name(name) else { return usage() };
            sign(curve);
        }
    }
    ExitCode::SUCCESS
}

/// Two of three players set up their pair, sign and presign. The key is made before, from known randomness,
/// so that what is public of it is known to be public; its shares become secret here.
fn sign(curve: CurveId) {
    let mut network = Network::new(3);
    let mut shares = network.generate_key(curve, 1);
    let mut secrets = Secrets::open();
    for share in shares.values_mut() {
        for byte in share.secret.expose_mut() {
            let secret = secrets.byte();
            *byte ^= black_box(secret);
            *byte ^= black_box(secret);
        }
    }
    let mut sink = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null is there");
    network.draw_from(secrets, move |body| sink.write_all(body).expect("/dev/null takes everything"));
    network.set_up_pair(PlayerIndex(0), PlayerIndex(1));
    // The parts are what the nodes answer to their callers.
    let mut sink = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null is there");
    let mut partials = network.sign(&shares, 2);
    for partial in &mut partials {
        for field in [&mut partial.w, &mut partial.u, &mut partial.common.r_point] {
            sink.write_all(field).expect("/dev/null takes everything");
        }
    }
    // Not a signature unless all of it was right.
    ours::join_and_verify(&partials);
    // More than go through the check of a batch together. None is made unless all of them were right.
    let made = network.presign(&shares, 2, 9);
    assert!(made.iter().all(|of_player| of_player.len() == 9));
}

/// A generator whose bytes memcheck takes for undefined.
struct Secrets(File);

impl Secrets {
    fn open() -> Self {
        Secrets(File::open("/dev/urandom").expect("/dev/urandom is there"))
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).expect("/dev/urandom gives bytes");
        let [byte] = byte;
        byte
    }
}

impl TryRng for Secrets {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.read_exact(bytes).expect("/dev/urandom gives bytes");
        Ok(())
    }
}

impl TryCryptoRng for Secrets {}

fn usage() -> ExitCode {
    eprintln!("usage: taint CURVE | leak-by-branch | leak-by-index; see benches/taint.sh");
    ExitCode::FAILURE
}
