//! Files that are accepted, and what they mean.

use super::*;

const NODE_0: &str = include_str!("../../../../deploy/config0.toml");
const NODE_1: &str = include_str!("../../../../deploy/config1.toml");
const NODE_2: &str = include_str!("../../../../deploy/config2.toml");

fn public(base64: &str) -> Option<IdentityPublicKey> {
    Some(IdentityPublicKey::from_der(&BASE64.decode(base64).unwrap()).unwrap())
}

fn seed_player(host: &str, port: u16, key: &str) -> StaticPlayer {
    let address = Address {
        connection_pool_size: 6,
        connection_lifetime: Duration::from_secs(300),
        ..Address::new(host, port)
    };
    StaticPlayer { address: Some(Reach::Dial(address)), public_key: public(key) }
}

fn seed_player_1() -> StaticPlayer {
    seed_player("tsm-node1", 9001, OWN_PUBLIC)
}

fn seed_player_2() -> StaticPlayer {
    seed_player("tsm-node2", 9002, PUBLIC_2)
}

#[test]
fn the_seeds_files_are_read_as_they_are() {
    let defaults = SessionLimits {
        connect_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(25),
        max_sessions: 1024,
        outcome_lifetime: Duration::from_secs(600),
        reject_conflicting_dynamic_keys: false,
    };
    for (index, text, own_key, players, mpc_port, path, password, login) in [
        (
            0,
            NODE_0,
            PUBLIC_0,
            BTreeMap::from([(1, seed_player_1()), (2, seed_player_2())]),
            None,
            "/tmp/tsm_node_0.sqlite",
            "Q3DTN6BVn2OBhmdzG9KXOci5OIgTQObZh23e3D044f6IN2StBDgBP49jJ0X8NPGN",
            "Node0LoginPassword",
        ),
        (
            1,
            NODE_1,
            OWN_PUBLIC,
            BTreeMap::from([(2, seed_player_2())]),
            Some(9001),
            "/tmp/tsm_node_1.sqlite",
            "encryptorMasterPassword1",
            "Node1LoginPassword",
        ),
        (
            2,
            NODE_2,
            PUBLIC_2,
            BTreeMap::from([(1, seed_player_1())]),
            Some(9002),
            "/tmp/tsm_node_2.sqlite",
            "encryptorMasterPassword2",
            "Node2LoginPassword",
        ),
    ] {
        let config = good(text);
        let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
        assert_eq!(config.player, index);
        assert_eq!(Some(config.identity.public().clone()), public(own_key));
        assert_eq!(config.players, players);
        assert_eq!(config.mpc_listen, mpc_port.map(everywhere));
        assert_eq!(config.sdk_listen, everywhere(8000 + index));
        assert_eq!(config.database.driver, DatabaseDriver::Sqlite);
        assert_eq!(config.database.data_source.expose(), path);
        assert_eq!(config.database.master_password.expose(), password);
        assert_eq!(config.api_keys.authenticate(login), Some("demoapp"));
        assert_eq!(config.api_keys.authenticate("NodeLoginPassword"), None);
        assert_eq!(config.engine.ecdsa, BTreeSet::from(EcdsaFeature::ALL));
        assert_eq!(config.engine.session, defaults);
    }
}

#[test]
fn the_seeds_files_have_no_warnings() {
    for text in [NODE_0, NODE_1, NODE_2] {
        assert_eq!(good(text).warnings, []);
    }
}

