//! The crate `dkls23-core` of 0xCarbon, driven through its session types as its documentation says.
//!
//! Its messages travel in postcard, the encoding that the crate itself has chosen for them.

use std::collections::BTreeMap;

use dkls23_core::curve::DklsCurve;
use dkls23_core::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment, TransmitInitMulPhase3to4,
    TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23_core::protocols::re_key::re_key;
use dkls23_core::protocols::signing::{Broadcast3to4, SignData, TransmitPhase1to2, TransmitPhase2to3};
use dkls23_core::protocols::{Parameters, Party, PartyIndex};
use dkls23_core::{DkgSession, EcdsaSignature, SignSession};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DIGEST, Traffic};

/// A curve whose messages can be encoded.
pub trait Curve:
    DklsCurve<AffinePoint: Serialize + DeserializeOwned, Scalar: Serialize + DeserializeOwned>
{
}

impl Curve for k256::Secp256k1 {}
impl Curve for p256::NistP256 {}

/// Parties 1 to n of a key with t signers, and what they sent each other.
pub struct Network {
    parameters: Parameters,
    runs: u64,
    traffic: Traffic,
}

/// The messages on their way to each party.
type Mail = BTreeMap<u8, Vec<Vec<u8>>>;

impl Network {
    /// `signers` of `parties` sign.
    pub fn new(signers: u8, parties: u8) -> Self {
        let parameters = Parameters::new(signers, parties).expect("valid numbers of parties");
        Network { parameters, runs: 0, traffic: Traffic::default() }
    }

    /// What was sent since this was asked last.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// Key generation of all parties, which includes the OT set-up of all pairs.
    pub fn generate_key<C: Curve>(&mut self) -> Vec<Party<C>> {
        let session_id = self.new_id();
        let parties = self.parameters.share_count;
        let mut sessions: Vec<DkgSession<C>> = (1..=parties)
            .map(|party| DkgSession::new(self.parameters.clone(), index(party), session_id.clone()))
            .collect();

        let mut fragments = Mail::new();
        for (from, session) in (1..).zip(&sessions) {
            for (to, fragment) in (1..).zip(session.phase1()) {
                self.send(&mut fragments, from, to, &fragment);
            }
        }

        let (mut proofs, mut seeds_2, mut chains_2) = (Mail::new(), Mail::new(), Mail::new());
        for (from, session) in (1..).zip(&mut sessions) {
            let (proof, seeds, chain) = session.phase2(&open(&fragments, from)).expect("honest run");
            for seed in &seeds {
                self.send(&mut seeds_2, from, seed.parties.receiver.as_u8(), seed);
            }
            for to in 1..=parties {
                self.send(&mut proofs, from, to, &proof);
                self.send(&mut chains_2, from, to, &chain);
            }
        }

        let (mut seeds_3, mut multipliers, mut chains_3) = (Mail::new(), Mail::new(), Mail::new());
        for (from, session) in (1..).zip(&mut sessions) {
            let (seeds, multiplier, chain) = session.phase3().expect("honest run");
            for seed in &seeds {
                self.send(&mut seeds_3, from, seed.parties.receiver.as_u8(), seed);
            }
            for message in &multiplier {
                self.send(&mut multipliers, from, message.parties.receiver.as_u8(), message);
            }
            for to in 1..=parties {
                self.send(&mut chains_3, from, to, &chain);
            }
        }

        let finish = |(me, session): (u8, DkgSession<C>)| {
            let proofs: Vec<ProofCommitment<C>> = open(&proofs, me);
            let seeds_2: Vec<TransmitInitZeroSharePhase2to4> = open(&seeds_2, me);
            let seeds_3: Vec<TransmitInitZeroSharePhase3to4> = open(&seeds_3, me);
            let multipliers: Vec<TransmitInitMulPhase3to4<C>> = open(&multipliers, me);
            let chains_2: Vec<BroadcastDerivationPhase2to4> = open(&chains_2, me);
            let chains_3: Vec<BroadcastDerivationPhase3to4> = open(&chains_3, me);
            let (party, _) = session
                .phase4(
                    &proofs,
                    &seeds_2,
                    &seeds_3,
                    &multipliers,
                    &chains_2.into_iter().map(|chain| (chain.sender_index, chain)).collect(),
                    &chains_3.into_iter().map(|chain| (chain.sender_index, chain)).collect(),
                    |_| String::new(),
                )
                .expect("honest run");
            party
        };
        (1..).zip(sessions).map(finish).collect()
    }

