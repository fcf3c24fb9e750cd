//! How nodes prove who they are: TLS 1.3 with raw public keys (RFC 7250) on both sides.
//!
//! A player's EC key *is* its identity. There is no certificate, name or CA that could be confused
//! with it (rule S-98): the dialler accepts exactly the key it expects, the listener accepts any
//! well-formed key and reports which one was proven. Whether that key is expected is decided
//! behind the handshake, where a stranger can be parked and named.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, ServerName,
    SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tsm_crypto::IdentityKey;
use tsm_crypto::identity::Fingerprint;

use crate::link::echo;
use crate::links::PeerKey;

/// The link protocol and its version, agreed in the handshake.
pub(crate) const ALPN: &[u8] = b"opentsm/1";

/// The curves of identities, each with its one hash.
const SCHEMES: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
];

/// A node's half of every handshake.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// `None` if the TLS library cannot use this key.
    pub(crate) fn new(identity: &IdentityKey) -> Option<Self> {
        let provider = Arc::new(CryptoProvider {
            // The hybrid first: what is recorded today stays closed to a quantum computer later.
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let key = certified_key(identity)?;
        let acceptor = acceptor(&provider, &key)?;
        Some(Tls { provider, key, acceptor })
    }

    /// Accepts any player, and only with a proven key.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Connects to exactly this player, to speak this protocol.
    pub(crate) fn connector(&self, expected: &PeerKey, alpn: &[u8]) -> TlsConnector {
        let verifier = OnlyThisKey {
            expected: expected.clone(),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites for TLS 1.3, as `Tls::new` found")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        TlsConnector::from(Arc::new(config))
    }
}

/// The library wants a name; with raw public keys it means nothing, and it is not sent.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("opentsm").expect("a valid name")
}

/// Whose key the finished handshake proved. Refuses a peer that did not agree on this protocol.
pub(crate) fn proven_key(connection: &CommonState, alpn: &[u8]) -> Result<PeerKey, &'static str> {
    if connection.alpn_protocol() != Some(alpn) {
        return Err("it does not speak the link protocol opentsm/1");
    }
    let Some([key]) = connection.peer_certificates() else {
        return Err("it presented no public key, or several");
    };
    canonical_key(key).map_err(|_| "its key is not a canonical EC key on P-256, P-384 or P-521")
}

/// The peer at the dialled address proved another key than the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongKey {
    pub(crate) expected: Fingerprint,
    pub(crate) presented: Fingerprint,
}

impl WrongKey {
    /// Finds it inside of what a failed handshake returned.
    pub(crate) fn in_error(error: &io::Error) -> Option<WrongKey> {
        let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = tls {
            return other.downcast_ref::<WrongKey>().copied();
        }
        None
    }
}

impl fmt::Display for WrongKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the public key presented is {}, expected was {}", self.presented, self.expected)
    }
}

impl std::error::Error for WrongKey {}

/// The other side ended the handshake because it knows another key for this node.
pub(crate) fn is_refusal_of_our_key(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateUnknown)))
}

/// The dialler's verifier: one key and no other.
#[derive(Debug)]
struct OnlyThisKey {
    expected: PeerKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OnlyThisKey {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        only_one(more)?;
        let presented = canonical_key(presented)?;
        if presented != self.expected {
            let wrong =
                WrongKey { expected: self.expected.fingerprint(), presented: presented.fingerprint() };
            return Err(CertificateError::Other(OtherError(Arc::new(wrong))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The listener's verifier: any well-formed key, but proven.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        only_one(more)?;
        canonical_key(presented)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn only_one(more: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    if more.is_empty() { Ok(()) } else { Err(CertificateError::BadEncoding.into()) }
}

/// One key has one form on the wire (rule S-29), so that comparing bytes is comparing keys.
fn canonical_key(presented: &CertificateDer<'_>) -> Result<PeerKey, rustls::Error> {
    PeerKey::from_der(presented)
        .ok()
        .filter(|key| key.der() == presented.as_ref())
        .ok_or_else(|| CertificateError::BadEncoding.into())
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if !SCHEMES.contains(&signature.scheme) {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

fn acceptor(provider: &Arc<CryptoProvider>, key: &Arc<CertifiedKey>) -> Option<TlsAcceptor> {
    let verifier = AnyKey { algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .ok()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.clone())));
    config.alpn_protocols = vec![ALPN.to_vec(), echo::ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Some(TlsAcceptor::from(Arc::new(config)))
}

fn certified_key(identity: &IdentityKey) -> Option<Arc<CertifiedKey>> {
    let der = identity.der().expose().as_slice();
    let key = aws_lc_rs::sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)))
        .or_else(|_| aws_lc_rs::sign::any_ecdsa_type(&PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der))))
        .ok()?;
    // Two libraries read the same bytes: they must have found the same key.
    if key.public_key()?.as_ref() != identity.public().der() {
        return None;
    }
    let public = CertificateDer::from(identity.public().der().to_vec());
    Some(Arc::new(CertifiedKey::new(vec![public], key)))
}
