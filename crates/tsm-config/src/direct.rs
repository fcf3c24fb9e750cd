//! How this node and other players reach each other without a broker: `[MPCTCPServer]`,
//! `[MPCDirectServer]`, `[MPCWebSocketServer]` and `[MPCWebSocketClient]`.

use std::net::SocketAddr;
use std::path::Path;

use tsm_transport::Listen;
use tsm_transport::websocket::Certificate;
use tsm_transport::{CertificateError, Roots};
use zeroize::Zeroizing;

use super::Outside;
use super::document::{Document, Found};
use super::problem::{Place, ProblemCode, Problems};
use super::read::{check_ports, ip};

/// What there is beside a plain TCP port.
#[derive(Clone, Debug, Default)]
pub struct DirectLinks {
    /// The port for WebSockets; `None` without one.
    pub web_listen: Option<SocketAddr>,
    /// With one the port for WebSockets is `wss`.
    pub certificate: Option<Certificate>,
    /// Whom this node trusts at `wss://`, besides the authorities of the operating system.
    pub web_roots: Roots,
}

impl DirectLinks {
    /// Where to wait for players: at the TCP port, if there is one, and then at the one for WebSockets.
    pub fn listeners(&self, tcp: Option<SocketAddr>) -> Vec<Listen> {
        let web = |at| Listen::WebSocket { at, certificate: self.certificate.clone() };
        tcp.map(Listen::Tcp).into_iter().chain(self.web_listen.map(web)).collect()
    }
}

/// The ports for other players, and where the file has them.
#[derive(Default)]
pub(super) struct Listening {
    pub(super) tcp: Option<SocketAddr>,
    pub(super) links: DirectLinks,
    /// Whether the file asks for a port, if only for one that was refused.
    pub(super) asked: bool,
    places: Vec<(SocketAddr, Place)>,
}

/// Reads all of it. What was refused is left out, with an error.
pub(super) fn listening(document: &Document, outside: &Outside<'_>, problems: &mut Problems) -> Listening {
    let mut listening = Listening::default();
    if let Some(direct) = document.one("MPCDirectServer") {
        check_alone(document, problems);
        let [tcp, web] = listening.read_ports(direct, ["Port", "WSPort"], problems);
        (listening.tcp, listening.links.web_listen) = (tcp, web);
        listening.links.certificate = certificate(direct, outside, problems);
    } else {
        let mut port = |section| listening.read_ports(document.one(section)?, ["Port"], problems)[0];
        let (tcp, web) = (port("MPCTCPServer"), port("MPCWebSocketServer"));
        (listening.tcp, listening.links.web_listen) = (tcp, web);
    }
    listening.check_apart(problems);
    if let Some(client) = document.one("MPCWebSocketClient") {
        listening.links.web_roots = roots(client, outside, problems);
    }
    listening
}

