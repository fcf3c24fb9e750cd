//! What must not be found. Kept under a mask, so that the list is not what is found.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use rand_core::{Rng, TryCryptoRng, TryRng};
use tsm_crypto::hedged::{hedged_rng, test_rng};
use tsm_crypto::{Curve, Secp256k1, Secret};

/// So many bytes are looked for at once. A secret has several pieces: the allocator overwrites the first bytes
/// of what it is given back.
const PIECE: usize = 16;

const MASK: [u8; PIECE] = [0x5a; PIECE];

/// How much is read at once, into the stack: a buffer in the heap would be found.
const WINDOW: usize = 64 * 1024;

type Piece = [u8; PIECE];

pub(crate) struct Secrets {
    /// Masked, and what it is of.
    pieces: BTreeMap<Piece, String>,
    now: &'static str,
    /// How often was drawn for it.
    draws: usize,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        Secrets { pieces: BTreeMap::new(), now: "set-up", draws: 0 }
    }

    /// Says what is drawn from now on.
    pub(crate) fn now(&mut self, what: &'static str) {
        (self.now, self.draws) = (what, 0);
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// A scalar as it is encoded, and as it lies in memory.
    pub(crate) fn add_scalar(&mut self, what: &str, big_endian: &[u8]) {
        self.add(what, big_endian);
        let mut reversed = Secret::new([0; 32]);
        reversed.expose_mut().copy_from_slice(big_endian);
        reversed.expose_mut().reverse();
        self.add(what, reversed.expose());
    }

    fn add(&mut self, what: &str, bytes: &[u8]) {
        for piece in bytes.chunks_exact(PIECE) {
            self.pieces.insert(masked(piece), what.to_owned());
        }
    }

    /// What was sent is nobody's secret any more.
    pub(crate) fn sent(&mut self, message: &[u8]) {
        for at in 0..message.len().saturating_sub(PIECE - 1) {
            self.pieces.remove(&masked(&message[at..at + PIECE]));
        }
    }

    /// What is in the heap, and how many bytes the heap has.
    pub(crate) fn scan(&self) -> (BTreeSet<&str>, usize) {
        let maps = fs::read_to_string("/proc/self/maps").expect("this is Linux");
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).expect("a process has a heap");
        let (from, to) = heap.split(' ').next().and_then(|range| range.split_once('-')).expect("from-to");
        let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).expect("an address"));
        let mut memory = File::open("/proc/self/mem").expect("a process may read itself");
        let mut found = BTreeSet::new();
        let mut window = [0u8; WINDOW];
        let mut at = from;
        while at < to {
            let length = WINDOW.min(to - at);
            memory.seek(SeekFrom::Start(at as u64)).expect("an address of the heap");
            memory.read_exact(&mut window[..length]).expect("the heap is readable");
            for piece in window[..length].windows(PIECE) {
                if let Some(what) = self.pieces.get(&masked(piece)) {
                    found.insert(what.as_str());
                }
            }
            // The last bytes again, for what lies across two windows.
            at += if length < WINDOW { length } else { WINDOW - PIECE };
        }
        (found, to - from)
    }
}

fn masked(piece: &[u8]) -> Piece {
    std::array::from_fn(|place| piece[place] ^ MASK[place])
}

/// A generator that remembers what it gave.
pub(crate) struct Recorder {
    // In a box: where it lies is wiped with it, and it is never moved.
    drawn: Box<dyn Rng>,
    secrets: Rc<RefCell<Secrets>>,
}

impl Recorder {
    pub(crate) fn new(secrets: Rc<RefCell<Secrets>>) -> Self {
        let drawn = Box::new(hedged_rng(&Secret::new([1; 32]), &Secret::new([2; 32]), b"heap"));
        Recorder { drawn, secrets }
    }

    pub(crate) fn secrets(&self) -> Rc<RefCell<Secrets>> {
        self.secrets.clone()
    }
}

impl TryRng for Recorder {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.drawn.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.drawn.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.drawn.fill_bytes(bytes);
        let mut secrets = self.secrets.borrow_mut();
        secrets.draws += 1;
        let what = format!("{}, draw {} of {} bytes", secrets.now, secrets.draws, bytes.len());
        secrets.add(&what, bytes);
        // The scalar that is made of it.
        if bytes.len() == size_of::<<Secp256k1 as Curve>::Wide>() {
            let scalar = Secp256k1::random_scalar(&mut Again(bytes));
            let encoded = Secret::new(Secp256k1::encode_scalar(&scalar));
            secrets.add_scalar(&format!("{what}, as a scalar"), encoded.expose());
        }
        Ok(())
    }
}

impl TryCryptoRng for Recorder {}

/// Gives what was drawn once more.
struct Again<'a>(&'a [u8]);

impl TryRng for Again<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(test_rng(0).next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(test_rng(0).next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(self.0);
        Ok(())
    }
}

impl TryCryptoRng for Again<'_> {}
