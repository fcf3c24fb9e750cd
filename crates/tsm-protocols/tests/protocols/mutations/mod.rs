//! Every field of every message of every protocol, changed in every way: never a panic, never a wrong
//! result, the class and the player of docs/spec/aborts.md, and no honest player blamed (rules S-02,
//! S-18, S-23, S-24, S-27, S-29, S-41).

mod change;
mod layout;
mod protocols;

use std::collections::{BTreeMap, BTreeSet};

use tsm_crypto::ecdsa::{JoinError, PartialSignature, join};
use tsm_crypto::{Curve, P256, P384, P521, Secp256k1};
use tsm_protocols::testing::InFlight;
use tsm_protocols::{Abort, Class};
use tsm_types::PlayerIndex;

use self::change::{Case, Change, What, Whole, cases};
use self::layout::{Message, Wrong};
use self::protocols::{Confirm, Keygen, PLAYERS, Presign, SetUp, Sign};
use crate::support::*;

/// A protocol that can be run again and again, the same if it has the same seed.
trait Protocol {
    fn players(&self) -> &'static [u16];

    fn messages(&self) -> Vec<Message>;

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran;

    /// States of pairs that are burned: whose, with whom.
    fn burned(&self) -> BTreeSet<(PlayerIndex, PlayerIndex)> {
        BTreeSet::new()
    }

    /// Replaces them.
    fn renew(&mut self) {}
}

/// What became of a run.
struct Ran {
    ends: Outcome<()>,
    /// For each signature that all players have their part of, whether it verifies.
    verified: Vec<bool>,
}

type Recording = BTreeMap<(PlayerIndex, PlayerIndex, usize), Vec<u8>>;

const SEED: u64 = 31;
const EARLIER: u64 = 32_000;

fn record<P: Protocol>(protocol: &mut P, seed: u64) -> Recording {
    let mut recording = Recording::new();
    let ran = protocol.run(seed, &mut |message| {
        recording.insert((message.from, message.to, message.round), message.body.clone());
    });
    all(ran.ends);
    assert!(!ran.verified.contains(&false));
    recording
}

/// Tries one of `every` cases; returns how many these were.
fn try_cases<C: Curve, P: Protocol>(name: &str, mut protocol: P, every: usize) -> usize {
    let (messages, players) = (protocol.messages(), protocol.players());
    let honest = record(&mut protocol, SEED);
    for ((from, _, round), body) in &honest {
        let is_it =
            |message: &&Message| message.round == *round && message.from.is_none_or(|only| p(only) == *from);
        messages.iter().find(is_it).unwrap().assert_complete(body);
    }
    assert_eq!(honest.keys().map(|(_, _, round)| *round).max(), messages.iter().map(|m| m.round).max());

    let (mut recordings, mut wrong) = (None, Vec::new());
    let all_cases = cases(&messages, players.len());
    let chosen = all_cases.iter().enumerate().step_by(every);
    let tried = chosen.len();
    for (number, case) in chosen {
        let cheat = p(case.message.from.unwrap_or(players[number % players.len()]));
        let victims: Vec<PlayerIndex> =
            players.iter().map(|player| p(*player)).filter(|v| *v != cheat).collect();
        let only_to = case.is_to_one().then(|| victims[number / players.len() % victims.len()]);
        let attempt = Attempt { name, number, case, cheat, players, only_to, element: number * 7_919 };
        if case.repeats() && recordings.is_none() {
            recordings = Some([record(&mut protocol, SEED), record(&mut protocol, EARLIER)]);
        }
        let mut hit = BTreeMap::new();
        let ran = protocol.run(SEED, &mut |message| {
            hit.extend(attempt.tamper::<C>(message, &messages, &recordings));
        });
        wrong.extend(attempt.wrong_end(&ran, &hit, &messages));
        wrong.extend(attempt.wrongly_burned(&ran, &protocol.burned()));
        if !protocol.burned().is_empty() {
            protocol.renew();
            recordings = None;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // After all of it, everything works as before.
    record(&mut protocol, SEED);
    tried
}

impl Case<'_> {
    fn is_to_one(&self) -> bool {
        matches!(self.what, What::Element(_, Change::FlipToOne))
    }

    fn name(&self) -> String {
        match self.what {
            What::Element(field, change) => format!("{} {change:?}", field.name),
            What::Whole(whole) => format!("{whole:?}"),
        }
    }

    /// Whether it needs what was said before.
    fn repeats(&self) -> bool {
        match self.what {
            What::Element(_, change) => matches!(change, Change::Other | Change::Earlier),
            What::Whole(whole) => whole != Whole::Lost,
        }
    }
}

/// A case, and who does it to whom.
struct Attempt<'a> {
    name: &'a str,
    number: usize,
    case: &'a Case<'a>,
    cheat: PlayerIndex,
    players: &'static [u16],
    only_to: Option<PlayerIndex>,
    /// Which of the field's elements, modulo their number.
    element: usize,
}

