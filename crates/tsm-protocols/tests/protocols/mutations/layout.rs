//! Every field of every message, in the order in which they are encoded, and what becomes of a
//! receiver that gets a wrong one (docs/spec).

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::Curve;
use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::ot::{HigherFlight1, HigherFlight2, LowerFlight1, LowerFlight2};
use tsm_protocols::Class;
use tsm_protocols::ecdsa::{presign, sign};
use tsm_protocols::keygen::{self, confirm::ConfirmMessage};

/// A message as one player sends it to each of the others.
pub(super) struct Message {
    pub(super) round: usize,
    /// Who sends it; `None`: everybody.
    pub(super) from: Option<u16>,
    pub(super) fields: Vec<Field>,
    /// What follows if the sender repeats, whole, what it said in an earlier session.
    pub(super) replayed: Wrong,
    /// Where in an encoded message the encoder's writes end.
    pub(super) writes: fn(&[u8]) -> Vec<usize>,
}

/// One field, or a list of fields that mean the same.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Bytes of one element.
    pub(super) bytes: usize,
    pub(super) count: usize,
    pub(super) wrong: Wrong,
}

/// What an element is; decides which of its values are special, and which do not decode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Bytes,
    /// All honest players say the same.
    Agreed,
    /// Fresh bytes of a set-up, of which a receiver does not take its own.
    Fresh,
    /// How many follow.
    Length,
    Scalar,
    /// SEC1 uncompressed, as messages carry it.
    Point,
    /// SEC1 compressed, as a partial signature has it.
    Compressed,
    Ristretto,
}

