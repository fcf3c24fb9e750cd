//! The ports for other players, and the certificates of WebSockets.

use tsm_transport::{Listen, Roots};

use super::*;

const TCP: &str = "[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"\n";

/// The good file with these sections instead of `[MPCTCPServer]`.
fn with(sections: &str) -> String {
    format!("{}{sections}", edited(TCP, ""))
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// A self-signed certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["node.example".to_owned()]).unwrap();
    (own.cert.pem(), own.signing_key.serialize_pem())
}

#[track_caller]
fn refused(sections: &str, code: &str, key: &str) {
    let problems = parse_here(&with(sections)).expect_err(sections);
    let found: Vec<_> =
        problems.iter().map(|problem| (problem.code.as_str(), problem.key.as_str())).collect();
    assert_eq!(found, [(code, key)], "{}", told(&problems));
    assert!(problems[0].line.is_some(), "{}", told(&problems));
}

#[test]
fn the_direct_server_has_a_tcp_port_and_one_for_websockets_each_off_with_0() {
    for (lines, tcp, web) in [
        ("", None, None),
        ("Port = 0\nWSPort = 0", None, None),
        ("Port = 9000", Some(9000), None),
        ("WSPort = 9080", None, Some(9080)),
        ("Port = 9000\nWSPort = 9080\nDisableMultiplexing = false", Some(9000), Some(9080)),
    ] {
        let config = good(&with(&format!("[MPCDirectServer]\n{lines}\n")));
        assert_eq!((config.mpc_listen, config.direct.web_listen), (tcp.map(everywhere), web.map(everywhere)));
        assert_eq!(config.direct.certificate, None);
        let places: Vec<_> =
            config.direct.listeners(config.mpc_listen).iter().map(|listen| listen.address().port()).collect();
        assert_eq!(places, [tcp, web].into_iter().flatten().collect::<Vec<_>>());
        // Player 0 would have to dial this node.
        let deaf = tcp.or(web).is_none();
        assert_eq!(codes(&config.warnings).contains(&"config.not_listening"), deaf, "{lines}");
    }
    let config = good(&with("[MPCDirectServer]\nWSPort = 1\nAddress = \"::1\"\n"));
    assert_eq!(config.direct.web_listen, Some("[::1]:1".parse().unwrap()));
}

#[test]
fn the_older_section_is_a_port_for_websockets_and_may_stand_beside_tcp() {
    let older = "[MPCWebSocketServer]\nPort = 9080\n";
    let config = good(&with(older));
    assert_eq!((config.mpc_listen, config.direct.web_listen), (None, Some(everywhere(9080))));
    let config = good(&with(&format!("{TCP}{older}")));
    assert_eq!(config.mpc_listen, Some("127.0.0.1:9001".parse().unwrap()));
    assert_eq!(config.direct.listeners(config.mpc_listen).len(), 2);
    refused("[MPCWebSocketServer]\n", "config.missing", "MPCWebSocketServer.Port");
}

#[test]
fn sections_and_ports_that_exclude_each_other_are_refused() {
    let conflict = "config.conflict";
    let direct = "[MPCDirectServer]\nWSPort = 9080\n";
    refused(&format!("{TCP}{direct}"), conflict, "MPCTCPServer");
    let older = "[MPCWebSocketServer]\nPort = 9081\n";
    refused(&format!("{older}{direct}"), conflict, "MPCWebSocketServer");
    refused("[MPCDirectServer]\nPort = 9000\nWSPort = 9000\n", conflict, "MPCDirectServer.WSPort");
    refused(&format!("{TCP}[MPCWebSocketServer]\nPort = 9001\n"), conflict, "MPCWebSocketServer.Port");
    // The port for SDKs.
    refused("[MPCDirectServer]\nPort = 8001\n", conflict, "MPCDirectServer.Port");
    refused("[MPCDirectServer]\nWSPort = 8001\n", conflict, "MPCDirectServer.WSPort");
    refused("[MPCWebSocketServer]\nPort = 8001\n", conflict, "MPCWebSocketServer.Port");
}

#[test]
fn values_of_the_direct_server_are_checked() {
    let direct = |lines: &str| format!("[MPCDirectServer]\n{lines}\n");
    refused(&direct("Port = 65536"), "config.out_of_range", "MPCDirectServer.Port");
    refused(&direct("WSPort = -1"), "config.out_of_range", "MPCDirectServer.WSPort");
    refused(&direct("WSPort = \"9080\""), "config.wrong_type", "MPCDirectServer.WSPort");
    refused(&direct("DisableMultiplexing = true"), "config.not_built", "MPCDirectServer.DisableMultiplexing");
    let bad = "config.bad_listen_address";
    for ports in ["Port = 1", "WSPort = 1", "Port = 1\nWSPort = 2", ""] {
        refused(&direct(&format!("{ports}\nAddress = \"here\"")), bad, "MPCDirectServer.Address");
    }
    refused("[MPCWebSocketServer]\nPort = 1\nAddress = \"here\"\n", bad, "MPCWebSocketServer.Address");
}

