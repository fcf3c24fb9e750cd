//! Set-up of the state that two processes share (docs/spec/pair-set-up.md).
//!
//! Two flights over base OT and GGM trees, whose equations are in `docs/spec/ot.md` and whose code
//! is in `tsm_crypto::ot`. The state lives in memory only and is renewed after its first failed
//! check.

mod answer;
mod finish;

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{PairState, SetupContext, SetupError, SetupStarted};
use tsm_types::PlayerIndex;

use crate::abort::Abort;
use crate::context::Context;
use crate::round::{Outgoing, Step};
use answer::Started;

/// Starts the set-up between the two players of a session.
///
/// # Panics
/// If the session has more than two players: nodes make these sessions themselves.
pub fn start(context: &Context, rng: &mut dyn CryptoRng) -> Step<PairState> {
    let peers = context.peers();
    assert_eq!(peers.len(), 1, "a pair has two players");
    let peer = *peers.first().expect("it was counted");
    // Step 1: flight 1 crosses the peer's.
    let set_up = SetupContext {
        ssid: &context.tag().0,
        me: context.me().0,
        peer: peer.0,
        my_identity: context.key_of(context.me()).der(),
        peer_identity: context.key_of(peer).der(),
    };
    let (started, flight) = SetupStarted::new(set_up, rng);
    let send = Outgoing::broadcast(&peers, &flight);
    Step::wait(send, peers, Started { started })
}

/// Who is to be named for a failed set-up.
fn abort(peer: PlayerIndex, error: SetupError) -> Abort {
    match error {
        SetupError::Malformed(check) => Abort::malformed(peer, check),
        SetupError::CheckFailed => Abort::secret_dependent(peer, "N3 trees"),
    }
}
