//! The node's own ports: free, or served by this node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tsm_transport::echo::{Echo, EchoError};
use tsm_types::Address;

use super::Finding;
use crate::config::NodeConfig;

const LONGEST: Duration = Duration::from_secs(2);

pub(super) async fn examine(config: &NodeConfig, echo: &Echo, database_in_use: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Whoever answers with the node's key is the node.
    let mut running = database_in_use;
    for (section, at) in [("players", config.mpc_listen), ("players' WebSockets", config.direct.web_listen)] {
        let Some(at) = at else { continue };
        let port = Port { what: section, at };
        let finding = match port.bound() {
            Ok(()) => port.free(database_in_use),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && section == "players" => {
                let here = Address::new(dialled(at).ip().to_string(), at.port());
                match echo.ask(config.identity.public(), &here).await {
                    Ok(_) => {
                        running = true;
                        port.served("it proves this node's key")
                    }
                    Err(EchoError::WrongKey(why)) => {
                        port.taken(&format!("another node listens there: {why}"))
                    }
                    Err(why) => port.taken(&why.to_string()),
                }
            }
            // A certificate of the proxy may be between: the database tells.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && running => {
                port.served("this node runs")
            }
            Err(error) => port.unusable(&error),
        };
        findings.push(finding);
    }
    let management = config.management.as_ref().map(|management| management.listen);
    for (what, at) in [("SDKs", Some(config.sdk_listen)), ("management", management)] {
        let Some(at) = at else { continue };
        let port = Port { what, at };
        let finding = match port.bound() {
            Ok(()) => port.free(running),
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => port.unusable(&error),
            Err(_) if !is_a_node(at).await => port.taken("what listens there does not answer as a node does"),
            Err(_) if running => port.served("it answers as a node does, and this node runs"),
            Err(_) => port.taken("a node answers, but this one does not run: its database is not in use"),
        };
        findings.push(finding);
    }
    findings
}

struct Port {
    what: &'static str,
    at: SocketAddr,
}

impl Port {
    fn subject(&self) -> String {
        format!("port for {}, {}", self.what, self.at)
    }

    fn bound(&self) -> std::io::Result<()> {
        TcpListener::bind(self.at).map(drop)
    }

    fn free(&self, running: bool) -> Finding {
        if running {
            let found = "free, although this node runs";
            let advice = "the node was started with another configuration: start it again";
            return Finding::warn("port.not_served", self.subject(), found, advice);
        }
        Finding::ok("port.free", self.subject(), "free")
    }

    fn served(&self, how: &str) -> Finding {
        Finding::ok("port.served", self.subject(), format!("served by this node: {how}"))
    }

    fn taken(&self, by: &str) -> Finding {
        let advice = "choose another port, or stop what uses this one (`ss -ltnp` shows it)";
        Finding::fail("port.taken", self.subject(), format!("taken: {by}"), advice)
    }

    fn unusable(&self, error: &std::io::Error) -> Finding {
        let advice = "choose an address of this machine and a port that its user may use (from 1024 on)";
        Finding::fail("port.unusable", self.subject(), format!("cannot be listened at: {error}"), advice)
    }
}

/// Where one reaches who listens there.
fn dialled(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, at.port())
}

/// Whether `/ping` is answered.
async fn is_a_node(at: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(dialled(at)).await?;
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(LONGEST, asked).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.ends_with(b"pong")))
}