#[test]
fn every_built_key_arrives() {
    let config = good(GOOD);
    assert_eq!(config.warnings, []);
    assert_eq!(config.players.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(config.players[&0], StaticPlayer { address: None, public_key: public(PUBLIC_0) });
    assert_eq!(config.players[&2].address, Some(Reach::Dial(Address::new("tsm-node2", 9002))));
    assert_eq!(config.mpc_listen, Some("127.0.0.1:9001".parse().unwrap()));
    assert_eq!(config.sdk_listen, "[::1]:8001".parse().unwrap());
    assert_eq!(config.database.max_open_connections, Some(500));
    assert_eq!(config.database.max_idle_connections, Some(0));
    assert_eq!(config.api_keys.applications(), ["another", "demoapp"]);
    assert_eq!(config.api_keys.authenticate("Node2LoginPassword"), Some("another"));
    assert_eq!(config.engine.ecdsa, BTreeSet::from(EcdsaFeature::ALL));
    let limits = SessionLimits {
        connect_timeout: Duration::from_secs(5),
        session_timeout: Duration::from_secs(90),
        drain_timeout: Duration::from_secs(3),
        max_sessions: 20,
        outcome_lifetime: Duration::from_secs(3600),
        reject_conflicting_dynamic_keys: true,
    };
    assert_eq!(config.engine.session, limits);
}

#[test]
fn what_tenants_may_take_is_read_and_is_the_engines_own_default_where_it_is_left_out() {
    let left_out = good(NODE_1).engine.tenants;
    assert_eq!(left_out.limits, TenantLimits::default());
    assert_eq!(left_out.links, LinkLimits::default());
    let text = "MaxConnections = 1\nMaxSessions = 2\nMaxSessionsPerApplication = 3\nMaxKeys = 4\n\
                MaxKeysPerApplication = 14\n\
                MaxFailedHandshakes = 5\nBlockTime = \"6s\"\nIdleLinkTime = \"7s\"\nMaxIdleLinks = 8\n\
                MaxParkedLinks = 9\nMaxParkedLinksPerSource = 10\nParkedLinkTime = \"11s\"\nMaxPairs = 12\n\
                PairIdleTime = \"13s\"\n";
    let config = good(&format!("{NODE_1}\n[Tenants]\n{text}"));
    let limits = TenantLimits {
        sessions: 2,
        sessions_of_application: Some(3),
        keys: 4,
        keys_of_application: Some(14),
        pairs: 12,
        pair_idle: Duration::from_secs(13),
    };
    let links = LinkLimits {
        connections_of_dynamic: 1,
        failed_handshakes: 5,
        blocked_for: Duration::from_secs(6),
        dynamic_unleased_for: Duration::from_secs(7),
        idle_links: 8,
        parked: 9,
        parked_per_source: 10,
        parked_for: Duration::from_secs(11),
        ..LinkLimits::default()
    };
    let settings = config.engine.settings();
    assert_eq!((settings.tenants, settings.links), (limits, links));
}

#[test]
fn a_file_from_windows_says_the_same() {
    let config = good(&GOOD.replace('\n', "\r\n"));
    assert_eq!(config.sdk_listen.port(), 8001);
}

#[test]
fn a_node_may_list_itself_and_is_not_its_own_peer() {
    let text = format!("{GOOD}\n[Players.1]\nAddress = \"tsm-node1:9001\"\nPublicKey = \"{OWN_PUBLIC}\"\n");
    let config = good(&text);
    assert_eq!(config.players.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(config.warnings, []);
}

#[test]
fn ecdsa_is_what_either_section_enables() {
    let features = GOOD.find("[DKLS19.Features]").unwrap();
    let (before, after) = (&GOOD[..features], &GOOD[GOOD.find("[Session]").unwrap()..]);
    let enabled = |sections: &str| good(&format!("{before}{sections}\n{after}")).engine.ecdsa;
    let all = BTreeSet::from(EcdsaFeature::ALL);

    assert_eq!(enabled(""), BTreeSet::new());
    assert_eq!(enabled("[DKLS19]"), all);
    assert_eq!(enabled("[DKLS23]"), all);
    assert_eq!(enabled("[DKLS19]\n[DKLS23]"), all);
    assert_eq!(enabled("[DKLS19]\n[DKLS23.Features]\nSign = true"), all);
    assert_eq!(enabled("[DKLS23]\n[DKLS23.Features]\nSign = true"), BTreeSet::from([EcdsaFeature::Sign]));
    assert_eq!(enabled("[DKLS23.Features]\nSign = false"), BTreeSet::new());
    assert_eq!(enabled("[DKLS23.Features]"), BTreeSet::new());
    assert_eq!(
        enabled("[DKLS19.Features]\nGenerateKey = true\n[DKLS23.Features]\nPublicKey = true"),
        BTreeSet::from([EcdsaFeature::GenerateKey, EcdsaFeature::PublicKey])
    );
}

#[test]
fn presignatures_are_limited_by_the_smaller_number() {
    let features = GOOD.find("[DKLS19.Features]").unwrap();
    let (before, after) = (&GOOD[..features], &GOOD[GOOD.find("[Session]").unwrap()..]);
    let limits = |sections: &str| {
        let limits = good(&format!("{before}{sections}\n{after}")).engine.presignatures;
        (limits.per_request, limits.in_all)
    };
    assert_eq!(limits(""), (100, 5000));
    assert_eq!(limits("[DKLS23]"), (100, 5000));
    assert_eq!(limits("[DKLS23]\nPresigGenRequestLimit = 8\nPresigGenGlobalLimit = 20"), (8, 20));
    assert_eq!(limits("[DKLS19]\nPresigGenRequestLimit = 9\n[DKLS23]\nPresigGenGlobalLimit = 0"), (9, 0));
}

#[test]
fn s93_derivation_is_bounded_by_the_greater_number_of_either_section() {
    let features = GOOD.find("[DKLS19.Features]").unwrap();
    let (before, after) = (&GOOD[..features], &GOOD[GOOD.find("[Session]").unwrap()..]);
    let bounds = |sections: &str| {
        let config = good(&format!("{before}{sections}\n{after}"));
        let settings = config.engine.settings();
        (settings.min_chain_path_length, settings.derived_keys)
    };
    assert_eq!(bounds(""), (0, 1024));
    assert_eq!(bounds("[DKLS23]"), (0, 1024));
    assert_eq!(bounds("[DKLS23.Features]\nSign = true"), (0, 1024));
    assert_eq!(bounds("[DKLS23]\nMinChainPathLength = 50\nBip32CacheSize = 0"), (50, 0));
    assert_eq!(bounds("[DKLS19]\nMinChainPathLength = 3\n[DKLS23]\nBip32CacheSize = 9"), (3, 9));
    for (one, other) in [("DKLS19", "DKLS23"), ("DKLS23", "DKLS19")] {
        let both = format!("[{one}]\nMinChainPathLength = 3\n[{other}]\nMinChainPathLength = 2");
        assert_eq!(bounds(&both), (3, 1024));
    }
    // What the engine has by itself is what a file without these lines says.
    let engine = Settings::default();
    assert_eq!((engine.min_chain_path_length, engine.derived_keys), (0, 1024));
}

#[test]
fn keys_on_all_three_curves_are_accepted() {
    use elliptic_curve::pkcs8::{EncodePrivateKey, EncodePublicKey};
    let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap();
    // The top byte of P-521 has one bit.
    let p521 = p521::SecretKey::from_slice(&[&[0, 1], [7; 64].as_slice()].concat()).unwrap();
    let public_keys =
        [p384.public_key().to_public_key_der().unwrap(), p521.public_key().to_public_key_der().unwrap()];
    for key in public_keys {
        let base64 = BASE64.encode(key.as_bytes());
        assert_eq!(good(&edited(PUBLIC_2, &base64)).players[&2].public_key, public(&base64));
        let private_keys = [
            p384.to_sec1_der().unwrap().to_vec(),
            p521.to_sec1_der().unwrap().to_vec(),
            p384.to_pkcs8_der().unwrap().as_bytes().to_vec(),
            p521.to_pkcs8_der().unwrap().as_bytes().to_vec(),
        ];
        for private in private_keys {
            good(&edited(OWN_PRIVATE, &BASE64.encode(private)));
        }
    }
}

#[test]
fn values_come_from_the_environment() {
    let config = good(&edited(OWN_PRIVATE, "{{ env `KEY` }}"));
    assert_eq!(Some(config.identity.public().clone()), public(OWN_PUBLIC));
    let config = good(&edited("Port = 8001", r#"Port = "{{ env `PORT` }}""#));
    assert_eq!(config.sdk_listen.port(), 8123);
    let config = good(&edited("Sign = true", r#"Sign = "{{env `SWITCH`}}""#));
    assert!(config.engine.ecdsa.contains(&EcdsaFeature::Sign));
    let config = good(&edited("a long random password", "{{ env `PASSWORD` }}, and more"));
    assert_eq!(config.database.master_password.expose(), "from the environment, and more");
}

#[test]
fn what_the_environment_gives_is_not_a_template_again() {
    let config = good(&edited("a long random password", "{{ env `BRACES` }}"));
    assert_eq!(config.database.master_password.expose(), "{{ env `KEY` }}");
}

#[test]
fn the_key_file_holds_the_same_password() {
    let from = "EncryptorMasterPassword = \"a long random password\"";
    let config = good(&edited(from, "EncryptorKeyFile = \"/key/line\""));
    assert_eq!(config.database.master_password.expose(), "from the file");
}

#[test]
fn a_file_on_disk_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
    assert_eq!(load(&Path::new(folder).join("config2.toml")).unwrap().player, 2);
    let problems = load(&Path::new(folder).join("config9.toml")).unwrap_err();
    assert_eq!(codes(&problems), ["config.unreadable"]);
}

#[test]
fn what_stops_nothing_is_a_warning() {
    let cases: &[(&str, String, Option<&str>, &str)] = &[
        (
            "config.no_api_keys",
            GOOD[..GOOD.find("[[").unwrap()].to_owned() + "\n[DKLS23]",
            None,
            "Authentication.APIKeys",
        ),
        (
            "config.no_address",
            edited("Address = \"tcp://tsm-node2:9002\"", ""),
            Some("[Players.2]"),
            "Players.2",
        ),
        ("config.empty_player", format!("{GOOD}[Players.7]"), Some("[Players.7]"), "Players.7"),
        (
            "config.not_listening",
            edited("[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"", ""),
            Some("[Players.0]"),
            "Players.0",
        ),
        ("config.nothing_enabled", GOOD.replace("= true", "= false"), Some("[DKLS23]"), "DKLS23"),
        (
            "config.not_listening",
            edited("[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"", "")
                .replace("[Players.0]", "[Players.0]\nAddress = \"incoming\""),
            Some("[Players.0]"),
            "Players.0",
        ),
    ];
    for (code, text, at, key) in cases {
        let warnings = good(text).warnings;
        let line = at.map(|at| 1 + text.lines().position(|line| line == at).unwrap());
        assert_eq!(codes(&warnings), [*code]);
        assert_eq!((warnings[0].line, warnings[0].key.as_str()), (line, *key), "{code}");
    }
}
