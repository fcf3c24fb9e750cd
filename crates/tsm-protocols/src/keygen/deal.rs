//! Round 1: deal a polynomial and commit to it (docs/spec/key-generation.md, steps 1.1 to 1.5).

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::commitment::{Commitment, CommitmentContext};
use tsm_crypto::dlog::{DlogProof, Prover};
use tsm_crypto::{CryptoRng, Curve, NonIdentityPoint, Secret};
use tsm_types::{MAX_PLAYERS, PlayerIndex};

use super::open::Committed;
use super::{KeygenParameters, ProvisionalKey};
use crate::context::Context;
use crate::round::{Outgoing, Step};

/// Broadcast of round 1: 64 bytes.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct CommitMessage {
    /// Commitment to the [`Opening`].
    pub commitment: Commitment,
    /// N_i: fresh bytes that make the run unlike any other (rule S-03).
    pub fresh: [u8; 32],
}

/// What round 1 commits to and round 2 shows.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct Opening<C: Curve> {
    /// A_i: the points of the polynomial's coefficients, constant term first.
    #[borsh(bound(serialize = "", deserialize = ""), deserialize_with = "few_points")]
    pub coefficients: Vec<NonIdentityPoint<C>>,
    /// PoK_i: knowledge of the constant term.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub proof: DlogProof<C>,
    /// c_i: contribution to the chain code.
    pub chain_code: [u8; 32],
}

/// Decodes no more points than any key can have: each costs a square root, and K1 counts later.
fn few_points<C: Curve, R: io::Read>(reader: &mut R) -> io::Result<Vec<NonIdentityPoint<C>>> {
    let count = u32::deserialize_reader(reader)?;
    if count > MAX_PLAYERS as u32 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more coefficients than players"));
    }
    (0..count).map(|_| NonIdentityPoint::deserialize_reader(reader)).collect()
}

/// A player's contribution to the key, before anybody has heard of it.
pub struct Dealing<C: Curve> {
    /// f_i, constant term first.
    pub polynomial: Secret<Vec<C::Scalar>>,
    /// What will be opened.
    pub opening: Opening<C>,
    /// N_i.
    pub fresh: [u8; 32],
}

impl<C: Curve> Dealing<C> {
    /// Steps 1.1 to 1.4.
    pub fn new(context: &Context, parameters: &KeygenParameters, rng: &mut dyn CryptoRng) -> Self {
        // Step 1.1: f_i of degree t. A zero coefficient has no encoding; it is drawn again.
        let count = parameters.threshold.signers_required();
        let polynomial: Secret<Vec<C::Scalar>> =
            Secret::new((0..count).map(|_| C::random_nonzero_scalar(rng)).collect());
        // Step 1.2: A_i,m = a_i,m * G.
        let points: Vec<C::Point> = polynomial.expose().iter().map(C::mul_generator).collect();
        let coefficients = NonIdentityPoint::batch(&points).expect("no coefficient is zero");
        // Step 1.3: c_i and N_i.
        let (mut chain_code, mut fresh) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut chain_code);
        rng.fill_bytes(&mut fresh);
        // Step 1.4: PoK_i of a_i,0, bound to everything else of the contribution.
        let statement = Statement { context, player: context.me(), coefficients: &coefficients, chain_code };
        let constant = polynomial.expose().first().expect("there are t + 1 > 1 coefficients");
        let proof = statement.prove(constant, &fresh, rng);
        Dealing { polynomial, opening: Opening { coefficients, proof, chain_code }, fresh }
    }

    /// Step 1.5: broadcasts the commitment and N_i.
    pub fn commit(
        self,
        context: &Context,
        parameters: KeygenParameters,
        rng: &mut dyn CryptoRng,
    ) -> Step<ProvisionalKey> {
        let encoded = borsh::to_vec(&self.opening).expect("encoding to memory cannot fail");
        let (commitment, blinding) = commitment_context(context, context.me()).commit(&encoded, rng);
        let message = CommitMessage { commitment, fresh: self.fresh };
        let peers = context.peers();
        let send = Outgoing::broadcast(&peers, &message);
        let round = Committed { context: context.clone(), parameters, dealing: self, message, blinding };
        Step::wait(send, peers, round)
    }
}

/// What the commitment of round 1 is bound to (rule S-11).
pub(super) fn commitment_context(context: &Context, player: PlayerIndex) -> CommitmentContext<'_> {
    CommitmentContext { ssid: &context.tag().0, committer: player.0, purpose: "key generation" }
}

/// The statement of PoK_i: "I know the discrete logarithm of the first coefficient".
pub(super) struct Statement<'a, C: Curve> {
    pub(super) context: &'a Context,
    pub(super) player: PlayerIndex,
    pub(super) coefficients: &'a [NonIdentityPoint<C>],
    pub(super) chain_code: [u8; 32],
}

impl<C: Curve> Statement<'_, C> {
    fn prove(&self, constant: &C::Scalar, fresh: &[u8; 32], rng: &mut dyn CryptoRng) -> DlogProof<C> {
        let point = self.coefficients.first().expect("there are t + 1 > 1 coefficients");
        DlogProof::prove(self.prover(), constant, point, &self.extra(fresh), rng)
    }

    /// Whether the proof holds; `fresh` is the prover's N_i.
    pub(super) fn is_proven_by(&self, proof: &DlogProof<C>, fresh: &[u8; 32]) -> bool {
        self.coefficients.first().is_some_and(|point| proof.verify(self.prover(), point, &self.extra(fresh)))
    }

    /// Rule S-10.
    fn prover(&self) -> Prover<'_> {
        Prover {
            ssid: &self.context.tag().0,
            index: self.player.0,
            identity: self.context.key_of(self.player).der(),
        }
    }

    /// Everything of the contribution that the proof does not hold by itself.
    fn extra(&self, fresh: &[u8; 32]) -> Vec<u8> {
        borsh::to_vec(&(fresh, self.coefficients, self.chain_code)).expect("encoding to memory cannot fail")
    }
}