    /// The same state as after a key generation, made by one dealer: for signing workloads.
    pub fn deal_key<C: Curve>(&mut self) -> Vec<Party<C>> {
        let secret = C::Scalar::from(0x1234_5678_9abc_def1);
        let session_id = self.new_id();
        re_key(&self.parameters, &session_id, &secret, None, |_| String::new()).0
    }

    /// All signers sign, to the point where each has what it sends to whoever makes the signature.
    pub fn sign<'a, C: Curve>(&mut self, parties: &'a [Party<C>]) -> Signing<'a, C> {
        let sign_id = self.new_id();
        let signers = 1..=self.parameters.threshold;

        let mut first = Mail::new();
        let mut sessions = Vec::new();
        for (me, party) in signers.clone().zip(parties) {
            let counterparties = signers.clone().filter(|signer| *signer != me).map(index).collect();
            let data = SignData { sign_id: sign_id.clone(), counterparties, message_hash: DIGEST };
            let (session, messages) = SignSession::new(party, data).expect("honest run");
            for message in &messages {
                self.send(&mut first, me, message.parties.receiver.as_u8(), message);
            }
            sessions.push(session);
        }

        let mut second = Mail::new();
        for (me, session) in signers.clone().zip(&mut sessions) {
            let received: Vec<TransmitPhase1to2> = open(&first, me);
            for message in &session.phase2(&received).expect("honest run") {
                self.send(&mut second, me, message.parties.receiver.as_u8(), message);
            }
        }

        let mut broadcasts = Vec::new();
        for (me, session) in signers.zip(&mut sessions) {
            let received: Vec<TransmitPhase2to3<C>> = open(&second, me);
            broadcasts.push(encode(&session.phase3(&received).expect("honest run")));
        }
        Signing { session: sessions.swap_remove(0), broadcasts }
    }

    fn send(&mut self, mail: &mut Mail, from: u8, to: u8, message: &impl Serialize) {
        let body = encode(message);
        if from != to {
            self.traffic.count(&body);
        }
        mail.entry(to).or_default().push(body);
    }

    fn new_id(&mut self) -> Vec<u8> {
        self.runs += 1;
        let mut id = vec![0; 32];
        id[..8].copy_from_slice(&self.runs.to_le_bytes());
        id
    }
}

/// A run of which only the last step is left, at the first signer.
pub struct Signing<'a, C: Curve> {
    session: SignSession<'a, C>,
    broadcasts: Vec<Vec<u8>>,
}

impl<C: Curve> Signing<'_, C> {
    /// Joins what all signers sent, and verifies the signature.
    pub fn join_and_verify(self) -> EcdsaSignature {
        let broadcasts: Vec<Broadcast3to4<C>> = self.broadcasts.iter().map(|body| decode(body)).collect();
        self.session.phase4(&broadcasts, true).expect("honest parts join")
    }
}

fn index(party: u8) -> PartyIndex {
    PartyIndex::new(party).expect("parties are counted from 1")
}

fn open<T: DeserializeOwned>(mail: &Mail, me: u8) -> Vec<T> {
    mail.get(&me).into_iter().flatten().map(|body| decode(body)).collect()
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("encoding to memory cannot fail")
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> T {
    postcard::from_bytes(body).expect("it was just encoded")
}
