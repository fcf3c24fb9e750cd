//! Confirmation: every holder signs the certificate (docs/spec/key-generation.md 4, check K7; rule
//! S-36).
//!
//! To be started only when this holder's share is stored durably. The result is what makes a key
//! active, and anybody who has it may hand it to a holder that missed it.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::{CryptoRng, IdentityKey};

use crate::abort::Abort;
use crate::context::Context;
use crate::key::{Certificate, SignedCertificate};
use crate::per_peer::PerPeer;
use crate::round::{Outgoing, Round, Step};

/// Broadcast of the confirmation.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct ConfirmMessage {
    /// The sender's signature of the certificate, made with its identity key.
    pub signature: Vec<u8>,
}

/// Signs a certificate and collects the signatures of all other holders.
///
/// The session's players are the certificate's holders, and `identity` is this player's key.
pub fn start(context: &Context, certificate: Certificate, identity: &IdentityKey) -> Step<SignedCertificate> {
    // Step 4.1.
    let message = ConfirmMessage { signature: identity.sign(&certificate.transcript()) };
    let peers = context.peers();
    let send = Outgoing::broadcast(&peers, &message);
    Step::wait(
        send,
        peers,
        Confirming { context: context.clone(), certificate, signature: message.signature },
    )
}

/// Signed, waiting for everybody's signature.
struct Confirming {
    context: Context,
    certificate: Certificate,
    signature: Vec<u8>,
}

impl Round for Confirming {
    type Message = ConfirmMessage;
    type Output = SignedCertificate;

    fn advance(
        self,
        received: PerPeer<ConfirmMessage>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<SignedCertificate>, Abort> {
        let transcript = self.certificate.transcript();
        // K7: everybody signed the same certificate.
        for (peer, message) in received.iter() {
            if !self.context.key_of(peer).verifies(&transcript, &message.signature) {
                return Err(Abort::cheated(peer, "K7 signature of the certificate"));
            }
        }
        // Step 4.2.
        let mut signatures = BTreeMap::from([(self.context.me(), self.signature)]);
        signatures.extend(received.into_iter().map(|(peer, message)| (peer, message.signature)));
        Ok(Step::done(SignedCertificate { certificate: self.certificate, signatures }))
    }
}