impl Listening {
    /// The ports of a section; `0` is none.
    fn read_ports<const N: usize>(
        &mut self,
        section: &Found,
        keys: [&'static str; N],
        problems: &mut Problems,
    ) -> [Option<SocketAddr>; N] {
        let ip = ip(section, problems);
        keys.map(|key| {
            let port = section.integer::<u16>(key);
            self.asked |= port != Some(0);
            let at = SocketAddr::new(ip?, port.filter(|port| *port != 0)?);
            self.places.push((at, section.place_of(key)));
            Some(at)
        })
    }

    /// There are two at most.
    fn check_apart(&self, problems: &mut Problems) {
        if let [(tcp, _), (web, place)] = &self.places[..] {
            check_ports(*tcp, *web, place, problems);
        }
    }

    /// The port for SDKs is another one.
    pub(super) fn check_apart_from(&self, sdk: SocketAddr, problems: &mut Problems) {
        for (at, place) in &self.places {
            check_ports(sdk, *at, place, problems);
        }
    }

    /// All of them.
    pub(super) fn ports(&self) -> impl Iterator<Item = SocketAddr> {
        self.places.iter().map(|(at, _)| *at)
    }
}

/// `[MPCDirectServer]` is all that the two older sections are.
fn check_alone(document: &Document, problems: &mut Problems) {
    for older in ["MPCTCPServer", "MPCWebSocketServer"] {
        if let Some(found) = document.one(older) {
            problems.error(
                ProblemCode::Conflict,
                &found.place,
                format!("[{older}] and [MPCDirectServer] exclude each other"),
                "keep [MPCDirectServer]: its Port is for TCP, its WSPort for WebSockets",
            );
        }
    }
}

fn certificate(direct: &Found, outside: &Outside<'_>, problems: &mut Problems) -> Option<Certificate> {
    let chain = pem(direct, ["CertificateFile", "CertificateBytes"], outside, problems)?;
    let key = pem(direct, ["CertificateKeyFile", "CertificateKeyBytes"], outside, problems)?;
    let (chain, key) = match (chain, key) {
        (None, None) => return None,
        (Some(chain), Some(key)) => (chain, key),
        (Some(_), None) => {
            let what = "the certificate of WSPort needs its private key";
            missing(direct, "CertificateKeyFile", what, problems);
            return None;
        }
        (None, Some(_)) => {
            let what = "the private key of WSPort needs its certificate";
            missing(direct, "CertificateFile", what, problems);
            return None;
        }
    };
    if direct.integer("WSPort") == Some(0) {
        problems.error(
            ProblemCode::Conflict,
            &chain.place,
            "the certificate is for WSPort, which is off",
            "give a WSPort, or remove the certificate: TCP is protected by the players' keys",
        );
        return None;
    }
    match Certificate::from_pem(&chain.text, &key.text) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            let of_key = matches!(error, CertificateError::NoPrivateKey | CertificateError::OtherKey);
            refuse(if of_key { &key.place } else { &chain.place }, error, problems);
            None
        }
    }
}

/// Whom the section says to trust besides the system's authorities.
pub(super) fn roots(client: &Found, outside: &Outside<'_>, problems: &mut Problems) -> Roots {
    let Some(Some(pem)) = pem(client, ["RootCAFile", "RootCABytes"], outside, problems) else {
        return Roots::default();
    };
    Roots::from_pem(&pem.text).unwrap_or_else(|error| {
        refuse(&pem.place, error, problems);
        Roots::default()
    })
}

/// Text in PEM, and where the file has it or names it.
struct Pem {
    text: Zeroizing<Vec<u8>>,
    place: Place,
}

/// From a file or from the configuration itself; `None` only after an error, `Some(None)` where neither
/// is given.
fn pem(
    section: &Found,
    [file, bytes]: [&str; 2],
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<Option<Pem>> {
    match (section.has(file), section.has(bytes)) {
        (false, false) => Some(None),
        (false, true) => {
            let (text, place) = section.text(bytes)?;
            Some(Some(Pem { text: Zeroizing::new(text.as_bytes().to_vec()), place }))
        }
        (true, false) => {
            let (path, place) = section.text(file)?;
            match (outside.file)(Path::new(path)) {
                Ok(text) => Some(Some(Pem { text, place })),
                // The kind alone: the system's sentence may hold the path.
                Err(error) => {
                    let what = format!("the file cannot be read: {}", error.kind());
                    let hint = "check the path, and that the node's user may read the file";
                    problems.error(ProblemCode::BadCertificate, &place, what, hint);
                    None
                }
            }
        }
        (true, true) => {
            problems.error(
                ProblemCode::Conflict,
                &section.place_of(bytes),
                format!("{file} and {bytes} exclude each other"),
                "keep one of them",
            );
            None
        }
    }
}

fn missing(section: &Found, key: &'static str, what: &str, problems: &mut Problems) {
    problems.error(
        ProblemCode::Missing,
        &section.place_of(key),
        what,
        "write both, each as a File or as Bytes; without either the port is ws and not wss",
    );
}

fn refuse(place: &Place, error: CertificateError, problems: &mut Problems) {
    let hint = "write certificates and keys as PEM, the port's own certificate before those that vouch for it, and \
                the key without a password";
    problems.error(ProblemCode::BadCertificate, place, error.to_string(), hint);
}