#[test]
fn a_certificate_with_its_key_makes_the_port_wss() {
    let (chain, key) = certificate();
    let given = |lines: &str| with(&format!("[MPCDirectServer]\nWSPort = 9443\n{lines}\n"));
    let bytes = format!("CertificateBytes = '''{chain}'''\nCertificateKeyBytes = '''{key}'''");
    let config = good(&given(&bytes));
    let listeners = config.direct.listeners(None);
    assert!(matches!(&listeners[..], [Listen::WebSocket { certificate: Some(_), .. }]), "{listeners:?}");

    let file = |path: &Path| match path.to_str() {
        Some("/chain.pem") => Ok(Zeroizing::new(chain.clone().into_bytes())),
        Some("/key.pem") => Ok(Zeroizing::new(key.clone().into_bytes())),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let outside = Outside { variable: &|_| None, file: &file };
    let files = "CertificateFile = \"/chain.pem\"\nCertificateKeyFile = \"/key.pem\"";
    assert!(parse_with(&given(files), &outside).unwrap().direct.certificate.is_some());
    let mixed = format!("CertificateFile = \"/chain.pem\"\nCertificateKeyBytes = '''{key}'''");
    assert!(parse_with(&given(&mixed), &outside).unwrap().direct.certificate.is_some());
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_refused() {
    let ((chain, key), (_, other)) = (certificate(), certificate());
    let given = |lines: &str| format!("[MPCDirectServer]\nWSPort = 9443\n{lines}\n");
    let chain = format!("CertificateBytes = '''{chain}'''\n");
    let key = format!("CertificateKeyBytes = '''{key}'''\n");
    refused(&given(&chain), "config.missing", "MPCDirectServer.CertificateKeyFile");
    refused(&given(&key), "config.missing", "MPCDirectServer.CertificateFile");
    let off = format!("[MPCDirectServer]\nPort = 9000\n{chain}{key}");
    refused(&off, "config.conflict", "MPCDirectServer.CertificateBytes");
    let twice = format!("CertificateFile = \"/x\"\n{chain}{key}");
    refused(&given(&twice), "config.conflict", "MPCDirectServer.CertificateBytes");
    let twice = format!("CertificateKeyFile = \"/x\"\n{chain}{key}");
    refused(&given(&twice), "config.conflict", "MPCDirectServer.CertificateKeyBytes");

    let bad = "config.bad_certificate";
    let others = format!("{chain}CertificateKeyBytes = '''{other}'''\n");
    refused(&given(&others), bad, "MPCDirectServer.CertificateKeyBytes");
    let exchanged =
        chain.replace("CertificateBytes", "CertificateKeyBytes") + &key.replace("KeyBytes", "Bytes");
    refused(&given(&exchanged), bad, "MPCDirectServer.CertificateBytes");
    refused(&given(&format!("CertificateBytes = \"x\"\n{key}")), bad, "MPCDirectServer.CertificateBytes");
    refused(
        &given(&format!("{chain}CertificateKeyBytes = \"x\"\n")),
        bad,
        "MPCDirectServer.CertificateKeyBytes",
    );
    let absent = format!("CertificateFile = \"/absent\"\n{key}");
    refused(&given(&absent), bad, "MPCDirectServer.CertificateFile");
}

#[test]
fn authorities_of_servers_come_from_a_file_or_from_the_configuration() {
    let (root, _) = certificate();
    let web = |config: NodeConfig| config.direct.web_roots;
    let broker = |config: NodeConfig| match config.broker.unwrap() {
        BrokerConfig::Amqp(config) => config.roots,
        BrokerConfig::Redis(config) => config.roots,
    };
    type RootsOf<'a> = &'a dyn Fn(NodeConfig) -> Roots;
    let sections: [(&str, &str, RootsOf<'_>); 3] = [
        ("MPCWebSocketClient", "", &web),
        ("MPCAMQPServer", "ServerURL = \"amqps://host\"\n", &broker),
        ("MPCRedisServer", "ServerURL = \"rediss://host\"\n", &broker),
    ];
    for (section, keys, roots) in sections {
        let given = |lines: &str| format!("[{section}]\n{keys}{lines}");
        let bytes = given(&format!("RootCABytes = '''{root}{root}'''\n"));
        assert_ne!(roots(good(&with(&bytes))), Roots::default());
        let file = |_: &Path| Ok(Zeroizing::new(root.clone().into_bytes()));
        let outside = Outside { variable: &|_| None, file: &file };
        let text = with(&given("RootCAFile = \"/root.pem\"\n"));
        assert_ne!(roots(parse_with(&text, &outside).unwrap()), Roots::default());
        assert_eq!(roots(good(&with(&given("")))), Roots::default());

        let (bytes_key, file_key) = (format!("{section}.RootCABytes"), format!("{section}.RootCAFile"));
        refused(&format!("{bytes}RootCAFile = \"/root.pem\"\n"), "config.conflict", &bytes_key);
        let bad = "config.bad_certificate";
        refused(&given("RootCABytes = \"x\"\n"), bad, &bytes_key);
        refused(&given("RootCAFile = \"/absent\"\n"), bad, &file_key);
    }
}

#[test]
fn players_may_be_reached_by_websocket() {
    for address in ["ws://node2:9080/tsm", "wss://node2.example/tsm/2?connectionPoolSize=6"] {
        let config = good(&edited("tcp://tsm-node2:9002", address));
        assert_eq!(
            config.players[&2].address.as_ref().unwrap().to_string().split(['/', ':']).next(),
            address.split(':').next()
        );
    }
}
