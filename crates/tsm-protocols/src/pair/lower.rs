//! Set-up of a pair at the lower index (docs/spec/pair-set-up.md, steps 2 to 4; checks N1 to N4).

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{HigherFlight1, HigherFlight2, LowerAnswered, LowerStarted, PairState};

use super::abort;
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Flight 1 sent, waiting for the peer's.
pub(super) struct Started {
    pub(super) started: LowerStarted,
}

impl Round for Started {
    type Message = HigherFlight1;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<HigherFlight1>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        let answered = self.started.answer(&flight).map_err(|error| abort(peer, error))?;
        // In the second round only the peer sends.
        Ok(Step::wait(Vec::new(), [peer].into(), Answered { answered }))
    }
}

/// Waiting for the peer's flight 2.
struct Answered {
    answered: LowerAnswered,
}

impl Round for Answered {
    type Message = HigherFlight2;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<HigherFlight2>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        let (output, last) = self.answered.finish(&flight, rng).map_err(|error| abort(peer, error))?;
        Ok(Step::Done { send: vec![Outgoing::new(peer, &last)], output })
    }
}
