//! The configuration of a node inside an app.

use super::*;

/// What an app needs: no `[SDKServer]`, no API keys.
const PHONE: &str = r#"
[Player]
Index = 0
PrivateKey = "{{ env `KEY` }}"

[Players.2]
Address = "tcp://tsm-node2:9002"
PublicKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/t4PfL0KQQAWpZ1q6CikFXw0GeY3lgTUDt8HPT0Bw3kCJ44jIp8QUYZNCNIO/ofZPNwkKi8i1hffK5wheWbJWA=="

[Database]
DriverName = "sqlite3"
DataSourceName = "/data/phone.db"
EncryptorMasterPassword = "a long random password"

[DKLS23]
"#;

fn parse_embedded_here(text: &str) -> Result<EmbeddedConfig, Vec<ConfigProblem>> {
    outside(|outside| parse_embedded_with(text, outside))
}

fn embedded(text: &str) -> EmbeddedConfig {
    parse_embedded_here(text).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

#[test]
fn a_node_inside_an_app_needs_no_server_and_no_login() {
    let config = embedded(PHONE);
    assert_eq!((config.player, config.mpc_listen), (0, None));
    assert_eq!(config.players.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(config.warnings, []);
    let problems = parse_here(PHONE).unwrap_err();
    assert_eq!(codes(&problems), ["config.missing"]);
    assert_eq!(problems[0].key, "SDKServer");
}

#[test]
fn what_serves_sdks_is_ignored_with_a_warning() {
    let config = embedded(GOOD);
    assert_eq!(codes(&config.warnings), ["config.not_used", "config.not_used"]);
    assert_eq!(config.warnings[0].key, "SDKServer");
    assert!(config.warnings[1].key.starts_with("Authentication.APIKeys"), "{}", config.warnings[1]);
}

#[test]
fn all_else_is_read_as_for_a_server() {
    let (server, app) = (good(GOOD), embedded(GOOD));
    assert_eq!((server.player, server.mpc_listen), (app.player, app.mpc_listen));
    assert_eq!(server.identity.public(), app.identity.public());
    assert_eq!(server.players, app.players);
    assert_eq!(format!("{:?}", server.database), format!("{:?}", app.database));
    assert_eq!(server.database.data_source.expose(), app.database.data_source.expose());
    assert_eq!(server.engine, app.engine);
}

#[test]
fn all_mistakes_are_told_for_an_app_too() {
    let text = PHONE.replace("Index = 0\n", "").replace("[Database]", "[SDKServer]\nPrt = 1\n[Database]");
    let problems = parse_embedded_here(&text).unwrap_err();
    assert_eq!(codes(&problems), ["config.missing", "config.unknown_key"], "{}", told(&problems));
    let empty = parse_embedded_here("").unwrap_err();
    let keys: Vec<&str> = empty.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["Database", "Player"]);
}
