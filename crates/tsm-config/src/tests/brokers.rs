//! Message brokers.

use std::time::Duration;

use tsm_transport::broker::amqp::AmqpConfig;

use super::*;

const URL: &str = "ServerURL = \"amqp://tsm:hunter2@rabbit/tsm\"";

fn with(lines: &str) -> String {
    format!("{GOOD}\n[MPCAMQPServer]\n{lines}\n")
}

fn amqp(text: &str) -> AmqpConfig {
    match good(text).broker {
        Some(BrokerConfig::Amqp(config)) => config,
        Some(BrokerConfig::Redis(_)) | None => panic!("no RabbitMQ"),
    }
}

/// All but user, password and virtual host.
fn shown(config: &AmqpConfig) -> String {
    format!("{config:?}")
}

fn one_problem(text: &str) -> ConfigProblem {
    let problems = parse_here(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn a_broker_stands_beside_a_port_and_has_the_documented_defaults() {
    assert!(good(GOOD).broker.is_none());
    let config = good(&with(URL));
    assert!(config.mpc_listen.is_some());
    let expected = AmqpConfig::new("amqp://tsm:hunter2@rabbit:5672/tsm".parse().unwrap());
    assert_eq!(shown(&amqp(&with(URL))), shown(&expected));
    let all = format!(
        "{URL}\nRetryDelay = \"1m\"\nChannelPoolSize = 7\nPublisherConfirms = true\nPersistMessages = true\n\
         SkipSetup = true"
    );
    let expected = AmqpConfig {
        retry_delay: Duration::from_secs(60),
        channel_pool_size: 7,
        publisher_confirms: true,
        persist_messages: true,
        skip_setup: true,
        ..expected
    };
    assert_eq!(shown(&amqp(&with(&all))), shown(&expected));
}

#[test]
fn with_a_broker_no_player_needs_an_address_and_no_node_a_port() {
    let text = with(URL).replace("[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"", "");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("Address = \"tcp"))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = good(&text);
    assert!(config.mpc_listen.is_none());
    let said: Vec<_> = config.warnings.iter().map(|warning| warning.code).collect();
    assert!(
        !said.contains(&ProblemCode::NoAddress) && !said.contains(&ProblemCode::NotListening),
        "{said:?}"
    );
}

#[test]
fn broker_as_an_address_needs_a_broker_in_the_file() {
    let by_broker = |text: &str| -> String {
        let replaced = |line: &str| match line.starts_with("Address = \"tcp") {
            true => "Address = \"broker://\"\n".to_owned(),
            false => format!("{line}\n"),
        };
        text.lines().map(replaced).collect()
    };
    good(&by_broker(&with(URL)));
    let problem = one_problem(&by_broker(GOOD));
    assert_eq!((problem.code, problem.key.as_str()), (ProblemCode::BadAddress, "Players.2.Address"));
    assert!(problem.what.contains("no message broker"));
}

#[test]
fn s107_a_url_that_is_none_is_refused_without_being_quoted() {
    for url in ["http://u:hunter2@host", "amqp://u:hunter2@host:x", "amqp://u:hunter2@host/v?x=1", "hunter2"]
    {
        let problem = one_problem(&with(&format!("ServerURL = \"{url}\"")));
        assert_eq!(
            (problem.code, problem.key.as_str()),
            (ProblemCode::BadServerUrl, "MPCAMQPServer.ServerURL")
        );
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
    let shown = format!("{:?}", good(&with(URL)));
    assert!(shown.contains("rabbit") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn every_key_of_a_broker_has_a_type_and_bounds() {
    for (line, key) in [
        ("ChannelPoolSize = 0", "MPCAMQPServer.ChannelPoolSize"),
        ("ChannelPoolSize = 65", "MPCAMQPServer.ChannelPoolSize"),
        ("RetryDelay = \"1ms\"", "MPCAMQPServer.RetryDelay"),
        ("SkipSetup = 1", "MPCAMQPServer.SkipSetup"),
        ("PublisherConfirms = \"true\"", "MPCAMQPServer.PublisherConfirms"),
        ("PersistMessages = 0", "MPCAMQPServer.PersistMessages"),
    ] {
        assert_eq!(one_problem(&with(&format!("{URL}\n{line}"))).key, key);
    }
    assert_eq!(one_problem(&with("")).key, "MPCAMQPServer.ServerURL");
}
