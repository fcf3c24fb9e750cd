//! What is done to a field, or to a whole message.

use std::ops::Range;

use num_bigint::BigUint;
use tsm_crypto::{Curve, NonIdentityPoint};
use tsm_protocols::Class;

use super::layout::{Field, Kind, Message, Wrong};

/// What is done to one element of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// The lowest bit of the first byte: of a point, the sign; of a scalar, a high bit.
    FlipFirst,
    /// The highest bit of the last byte.
    FlipLast,
    /// As `FlipFirst`, towards one receiver only.
    FlipToOne,
    Zero,
    /// The number; of a point, the generator.
    One,
    /// As SEC1 encodes it: a byte.
    Identity,
    /// The group order, a coordinate beyond the field, the highest number.
    Order,
    /// What another player says in this place.
    Other,
    /// What the sender said in this place in an earlier session.
    Earlier,
    /// The message ends within the element.
    Truncate,
    /// A byte more.
    Extend,
    /// The element twice.
    Duplicate,
    Omit,
}

use Change::*;

impl Change {
    const ALL: [Change; 13] = [
        FlipFirst, FlipLast, FlipToOne, Zero, One, Identity, Order, Other, Earlier, Truncate, Extend,
        Duplicate, Omit,
    ];

    fn applies(self, field: &Field, by_others: bool, players: usize) -> bool {
        match self {
            FlipToOne => players > 2,
            Identity => matches!(field.kind, Kind::Point | Kind::Compressed),
            Other => by_others && !matches!(field.kind, Kind::Length | Kind::Agreed),
            // A state is named by all sessions that use it.
            Earlier => {
                field.kind != Kind::Length && !matches!(field.wrong, Wrong::Caught(Class::PairGone, _))
            }
            FlipFirst | FlipLast | Zero | One | Order | Truncate | Extend | Duplicate | Omit => true,
        }
    }

    /// Whether an element changed like this decodes.
    pub(super) fn decodes<C: Curve>(self, kind: Kind, element: &[u8]) -> bool {
        match self {
            Identity | Truncate | Extend | Duplicate | Omit => return false,
            FlipFirst | FlipLast | FlipToOne | Zero | One | Order | Other | Earlier => {}
        }
        match kind {
            Kind::Bytes | Kind::Agreed => true,
            Kind::Fresh => self != Other,
            Kind::Length => false,
            Kind::Scalar => BigUint::from_bytes_be(element) < order::<C>(),
            // Only of a flipped bit it cannot be told beforehand.
            Kind::Point if self == FlipLast => borsh::from_slice::<NonIdentityPoint<C>>(element).is_ok(),
            Kind::Compressed if self == FlipLast => C::decode_point(element).is_some(),
            Kind::Point | Kind::Compressed => !matches!(self, Zero | Order),
            // Encodings are even, and less than 2^255.
            Kind::Ristretto => matches!(self, One | Other | Earlier),
        }
    }

    /// Changes the element that stands at `place`.
    pub(super) fn apply<C: Curve>(
        self,
        body: &mut Vec<u8>,
        place: Range<usize>,
        kind: Kind,
        said: &dyn Fn() -> Vec<u8>,
    ) {
        let bytes = place.len();
        let new = match self {
            FlipFirst | FlipToOne if kind == Kind::Point => negative::<C>(&body[place.clone()]),
            FlipFirst | FlipToOne => {
                body[place.start] ^= 1;
                return;
            }
            FlipLast => {
                body[place.end - 1] ^= 0x80;
                return;
            }
            Truncate => {
                body.truncate(place.end - 1);
                return;
            }
            Zero => vec![0; bytes],
            One => one::<C>(kind, bytes),
            Identity => vec![0],
            Order => highest::<C>(kind, bytes),
            Other | Earlier => said(),
            Extend => [&body[place.clone()], &[0]].concat(),
            Duplicate => body[place.clone()].repeat(2),
            Omit => Vec::new(),
        };
        drop(body.splice(place, new));
    }
}

fn encoded<C: Curve>(point: C::Point) -> Vec<u8> {
    borsh::to_vec(&NonIdentityPoint::<C>::new(point).unwrap()).unwrap()
}

fn negative<C: Curve>(element: &[u8]) -> Vec<u8> {
    encoded::<C>(-*borsh::from_slice::<NonIdentityPoint<C>>(element).unwrap().point())
}

fn one<C: Curve>(kind: Kind, bytes: usize) -> Vec<u8> {
    let mut one = vec![0; bytes];
    match kind {
        Kind::Bytes | Kind::Agreed | Kind::Fresh | Kind::Length => one[0] = 1,
        Kind::Scalar => one[bytes - 1] = 1,
        Kind::Compressed => one = C::encode_point(&C::mul_generator(&C::Scalar::from(1))),
        Kind::Point => one = encoded::<C>(C::mul_generator(&C::Scalar::from(1))),
        // RFC 9496, A.1.
        Kind::Ristretto => {
            let generator = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
            one = BigUint::parse_bytes(generator.as_bytes(), 16).unwrap().to_bytes_be();
        }
    }
    one
}

fn highest<C: Curve>(kind: Kind, bytes: usize) -> Vec<u8> {
    let mut highest = vec![0xff; bytes];
    match kind {
        Kind::Bytes | Kind::Agreed | Kind::Fresh | Kind::Length => {}
        Kind::Scalar => {
            highest = order::<C>().to_bytes_be();
            highest.splice(0..0, vec![0; bytes - highest.len()]);
        }
        Kind::Compressed => highest[0] = 2,
        Kind::Point => highest[0] = 4,
        // 2^255 - 19, little endian: zero once more.
        Kind::Ristretto => (highest[0], highest[bytes - 1]) = (0xed, 0x7f),
    }
    highest
}

fn order<C: Curve>() -> BigUint {
    BigUint::from_bytes_be(&C::encode_scalar(&-C::Scalar::from(1))) + 1u8
}

/// What is done to a whole message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Whole {
    /// It never comes.
    Lost,
    /// The one of an earlier session comes in its stead.
    Replayed,
    /// Another of this session does: the sender is too early, or too late.
    OfAnotherRound,
}

/// One thing that a cheat does in a run.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) message: &'a Message,
    pub(super) what: What<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Element(&'a Field, Change),
    Whole(Whole),
}

/// Everything that can be done to these messages.
pub(super) fn cases(messages: &[Message], players: usize) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for message in messages {
        let others = |other: &&Message| other.from.is_none() || other.from != message.from;
        for field in &message.fields {
            let by_others = messages.iter().filter(others).any(|other| other.find(&field.name).is_some());
            // To leave out all of a message is to lose it.
            let is_all = message.fields.len() == 1 && field.count == 1;
            let applies = Change::ALL
                .into_iter()
                .filter(|change| change.applies(field, by_others, players) && !(is_all && *change == Omit));
            cases.extend(applies.map(|change| Case { message, what: What::Element(field, change) }));
        }
        let is_only =
            !messages.iter().any(|other| other.from == message.from && other.round != message.round);
        for whole in [Whole::Lost, Whole::Replayed, Whole::OfAnotherRound] {
            if !(is_only && whole == Whole::OfAnotherRound) {
                cases.push(Case { message, what: What::Whole(whole) });
            }
        }
    }
    cases
}
