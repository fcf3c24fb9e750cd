//! Set-up of a pair at the higher index (docs/spec/pair-set-up.md, steps 2 to 4; checks N1 to N3).

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{HigherAnswered, HigherStarted, LowerFlight1, LowerFlight2, PairState};
use tsm_types::PlayerIndex;

use super::abort;
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Flight 1 sent, waiting for the peer's.
pub(super) struct Started {
    pub(super) started: HigherStarted,
}

impl Round for Started {
    type Message = LowerFlight1;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<LowerFlight1>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        let (answered, answer) = self.started.answer(&flight, rng).map_err(|error| abort(peer, error))?;
        // In the second round the peer sends nothing, and nothing is waited for.
        Ok(Step::wait(vec![Outgoing::new(peer, &answer)], [].into(), Silence { peer, answered }))
    }
}

/// The round in which only this side sends.
struct Silence {
    peer: PlayerIndex,
    answered: HigherAnswered,
}

impl Round for Silence {
    type Message = ();
    type Output = PairState;

    fn advance(self, _: PerPeer<()>, _: &mut dyn CryptoRng) -> Result<Step<PairState>, Abort> {
        Ok(Step::wait(Vec::new(), [self.peer].into(), Answered { answered: self.answered }))
    }
}

/// Waiting for the peer's flight 2.
struct Answered {
    answered: HigherAnswered,
}

impl Round for Answered {
    type Message = LowerFlight2;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<LowerFlight2>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        self.answered.finish(&flight).map(Step::done).map_err(|error| abort(peer, error))
    }
}
