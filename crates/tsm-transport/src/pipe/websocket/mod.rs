//! Pipes by WebSocket (RFC 6455): for nodes behind HTTP proxies, and for phones in networks that let
//! nothing else out.
//!
//! The bytes of a link, which are TLS of its own, travel in binary messages. `wss` puts HTTPS around
//! them, which proves a web server's name to the dialler and matters to the proxies on the way only: who
//! the other node is, the link finds out by itself, and who ends the HTTPS sees what the link encrypted.
//!
//! Without the feature `websocket` the types are here, and dialling and listening fail with that reason.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "errors of libraries are sorted by the few that say something"
)]

#[cfg(not(feature = "websocket"))]
mod absent;
#[cfg(feature = "websocket")]
mod accept;
#[cfg(feature = "websocket")]
mod dial;
#[cfg(feature = "websocket")]
mod stream;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{InconsistentKeys, ServerConfig};

use crate::pipe::trust::{CertificateError, certificates};

#[cfg(not(feature = "websocket"))]
pub(super) use self::absent::{WebDialler, WebListener};
#[cfg(feature = "websocket")]
pub(super) use self::accept::WebListener;
#[cfg(feature = "websocket")]
pub(super) use self::dial::WebDialler;

/// The subprotocol that the dialler asks for and the listener answers with.
pub const SUBPROTOCOL: &str = "opentsm.1";

/// What both sides of an outer TLS say that they speak in it.
const HTTP: &[u8] = b"http/1.1";

/// What a `wss` port proves itself with: a certificate chain and its private key.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Certificate {
    /// Reads a chain, the port's own certificate first, and the private key of that one; both are PEM.
    pub fn from_pem(chain: &[u8], private_key: &[u8]) -> Result<Self, CertificateError> {
        let chain = certificates(chain)?;
        let private_key =
            PrivateKeyDer::from_pem_slice(private_key).map_err(|_| CertificateError::NoPrivateKey)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private_key))
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::OtherKey,
                _ => CertificateError::Unusable,
            })?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(Certificate(Arc::new(config)))
    }
}

impl PartialEq for Certificate {
    /// Whether both come from one reading.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}
