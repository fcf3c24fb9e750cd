//! Networks in which nothing goes wrong.

use tsm_crypto::{CurveId, ecdsa};
use tsm_tests::{Network, join};

#[tokio::test(start_paused = true)]
async fn two_of_three_sign_with_a_key_that_all_three_made() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    for signers in [[0, 1], [0, 2], [1, 2]] {
        let session = network.session(&format!("sign-{signers:?}").replace(' ', ""), &signers);
        let answers = network.sign(&session, &key.key_id, &[7; 32]).await;
        let signature = join(&[7; 32], &answers);
        assert!(ecdsa::verify(CurveId::Secp256k1, &key.public_key, &[7; 32], signature.der()));
    }
}
