//! Flight 2 of a pair set-up (docs/spec/pair-set-up.md, step 2; checks N1 and N2).

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{PairState, SetupFlight1, SetupStarted};

use super::abort;
use super::finish::Answered;
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Flight 1 sent, waiting for the peer's.
pub(super) struct Started {
    pub(super) started: SetupStarted,
}

impl Round for Started {
    type Message = SetupFlight1;
    type Output = PairState;

    fn advance(
        self,
        received: PerPeer<SetupFlight1>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PairState>, Abort> {
        let (peer, flight) = received.into_only();
        let (answered, answer) = self.started.answer(&flight, rng).map_err(|error| abort(peer, error))?;
        Ok(Step::wait(vec![Outgoing::new(peer, &answer)], [peer].into(), Answered { answered }))
    }
}