impl Attempt<'_> {
    /// Changes the message if it is the one. Returns its receiver, and whether what it gets decodes.
    fn tamper<C: Curve>(
        &self,
        message: InFlight<'_>,
        messages: &[Message],
        recordings: &Option<[Recording; 2]>,
    ) -> Option<(PlayerIndex, bool)> {
        let is_it = message.from == self.cheat && message.round == self.case.message.round;
        if !is_it || self.only_to.is_some_and(|only| only != message.to) {
            return None;
        }
        let [this, earlier] = recordings.as_ref().map_or([None, None], |both| both.each_ref().map(Some));
        let place = (message.from, message.to, message.round);
        let before = message.body.clone();
        let decodes = match self.case.what {
            What::Element(field, change) => {
                let (start, _) = self.case.message.find(&field.name).unwrap();
                let start = start + self.element % field.count * field.bytes;
                let said = || {
                    if change == Change::Other {
                        self.said_by_another(message.to, messages, this.unwrap())
                    } else {
                        earlier.unwrap()[&place][start..start + field.bytes].to_vec()
                    }
                };
                change.apply::<C>(message.body, start..start + field.bytes, field.kind, &said);
                let element = message.body.get(start..start + field.bytes);
                element.is_some_and(|element| change.decodes::<C>(field.kind, element))
            }
            What::Whole(Whole::Lost) => {
                message.body.clear();
                true
            }
            What::Whole(Whole::Replayed) => {
                message.body.clone_from(&earlier.unwrap()[&place]);
                true
            }
            What::Whole(Whole::OfAnotherRound) => {
                let another = this.unwrap().iter().find(|((from, to, round), _)| {
                    (*from, *to) == (message.from, message.to) && *round != message.round
                });
                message.body.clone_from(another.unwrap().1);
                false
            }
        };
        assert!(*message.body != before, "{self}: nothing was changed");
        Some((message.to, decodes))
    }

    /// What a player other than cheat and receiver, or else the receiver, said to the cheat in this place.
    fn said_by_another(&self, receiver: PlayerIndex, messages: &[Message], this: &Recording) -> Vec<u8> {
        let What::Element(field, _) = self.case.what else { panic!("of a field only") };
        let mut others = self.players.iter().map(|player| p(*player));
        let another = others.find(|player| *player != self.cheat && *player != receiver).unwrap_or(receiver);
        let mut theirs = messages.iter().filter(|message| message.from.is_none_or(|from| p(from) == another));
        let said = theirs.find_map(|message| {
            let (start, field) = message.find(&field.name)?;
            let start = start + self.element % field.count * field.bytes;
            Some(this[&(another, self.cheat, message.round)][start..start + field.bytes].to_vec())
        });
        said.unwrap()
    }

    /// What is not as the specification says of how honest players end.
    fn wrong_end(
        &self,
        ran: &Ran,
        hit: &BTreeMap<PlayerIndex, bool>,
        messages: &[Message],
    ) -> Option<String> {
        let mut spoiled = false;
        assert!(!hit.is_empty(), "{self}: no such message");
        for (player, end) in &ran.ends {
            if *player == self.cheat {
                continue;
            }
            let expected = match hit.get(player) {
                Some(decodes) => self.expected_of_victim(*player, *decodes),
                None => self.expected_of_bystander(hit, messages),
            };
            spoiled |= expected == Expected::Spoiled;
            let is_right = match (&expected, end) {
                (Expected::Waits, None) | (Expected::Finishes | Expected::Spoiled, Some(Ok(()))) => true,
                (Expected::Perhaps(_), Some(Ok(()))) => true,
                (Expected::Names(class, check), Some(Err(abort))) => self.is_named(abort, *class, check),
                (Expected::Perhaps(check), Some(Err(abort))) => {
                    self.is_named(abort, Class::SecretDependent, check)
                }
                (Expected::OneOf(two), Some(Err(abort))) => {
                    let named = (abort.class, abort.player, abort.one_of);
                    named == (Class::Equivocation, None, Some(*two))
                }
                _ => false,
            };
            if !is_right {
                return Some(format!("{self}: player {player} should have {expected:?} and has {end:?}"));
            }
        }
        let wrong = ran.verified.iter().filter(|verified| !**verified).count();
        (wrong != usize::from(spoiled)).then(|| format!("{self}: signatures verify: {:?}", ran.verified))
    }

    fn is_named(&self, abort: &Abort, class: Class, check: &str) -> bool {
        let named = (abort.class, abort.player, abort.one_of);
        named == (class, Some(self.cheat), None) && abort.check.starts_with(check)
    }

    fn expected_of_victim(&self, player: PlayerIndex, decodes: bool) -> Expected {
        if matches!(self.case.what, What::Whole(Whole::Lost)) {
            return Expected::Waits;
        }
        if !decodes {
            return Expected::Names(Class::Malformed, "");
        }
        let wrong = match self.case.what {
            What::Element(field, _) => field.wrong,
            What::Whole(_) => self.case.message.replayed,
        };
        match wrong {
            Wrong::Caught(class, check) => Expected::Names(class, check),
            Wrong::Echoed(check) => Expected::Names(Class::Equivocation, check),
            Wrong::EchoOf(place, check) => match p(self.players[place]) {
                of if of == self.cheat || of == player => Expected::Names(Class::Equivocation, check),
                of => Expected::OneOf([of, self.cheat]),
            },
            Wrong::Perhaps(check) => Expected::Perhaps(check),
            Wrong::Silence => Expected::Waits,
            Wrong::Spoiled => Expected::Spoiled,
        }
    }

    /// Who got the right message while another did not.
    fn expected_of_bystander(&self, hit: &BTreeMap<PlayerIndex, bool>, messages: &[Message]) -> Expected {
        let What::Element(field, _) = self.case.what else { panic!("a whole message goes to everybody") };
        let (victim, decodes) = hit.first_key_value().unwrap();
        let is_last = messages.iter().all(|message| message.round <= self.case.message.round);
        if *decodes && matches!(field.wrong, Wrong::Echoed(_)) {
            Expected::OneOf([self.cheat, *victim])
        } else if is_last || (*decodes && field.wrong == Wrong::Spoiled) {
            Expected::Finishes
        } else {
            // The victim's run ends, and with it what it would have sent after this message.
            Expected::Waits
        }
    }

    /// The state of a pair is burned exactly where a secret-dependent check failed.
    fn wrongly_burned(&self, ran: &Ran, burned: &BTreeSet<(PlayerIndex, PlayerIndex)>) -> Option<String> {
        let mut expected = BTreeSet::new();
        for (player, end) in &ran.ends {
            let failed = matches!(end, Some(Err(abort)) if abort.class == Class::SecretDependent);
            // A set-up that fails leaves no state.
            if failed && *player != self.cheat && self.name != SetUp::NAME {
                expected.insert((*player, self.cheat));
            }
        }
        let of_honest: BTreeSet<_> =
            burned.iter().filter(|(whose, _)| *whose != self.cheat).copied().collect();
        (of_honest != expected).then(|| format!("{self}: burned {of_honest:?} and not {expected:?}"))
    }
}

