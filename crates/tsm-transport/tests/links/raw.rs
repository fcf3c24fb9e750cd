//! A dialler that is not ours: it can offer anything and say anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tsm_crypto::IdentityKey;

/// Takes any server, with a raw key or (if `certificates`) with a certificate.
#[derive(Debug)]
struct Trusting {
    certificates: bool,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        !self.certificates
    }
}

/// Offers raw public keys and then has none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Presents its key as if it were an X.509 certificate.
#[derive(Debug)]
struct AsCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for AsCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the dialler shows of itself.
pub(crate) enum Shows {
    RawKey,
    Certificate,
    Nothing,
}

pub(crate) fn config(
    identity: &IdentityKey,
    shows: Shows,
    certificates: bool,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let key = Arc::new(certified(identity, identity));
    let resolver: Arc<dyn ResolvesClientCert> = match shows {
        Shows::RawKey => Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)),
        Shows::Certificate => Arc::new(AsCertificate(key)),
        Shows::Nothing => Arc::new(NoKey),
    };
    with_resolver(resolver, certificates, version)
}

/// Shows the public key of one, signs with the private key of another.
pub(crate) fn impostor(shown: &IdentityKey, own: &IdentityKey) -> ClientConfig {
    let key = Arc::new(certified(shown, own));
    with_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)), false, &rustls::version::TLS13)
}

fn with_resolver(
    resolver: Arc<dyn ResolvesClientCert>,
    certificates: bool,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting { certificates }))
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![b"opentsm/1".to_vec()];
    config
}

/// A good dialler in all that TLS sees.
pub(crate) fn good(identity: &IdentityKey) -> ClientConfig {
    config(identity, Shows::RawKey, false, &rustls::version::TLS13)
}

pub(crate) fn certified(shown: &IdentityKey, own: &IdentityKey) -> CertifiedKey {
    let der = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(own.der().expose().as_slice()));
    let key = aws_lc_rs::sign::any_ecdsa_type(&der).unwrap();
    CertifiedKey::new(vec![CertificateDer::from(shown.public().der().to_vec())], key)
}

pub(crate) async fn tcp_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

pub(crate) async fn tls(config: ClientConfig, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("anything").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// Handshake and a hello in version 1, and the hello of the other side.
pub(crate) async fn greeted(identity: &IdentityKey, player: u16, socket: TcpStream) -> TlsStream<TcpStream> {
    let mut stream = tls(good(identity), socket).await.unwrap();
    stream.write_all(&hello(player)).await.unwrap();
    let mut theirs = [0; 32];
    stream.read_exact(&mut theirs).await.unwrap();
    assert_eq!(theirs[..14], hello(player)[..14]);
    stream
}

/// The 32 bytes of `docs/links.md`.
pub(crate) fn hello(player: u16) -> Vec<u8> {
    [b"\x1c\0\0\0opentsm\0\x01\0".as_slice(), &[7; 16], &player.to_le_bytes()].concat()
}

/// A unit of `docs/links.md` with an announced length of its own.
pub(crate) fn unit(length: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    [length.to_le_bytes().as_slice(), &[kind], body].concat()
}

/// Reads to the end, whichever way it comes.
pub(crate) async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    rest
}
