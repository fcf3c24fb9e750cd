//! `[MPCRedisServer]`.

use tsm_transport::broker::redis::RedisConfig;

use super::*;

/// The good file with this section; `{url}` is the least that it needs.
fn with(keys: &str) -> String {
    format!("{GOOD}[MPCRedisServer]\nServerURL = \"redis://canary:canary@redis:7000\"\n{keys}")
}

fn redis(text: &str) -> RedisConfig {
    let embedded = outside(|outside| parse_embedded_with(text, outside)).unwrap();
    let (Some(BrokerConfig::Redis(embedded)), Some(BrokerConfig::Redis(serving))) =
        (embedded.broker, good(text).broker)
    else {
        panic!("no Redis");
    };
    assert_eq!(embedded, serving);
    serving
}

#[test]
fn every_key_arrives_or_has_its_default() {
    let server = || "redis://canary:canary@redis:7000".parse().unwrap();
    assert_eq!(redis(&with("")), RedisConfig::new(server()));
    let all = "SendBatchSize = 3\nReceiveBatchSize = 4\nMaxMessageReceivers = 5\nMaxSessions = 6\n\
               ExpireKeys = true\nClusterMode = true\n";
    let wanted = RedisConfig {
        send_batch: 3,
        receive_batch: 4,
        expire_keys: true,
        cluster: true,
        ..RedisConfig::new(server())
    };
    assert_eq!(redis(&with(all)), wanted);
    assert!(good(GOOD).broker.is_none());
}

#[track_caller]
fn refused(text: &str, code: &str, key: &str) -> String {
    let problems = parse_here(text).unwrap_err();
    assert_eq!(codes(&problems), [code], "{}", told(&problems));
    assert_eq!(problems[0].key, key);
    told(&problems)
}

#[test]
fn bad_values_are_refused_by_code_and_key() {
    for key in ["SendBatchSize", "ReceiveBatchSize", "MaxMessageReceivers"] {
        for value in ["0", "1001"] {
            let place = format!("MPCRedisServer.{key}");
            refused(&with(&format!("{key} = {value}\n")), "config.out_of_range", &place);
        }
    }
    refused(&with("MaxSessions = 0\n"), "config.out_of_range", "MPCRedisServer.MaxSessions");
    refused(&with("ExpireKeys = 1\n"), "config.wrong_type", "MPCRedisServer.ExpireKeys");
    refused(&with("ServerUrl = \"x\"\n"), "config.unknown_key", "MPCRedisServer.ServerUrl");
    let without = format!("{GOOD}[MPCRedisServer]\n");
    refused(&without, "config.missing", "MPCRedisServer.ServerURL");
}

#[test]
fn s107_a_bad_url_is_refused_and_no_url_is_shown() {
    for url in ["canary", "http://canary@h", "redis://canary@h", "redis://canary:canary@h:canary"] {
        let text = with("").replace("redis://canary:canary@redis:7000", url);
        assert!(!refused(&text, "config.bad_server_url", "MPCRedisServer.ServerURL").contains("canary"));
    }
    let text = with("ClusterMode = true\n").replace(":7000", ":7000/3");
    assert!(!refused(&text, "config.conflict", "MPCRedisServer.ServerURL").contains("canary"));
    assert!(!format!("{:?}", good(&with(""))).contains("canary"));
}

#[test]
fn with_a_broker_no_player_needs_an_address_and_broker_is_one() {
    let at = "Address = \"tcp://tsm-node2:9002\"";
    let by_broker = |text: &str| text.replace(at, "Address = \"broker://\"");
    let config = good(&by_broker(&with("")));
    assert_eq!(config.players[&2].address, Some(Reach::Dial(Address::broker())));
    assert_eq!(config.warnings, []);
    let without_address =
        good(&with("").replace(at, "").replace("[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"", ""));
    assert_eq!(without_address.warnings, []);
    assert_eq!(without_address.mpc_listen, None);
    refused(&by_broker(GOOD), "config.bad_address", "Players.2.Address");
}
