//! End of a pair set-up (docs/spec/pair-set-up.md, step 3; check N3).

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{PairState, SetupAnswered, SetupFlight2};

use super::abort;
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Round, Step};

/// Flight 2 sent, waiting for the peer's.
pub(super) struct Answered {
    pub(super) answered: SetupAnswered,
}

impl Round for Answered {
    type Message = SetupFlight2;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<SetupFlight2>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        self.answered.finish(&flight).map(Step::done).map_err(|error| abort(peer, error))
    }
}
