//! A reverse proxy: HTTPS from outside, HTTP to the node, and a record of all that it passes on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One direction of one connection, without the HTTP at its beginning.
type Record = Arc<Mutex<Vec<u8>>>;

pub(crate) struct WebProxy {
    pub(crate) address: String,
    /// Whom to trust, in PEM.
    pub(crate) root: String,
    records: Arc<Mutex<Vec<Record>>>,
    cuts: watch::Sender<()>,
    /// Dropping it cuts every connection.
    _task: JoinSet<()>,
}

impl WebProxy {
    pub(crate) async fn before(node: SocketAddr) -> WebProxy {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (records, (cuts, cut)) = (Arc::<Mutex<Vec<Record>>>::default(), watch::channel(()));
        let mut task = JoinSet::new();
        let (address, acceptor) = (port.local_addr().unwrap(), TlsAcceptor::from(Arc::new(config)));
        task.spawn(accept(port, acceptor, node, records.clone(), cut));
        let address = format!("wss://{address}/tsm/node2");
        WebProxy { address, root: own.cert.pem(), records, cuts, _task: task }
    }

    /// Ends every connection that there is.
    pub(crate) fn cut(&self) {
        self.cuts.send(()).unwrap();
    }

    /// What each connection carried in each direction, taken out of its messages.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.records.lock().unwrap().iter().map(|record| contents(&record.lock().unwrap())).collect()
    }
}

async fn accept(
    port: TcpListener,
    acceptor: TlsAcceptor,
    node: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    cut: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = port.accept().await.unwrap();
        let (acceptor, records, mut cut) = (acceptor.clone(), records.clone(), cut.clone());
        // Cuts before its time are not its own.
        cut.mark_unchanged();
        connections.spawn(async move {
            let Ok(client) = acceptor.accept(client).await else { return };
            tokio::select! {
                () = pass_on(client, node, &records) => {}
                changed = cut.changed() => drop(changed),
            }
        });
    }
}

/// The request with another path, host and some headers more, as proxies do it; then bytes.
async fn pass_on(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    node: SocketAddr,
    records: &Mutex<Vec<Record>>,
) {
    let request = head(&mut client).await;
    let (line, headers) = request.split_once("\r\n").unwrap();
    assert_eq!(line, "GET /tsm/node2 HTTP/1.1");
    assert!(headers.contains("Host: 127.0.0.1") || headers.contains("host: 127.0.0.1"), "{headers}");
    let kept = headers.lines().filter(|line| !line.is_empty() && !line.to_lowercase().starts_with("host:"));
    let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
    let mut node = TcpStream::connect(node).await.unwrap();
    let forwarded = format!(
        "GET /inside HTTP/1.1\r\nHost: node2.internal\r\nX-Forwarded-For: 203.0.113.9\r\nVia: 1.1 proxy\r\n{kept}\r\n"
    );
    node.write_all(forwarded.as_bytes()).await.unwrap();
    let answer = head(&mut node).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.write_all(answer.as_bytes()).await.unwrap();
    client.flush().await.unwrap();

    let [from_client, from_node] = [Record::default(), Record::default()];
    records.lock().unwrap().extend([from_client.clone(), from_node.clone()]);
    let ((client_in, client_out), (node_in, node_out)) = (split(client), node.into_split());
    tokio::join!(pump(client_in, node_out, &from_client), pump(node_in, client_out, &from_node));
}

async fn head(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, record: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        record.lock().unwrap().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.and(to.flush().await).is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}

/// The content of binary messages, one after the other (RFC 6455, section 5.2).
fn contents(mut frames: &[u8]) -> Vec<u8> {
    let mut contents = Vec::new();
    while let [kind, length, rest @ ..] = frames {
        let (wide, masked) = (usize::from(length & 0x7f), length & 0x80 != 0);
        let digits = match wide {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_at = digits;
        let begin = digits + if masked { 4 } else { 0 };
        if rest.len() < begin {
            break;
        }
        let number = rest[..digits].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let length = if digits == 0 { wide } else { number };
        let mask: [u8; 4] = if masked { rest[mask_at..begin].try_into().unwrap() } else { [0; 4] };
        let Some(body) = rest.get(begin..begin + length) else { break };
        if matches!(kind & 0x0f, 0 | 2) {
            contents.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        frames = &rest[begin + length..];
    }
    contents
}