impl std::fmt::Display for Attempt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Attempt { name, number, case, cheat, only_to, .. } = self;
        write!(f, "{name}, case {number}, player {cheat} in round {}: ", case.message.round)?;
        f.write_str(&case.name())?;
        only_to.map_or(Ok(()), |only| write!(f, ", to player {only} only"))
    }
}

/// How an honest player's run ends.
#[derive(Debug, PartialEq)]
enum Expected {
    Finishes,
    /// It finishes, and the signature does not verify.
    Spoiled,
    /// For a message that never comes.
    Waits,
    /// The cheat, at this check.
    Names(Class, &'static str),
    /// Of these two one is at fault.
    OneOf([PlayerIndex; 2]),
    /// `Names` of class S, or `Finishes`.
    Perhaps(&'static str),
}

/// Changes every field of a partial signature, as one of the signers' nodes may: its caller never gets
/// a signature from it.
fn try_partials<C: Curve>() -> usize {
    let (shares, digest) = (generate(C::ID, 1, &PLAYERS), digest(C::ID, 0x42));
    let session = presign_session("presign", &shares, 2, &PLAYERS);
    let made = each(all(run_presign(&session, &shares, &PAIRS, SEED, honest)));
    let parts = made.map(|one| use_all(one, &digest, None).into_values().collect::<Vec<_>>());
    let encode = |part: &PartialSignature| borsh::to_vec(part).unwrap();
    let parts: Vec<_> = parts.collect();
    let [this, earlier] = &parts[..] else { panic!("two were made") };
    let messages = [layout::partial::<C>(PLAYERS.len())];
    let mut tried = 0;
    for (number, case) in cases(&messages, PLAYERS.len()).into_iter().enumerate() {
        let cheat = number % PLAYERS.len();
        let honest = encode(&this[cheat]);
        case.message.assert_complete(&honest);
        let mut body = honest.clone();
        match case.what {
            What::Element(field, change) => {
                let (start, _) = case.message.find(&field.name).unwrap();
                let place = start + number % field.count * field.bytes;
                let place = place..place + field.bytes;
                let another = if change == Change::Other { &this[(cheat + 1) % 3] } else { &earlier[cheat] };
                let said = || encode(another)[place.clone()].to_vec();
                change.apply::<C>(&mut body, place.clone(), field.kind, &said);
            }
            What::Whole(Whole::Lost) => body.clear(),
            What::Whole(_) => body = encode(&earlier[cheat]),
        }
        // All signers say the same of most, and some changes give what stood there.
        if body == honest {
            continue;
        }
        let mut joined = this.clone();
        let result = borsh::from_slice(&body).map_err(|_| JoinError::Malformed).and_then(|part| {
            joined[cheat] = part;
            join(digest.as_bytes(), &joined)
        });
        assert!(result.is_err(), "case {number}: {}", case.name());
        tried += 1;
    }
    join(digest.as_bytes(), this).unwrap();
    tried
}

/// All protocols on one curve; of signing and presigning only one of `every` cases.
fn try_curve<C: Curve>(every: usize) -> usize {
    let tried = std::thread::scope(|scope| {
        [
            scope.spawn(|| try_cases::<C, _>("key generation", Keygen::<C>::new(), 1)),
            scope.spawn(|| try_cases::<C, _>("confirmation", Confirm::<C>::new(), 1)),
            scope.spawn(|| try_cases::<C, _>("signing", Sign::<C>::new(), every)),
            scope.spawn(|| try_cases::<C, _>("presigning", Presign::<C>::new(), every)),
            scope.spawn(try_partials::<C>),
        ]
        .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let sum = tried.iter().sum();
    tell(C::ID, sum);
    sum
}

/// `scripts/figures` reads it.
#[allow(clippy::print_stdout, reason = "what was tried is part of what tests print")]
fn tell(on: impl std::fmt::Display, tried: usize) {
    println!("{on}: {tried} cases");
}

#[test]
fn s27_every_change_of_every_field_on_secp256k1_ends_as_the_specification_says() {
    let tried = try_curve::<Secp256k1>(1);
    assert!(tried >= 850, "{tried}");
}

#[test]
fn s27_changed_fields_on_the_other_curves_end_as_the_specification_says() {
    for tried in [try_curve::<P256>(SAMPLE), try_curve::<P384>(SAMPLE), try_curve::<P521>(SAMPLE)] {
        assert!(tried >= 400, "{tried}");
    }
}

/// On these curves, one of so many changes of what is long.
const SAMPLE: usize = 11;

#[test]
fn s27_every_change_of_every_field_of_a_set_up_ends_as_the_specification_says() {
    let tried = try_cases::<Secp256k1, _>(SetUp::NAME, SetUp, 1);
    tell(SetUp::NAME, tried);
    assert!(tried >= 150, "{tried}");
}
