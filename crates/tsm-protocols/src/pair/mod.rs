//! Set-up of the state that two processes share (docs/spec/pair-set-up.md).
//!
//! Three flights over base OT, an extension and GGM trees, whose equations are in `docs/spec/ot.md`
//! and whose code is in `tsm_crypto::ot`. The two sides differ: `lower.rs` and `higher.rs`. The state
//! lives in memory only and is renewed after its first failed check.

mod higher;
mod lower;

use tsm_crypto::CryptoRng;
use tsm_crypto::ot::{HigherStarted, LowerStarted, PairState, SetupContext, SetupError};
use tsm_types::PlayerIndex;

use crate::abort::Abort;
use crate::context::Context;
use crate::round::{Outgoing, Step};

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
    if context.me() < peer {
        let (started, flight) = LowerStarted::new(set_up, rng);
        Step::wait(vec![Outgoing::new(peer, &flight)], peers, lower::Started { started })
    } else {
        let (started, flight) = HigherStarted::new(set_up, rng);
        Step::wait(vec![Outgoing::new(peer, &flight)], peers, higher::Started { started })
    }
}

/// Who is to be named for a failed set-up.
fn abort(peer: PlayerIndex, error: SetupError) -> Abort {
    match error {
        SetupError::Malformed(check) => Abort::malformed(peer, check),
        SetupError::CheckFailed(check) => Abort::secret_dependent(peer, check),
    }
}
