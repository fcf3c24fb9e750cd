//! `deploy/` fits together: the files that Compose mounts, the ports that it maps, the names that
//! the nodes call each other.

use saphyr::{LoadableYamlNode, Yaml};
use tsm_transport::broker::redis::RedisConfig;
use tsm_transport::broker::redis::names::acl_rules;

use super::*;

fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Service {
    image: String,
    /// Port on the host and in the container.
    ports: Vec<(u16, u16)>,
    config: NodeConfig,
}

fn texts(list: &Yaml<'_>) -> Vec<String> {
    list.as_sequence().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn services() -> BTreeMap<String, Service> {
    services_in(".")
}

/// The nodes of the Compose file in this folder.
fn services_in(folder: &str) -> BTreeMap<String, Service> {
    let text = deployed(&format!("{folder}/docker-compose.yml"));
    let documents = Yaml::load_from_str(&text).unwrap();
    let services = documents[0].as_mapping_get("services").unwrap().as_mapping().unwrap();
    let named = services.iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), service));
    let nodes = named.filter(|(name, _)| name.starts_with("tsm-node"));
    nodes.map(|(name, service)| (name, read(folder, service))).collect()
}

fn read(folder: &str, service: &Yaml<'_>) -> Service {
    let get = |key: &str| service.as_mapping_get(key).unwrap();
    assert_eq!(texts(get("environment")), ["CONFIG_FILE=/config/config.toml"]);
    let volumes = texts(get("volumes"));
    let mounted = volumes[0].strip_prefix("./").and_then(|rest| rest.strip_suffix(":/config/config.toml:ro"));
    let port = |text: &str| text.parse().unwrap();
    let pair = |text: &String| text.split_once(':').map(|(host, inside)| (port(host), port(inside))).unwrap();
    Service {
        image: get("image").as_str().unwrap().to_owned(),
        ports: texts(get("ports")).iter().map(pair).collect(),
        config: good(&deployed(&format!("{folder}/{}", mounted.unwrap()))),
    }
}

#[test]
fn compose_runs_the_three_nodes_of_the_seed() {
    let services = services();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["tsm-node0", "tsm-node1", "tsm-node2"]);
    for (index, (name, service)) in services.iter().enumerate() {
        assert_eq!(service.image, "opentsm/node");
        assert_eq!(usize::from(service.config.player), index, "{name}");
    }
    let sdk: Vec<_> = services.values().map(|service| service.ports[0]).collect();
    assert_eq!(sdk, [(8500, 8000), (8501, 8001), (8502, 8002)]);
}

#[test]
fn the_nodes_behind_rabbitmq_are_the_seeds_with_a_broker_and_without_ports() {
    let (direct, behind) = (services(), services_in("rabbitmq/"));
    assert_eq!(behind.keys().collect::<Vec<_>>(), direct.keys().collect::<Vec<_>>());
    let definitions = deployed("rabbitmq/definitions.json");
    for (name, service) in behind {
        let (config, seeds) = (&service.config, &direct[&name].config);
        assert_eq!(config.mpc_listen, None);
        assert!(config.players.values().all(|player| player.address.is_none()));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.identity.public(), seeds.identity.public());
        assert_eq!((service.ports.len(), service.ports[0]), (1, direct[&name].ports[0]));
        let Some(BrokerConfig::Amqp(amqp)) = &config.broker else { panic!("{name}") };
        assert_eq!(amqp.url.to_string(), "amqp://tsm-rabbitmq:5672");
        // The rights that `tsm player id` prints, as JSON has them.
        let rights = tsm_transport::broker::amqp::Rights::of(&config.identity.public().fingerprint());
        for right in [rights.configure, rights.write, rights.read] {
            assert!(definitions.contains(&right.replace('\\', "\\\\")), "{right}");
        }
    }
}

#[test]
fn compose_maps_exactly_the_ports_that_the_nodes_listen_on() {
    for (name, service) in services() {
        let config = &service.config;
        let listening: Vec<u16> =
            [Some(config.sdk_listen), config.mpc_listen].into_iter().flatten().map(|at| at.port()).collect();
        let mapped: Vec<u16> = service.ports.iter().map(|(_, inside)| *inside).collect();
        assert_eq!(mapped, listening, "{name}");
    }
}

#[test]
fn the_nodes_know_each_others_names_ports_and_keys() {
    let services = services();
    for service in services.values() {
        for (index, player) in &service.config.players {
            let Some(Reach::Dial(Address { place: tsm_types::Place::Tcp(address), .. })) = &player.address
            else {
                panic!()
            };
            let other = &services[&address.host].config;
            assert_eq!(other.player, *index);
            assert_eq!(other.mpc_listen.unwrap().port(), address.port);
            assert_eq!(player.public_key.as_ref(), Some(other.identity.public()));
        }
    }
}

#[test]
fn over_redis_no_node_listens_for_players_and_each_has_a_user_with_the_least_rights() {
    let rights = deployed("redis/users.acl");
    let lines: Vec<&str> = rights.lines().collect();
    assert_eq!(lines[0], "user default off");
    let services = services_in("redis");
    assert_eq!(services.keys().collect::<Vec<_>>(), ["tsm-node0", "tsm-node1", "tsm-node2"]);
    assert_eq!(lines.len(), 1 + services.len());
    for (index, (service, line)) in services.values().zip(&lines[1..]).enumerate() {
        let config = &service.config;
        assert_eq!(service.ports, [(8500 + config.player, config.sdk_listen.port())]);
        assert_eq!((usize::from(config.player), config.mpc_listen), (index, None));
        let (user, password) = (format!("player{index}"), format!("RedisPassword{index}"));
        let server = format!("redis://{user}:{password}@redis").parse().unwrap();
        let Some(BrokerConfig::Redis(redis)) = &config.broker else { panic!("no Redis") };
        assert_eq!(*redis, RedisConfig::new(server));
        let rules = acl_rules(config.identity.public().fingerprint());
        assert_eq!(*line, format!("user {user} on >{password} {rules}"));
        // The seed's players with the seed's keys, but without addresses.
        let seed = good(&deployed(&format!("config{index}.toml")));
        assert_eq!(config.identity.public(), seed.identity.public());
        assert_eq!(config.players.keys().collect::<Vec<_>>(), seed.players.keys().collect::<Vec<_>>());
        for (index, player) in &config.players {
            assert_eq!(player.address, None);
            assert_eq!(player.public_key, seed.players[index].public_key);
        }
    }
}

#[test]
fn the_image_is_built_from_a_file_that_is_there() {
    let text = deployed("docker-compose.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let node_0 = documents[0].as_mapping_get("services").unwrap().as_mapping_get("tsm-node0").unwrap();
    let build = node_0.as_mapping_get("build").unwrap();
    assert_eq!(build.as_mapping_get("context").unwrap().as_str(), Some(".."));
    assert_eq!(build.as_mapping_get("dockerfile").unwrap().as_str(), Some("deploy/Dockerfile"));
    let dockerfile = deployed("Dockerfile");
    for line in
        ["USER 2000:2000", "ENV CONFIG_FILE=/config/config.toml", "ENTRYPOINT [\"tsm\"]", "CMD [\"node\"]"]
    {
        assert!(dockerfile.lines().any(|found| found == line), "{line}");
    }
}