/// What becomes of a receiver of a value that decodes but is another than the honest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wrong {
    /// It names the sender, at this check.
    Caught(Class, &'static str),
    /// It names the sender; who received another version names both, at this check.
    Echoed(&'static str),
    /// A report of what the player at this place has broadcast: whoever knows better names the sender,
    /// all others both.
    EchoOf(usize, &'static str),
    /// It names the sender, unless its own secrets do not look there: then nothing is wrong with what
    /// it gets.
    Perhaps(&'static str),
    /// It hears no more, since the sender itself cannot go on.
    Silence,
    /// It has a result, and the signature does not verify.
    Spoiled,
}

use Wrong::{Caught, EchoOf, Echoed, Perhaps, Silence, Spoiled};

fn list(name: impl Into<String>, kind: Kind, bytes: usize, count: usize, wrong: Wrong) -> Field {
    Field { name: name.into(), kind, bytes, count, wrong }
}

fn hash(name: &str, wrong: Wrong) -> Field {
    list(name, Kind::Bytes, 32, 1, wrong)
}

fn points<C: Curve>(name: &str, count: usize, wrong: Wrong) -> Field {
    list(name, Kind::Point, C::MESSAGE_POINT_BYTES, count, wrong)
}

fn scalars<C: Curve>(name: &str, count: usize, wrong: Wrong) -> Field {
    list(name, Kind::Scalar, C::SCALAR_BYTES, count, wrong)
}

/// A wrong number never decodes, or is refused before anything else.
fn number_of(what: &str, bytes: usize) -> Field {
    list(format!("number of {what}"), Kind::Length, bytes, 1, Caught(Class::Malformed, ""))
}

fn echo(players: usize, check: &'static str) -> Vec<Field> {
    let of = |place| list(format!("echo of place {place}"), Kind::Agreed, 32, 1, EchoOf(place, check));
    std::iter::once(number_of("echoes", 4)).chain((0..players).map(of)).collect()
}

/// `columns` bytes of corrections for each tree.
fn extension(columns: usize, check: &'static str) -> Vec<Field> {
    let wrong = Caught(Class::SecretDependent, check);
    vec![
        hash("nonce of the extension", wrong),
        list("corrections", Kind::Bytes, columns, 32, wrong),
        list("folded choices", Kind::Bytes, 16, 1, wrong),
        list("folded columns", Kind::Bytes, 16, 128, wrong),
    ]
}

fn trees() -> Vec<Field> {
    let wrong = Caught(Class::SecretDependent, "N3");
    vec![
        list("encrypted sums", Kind::Bytes, 16, 32 * 4 * 2, Perhaps("N3")),
        list("check sums", Kind::Bytes, 32, 32, wrong),
        hash("digest of the trees", wrong),
    ]
}

/// Bytes of ξ choice bits.
fn choices<C: Curve>() -> usize {
    (C::SCALAR_BITS + 160).div_ceil(8)
}

/// Bytes of a column's check bits.
const CHECK: usize = 16;

fn multiplication<C: Curve>() -> Vec<Field> {
    let caught = |check| Caught(Class::SecretDependent, check);
    vec![
        scalars::<C>("matrix", 3 * 8 * choices::<C>(), caught("C5")),
        scalars::<C>("eta", 1, caught("C5")),
        hash("mu", caught("C5")),
        points::<C>("gamma u", 1, caught("C6, C7")),
        points::<C>("gamma v", 1, caught("C6, C7")),
        scalars::<C>("psi", 1, Spoiled),
    ]
}

fn nonce_and_key<C: Curve>() -> Vec<Field> {
    vec![
        points::<C>("nonce point", 1, Caught(Class::Cheated, "C4")),
        points::<C>("key point", 1, Caught(Class::SecretDependent, "C6, C7")),
    ]
}

fn commitment(check: &'static str) -> Vec<Field> {
    vec![hash("commitment", Echoed(check)), hash("fresh", Echoed(check))]
}

fn message<M: BorshSerialize + BorshDeserialize>(
    round: usize,
    from: Option<u16>,
    replayed: Wrong,
    fields: impl IntoIterator<Item = Vec<Field>>,
) -> Message {
    let fields = fields.into_iter().flatten().collect();
    Message { round, from, fields, replayed, writes: writes::<M> }
}

pub(super) fn keygen<C: Curve>(players: usize, coefficients: usize) -> Vec<Message> {
    let caught = |check| Caught(Class::Cheated, check);
    let opening = vec![
        number_of("coefficients", 4),
        points::<C>("coefficients", coefficients, caught("K3")),
        points::<C>("commitment of the proof", 1, caught("K3")),
        scalars::<C>("response of the proof", 1, caught("K3")),
        hash("chain code", caught("K3")),
        hash("blinding", caught("K3")),
        scalars::<C>("share", 1, caught("K5")),
    ];
    vec![
        message::<keygen::CommitMessage>(1, None, Echoed("K2"), [commitment("K2")]),
        message::<keygen::OpenMessage<C>>(
            2,
            None,
            Caught(Class::Equivocation, "K2"),
            [echo(players, "K2"), opening],
        ),
    ]
}

pub(super) fn confirm() -> Vec<Message> {
    let wrong = Caught(Class::Cheated, "K7");
    let fields = vec![number_of("bytes", 4), list("r and s", Kind::Bytes, 32, 2, wrong)];
    vec![message::<ConfirmMessage>(1, None, wrong, [fields])]
}

pub(super) fn set_up(lower: u16, higher: u16) -> Vec<Message> {
    let wrong = Caught(Class::SecretDependent, "N3");
    // The identifier of the state is over both first flights. Who sent a wrong one goes on with the
    // right one; it is then the lower index that sees it, since it hears first.
    let first = |count, wrong| {
        vec![
            list("fresh", Kind::Fresh, 32, 1, wrong),
            list("points of the base OTs", Kind::Ristretto, 32, count, wrong),
        ]
    };
    vec![
        message::<LowerFlight1>(1, Some(lower), Silence, [first(2 * 128, Silence)]),
        message::<HigherFlight1>(1, Some(higher), wrong, [first(128, wrong)]),
        message::<HigherFlight2>(2, Some(higher), wrong, [trees(), extension(16 + CHECK, "N4")]),
        message::<LowerFlight2>(3, Some(lower), wrong, [trees()]),
    ]
}

pub(super) fn sign<C: Curve>(players: usize) -> Vec<Message> {
    let blinding = vec![hash("blinding", Caught(Class::Cheated, "C4"))];
    vec![
        message::<sign::CommitMessage<C>>(
            1,
            None,
            Echoed("C3"),
            [commitment("C3"), pair(), extension(choices::<C>() + CHECK, "C2")],
        ),
        message::<sign::MultiplyMessage<C>>(
            2,
            None,
            Caught(Class::Equivocation, "C3"),
            [echo(players, "C3"), blinding, nonce_and_key::<C>(), multiplication::<C>()],
        ),
    ]
}

fn pair() -> Vec<Field> {
    vec![hash("pair", Caught(Class::PairGone, "pair state"))]
}

pub(super) fn presign<C: Curve>(players: usize, count: usize) -> Vec<Message> {
    let blinding = vec![hash("blinding", Caught(Class::Cheated, "C4"))];
    let of_each = |fields: fn() -> Vec<Field>| -> Vec<Field> {
        let numbered = |number| {
            let name = move |field: Field| Field { name: format!("{} of {number}", field.name), ..field };
            fields().into_iter().map(name)
        };
        (0..count).flat_map(numbered).collect()
    };
    vec![
        message::<presign::PresignCommit<C>>(
            1,
            None,
            Echoed("C3"),
            [
                commitment("C3"),
                pair(),
                vec![number_of("presignatures", 2)],
                extension(count * choices::<C>() + CHECK, "C2"),
            ],
        ),
        message::<presign::PresignMultiply<C>>(
            2,
            None,
            Caught(Class::Equivocation, "C3"),
            [
                echo(players, "C3"),
                blinding,
                vec![number_of("points", 4)],
                of_each(nonce_and_key::<C>),
                vec![number_of("multiplications", 4)],
                of_each(multiplication::<C>),
            ],
        ),
        message::<presign::Acknowledgement>(
            3,
            None,
            Caught(Class::Malformed, "C13"),
            [vec![list("acknowledgement", Kind::Agreed, 32, 1, Caught(Class::Malformed, "C13"))]],
        ),
    ]
}

/// What a node gives its caller, and the caller joins.
pub(super) fn partial<C: Curve>(signers: usize) -> Message {
    let prefixed = |field: Field| vec![number_of(&format!("bytes of {}", field.name), 4), field];
    let plain = |name, bytes| vec![list(name, Kind::Bytes, bytes, 1, Spoiled)];
    let digest = list("digest", Kind::Bytes, C::ID.digest_bytes(), 1, Spoiled);
    let fields = [
        plain("version", 1),
        plain("curve", 1),
        plain("session", 32),
        vec![number_of("signers", 4), list("signers", Kind::Bytes, 2, signers, Spoiled)],
        prefixed(list("public key", Kind::Compressed, C::POINT_BYTES, 1, Spoiled)),
        prefixed(digest),
        prefixed(list("R", Kind::Compressed, C::POINT_BYTES, 1, Spoiled)),
        plain("signer", 2),
        prefixed(scalars::<C>("w", 1, Spoiled)),
        prefixed(scalars::<C>("u", 1, Spoiled)),
    ];
    message::<PartialSignature>(1, None, Spoiled, fields)
}

impl Message {
    /// Where the first element of a field stands, and the field.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &Field)> {
        let mut place = 0;
        self.fields.iter().find_map(|field| {
            let start = place;
            place += field.bytes * field.count;
            (field.name == name).then_some((start, field))
        })
    }

    /// The fields are all of the message: they are as long as it, and the encoder's writes and the
    /// fields' elements divide it in the same places.
    pub(super) fn assert_complete(&self, body: &[u8]) {
        let length: usize = self.fields.iter().map(|field| field.bytes * field.count).sum();
        assert_eq!(length, body.len(), "round {}: a field is missing here, or one too many", self.round);
        let writes = (self.writes)(body);
        let mut place = 0;
        for field in &self.fields {
            for _ in 0..field.count {
                let end = place + field.bytes;
                let inside = writes.iter().find(|write| (place + 1..end).contains(write));
                assert_eq!(inside, None, "round {}: {} is more than one field", self.round, field.name);
                place = end;
            }
            assert!(writes.contains(&place), "round {}: {} does not end here", self.round, field.name);
        }
    }
}

fn writes<M: BorshSerialize + BorshDeserialize>(body: &[u8]) -> Vec<usize> {
    struct Ends(Vec<usize>);
    impl io::Write for Ends {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(self.0.last().unwrap_or(&0) + bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut ends = Ends(Vec::new());
    borsh::to_writer(&mut ends, &borsh::from_slice::<M>(body).unwrap()).unwrap();
    ends.0
}
