//! TLS to servers that are no players: web servers on the way to one, and message brokers.
//!
//! It proves a server's name, hides from others who talks to whom, and protects logins. Links have a TLS
//! of their own inside, and do not depend on it.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

#[cfg(any(feature = "amqp", feature = "redis", feature = "websocket"))]
pub(super) use self::client::TlsClient;

/// Certificate authorities that are trusted besides those of the operating system (on Android: instead of
/// those). None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads one or more certificates in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let roots = certificates(pem)?;
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|_| CertificateError::Unusable)?;
        }
        Ok(Roots(roots))
    }
}

/// Of a text in PEM, one or more.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(CertificateError::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(CertificateError::BrokenPem),
    }
}

/// Why certificates or their key were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// There is no `BEGIN CERTIFICATE`.
    NoCertificate,
    /// A certificate in PEM is cut short or damaged.
    BrokenPem,
    /// There is no private key in PEM, or one under a password.
    NoPrivateKey,
    /// The private key belongs to another certificate.
    OtherKey,
    /// A certificate or key of a kind that TLS here cannot use.
    Unusable,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateError::NoCertificate => "there is no certificate in PEM (-----BEGIN CERTIFICATE-----)",
            CertificateError::BrokenPem => "a certificate in PEM is cut short or damaged",
            CertificateError::NoPrivateKey => "there is no private key in PEM, or one under a password",
            CertificateError::OtherKey => "the private key does not belong to the first certificate",
            CertificateError::Unusable => "a certificate or key is damaged, or of a kind that cannot be used",
        })
    }
}

impl std::error::Error for CertificateError {}

#[cfg(any(feature = "amqp", feature = "redis", feature = "websocket"))]
mod client {
    use std::sync::Arc;

    use rustls::client::danger::ServerCertVerifier;
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, Error};
    use rustls_platform_verifier::Verifier;
    use tokio::io::{AsyncRead, AsyncWrite};
    use tokio::sync::OnceCell;
    use tokio::task::spawn_blocking;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::Roots;

    /// Connects to servers that these authorities, or those of the system, vouch for.
    pub(in crate::pipe) struct TlsClient {
        roots: Roots,
        protocol: Option<&'static [u8]>,
        /// Made when first needed: reading the system's authorities takes a while.
        config: OnceCell<Arc<ClientConfig>>,
    }

    impl TlsClient {
        /// `protocol`: what is spoken in it (ALPN), where servers want to know.
        pub(in crate::pipe) fn new(roots: Roots, protocol: Option<&'static [u8]>) -> Self {
            TlsClient { roots, protocol, config: OnceCell::new() }
        }

        /// The error says what is wrong with the server, or its certificate.
        pub(in crate::pipe) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, String>
        where
            S: AsyncRead + AsyncWrite + Unpin,
        {
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| format!("`{host}` can be no name in a certificate"))?;
            let connector = TlsConnector::from(self.config().await?);
            connector.connect(name, stream).await.map_err(|error| error.to_string())
        }

        async fn config(&self) -> Result<Arc<ClientConfig>, String> {
            let make = || async {
                let (roots, protocol) = (self.roots.0.clone(), self.protocol);
                let made = spawn_blocking(move || client_config(roots, protocol)).await;
                made.map_err(|error| error.to_string())?.map_err(|error| {
                    format!("the certificate authorities of this system cannot be used: {error}")
                })
            };
            self.config.get_or_try_init(make).await.cloned()
        }
    }

    fn client_config(
        roots: Vec<CertificateDer<'static>>,
        protocol: Option<&[u8]>,
    ) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier(roots, provider)?)
            .with_no_client_auth();
        config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Arc::new(config))
    }

    #[cfg(not(target_os = "android"))]
    fn verifier(
        roots: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        Ok(Arc::new(Verifier::new_with_extra_roots(roots, provider)?))
    }

    /// Android's own verifier knows no further authorities.
    #[cfg(target_os = "android")]
    fn verifier(
        roots: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        if roots.is_empty() {
            return Ok(Arc::new(Verifier::new(provider)?));
        }
        let mut store = rustls::RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(verifier.map_err(|error| Error::General(error.to_string()))?)
    }
}
