//! With everybody's acknowledgement the presignatures count (docs/spec/presigning.md, steps 4.5 and
//! 4.6, check C13).

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::CryptoRng;

use super::online::Presignature;
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Round, Step};

/// Message 3, to all: everything of the sender's checks has passed, and this is what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Acknowledgement(pub [u8; 32]);

/// Checked, waiting for everybody's acknowledgement.
pub(super) struct Acknowledged {
    pub(super) presignatures: Vec<Presignature>,
    pub(super) acknowledgement: Acknowledgement,
}

impl Round for Acknowledged {
    type Message = Acknowledgement;
    type Output = Vec<Presignature>;

    fn advance(
        self,
        received: PerPeer<Acknowledgement>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<Vec<Presignature>>, Abort> {
        // C13: no honest player that came so far has another list.
        for (peer, acknowledgement) in received.iter() {
            if *acknowledgement != self.acknowledgement {
                return Err(Abort::malformed(peer, "C13 acknowledgement"));
            }
        }
        Ok(Step::done(self.presignatures))
    }
}
