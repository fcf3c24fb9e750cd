//! `deploy/` fits together: the files that Compose mounts, the ports that it maps, the names that
//! the nodes call each other.

use saphyr::{LoadableYamlNode, Yaml};

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
    let text = deployed("docker-compose.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let services = documents[0].as_mapping_get("services").unwrap().as_mapping().unwrap();
    services.iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), read(service))).collect()
}

fn read(service: &Yaml<'_>) -> Service {
    let get = |key: &str| service.as_mapping_get(key).unwrap();
    assert_eq!(texts(get("environment")), ["CONFIG_FILE=/config/config.toml"]);
    let volumes = texts(get("volumes"));
    let mounted = volumes[0].strip_prefix("./").and_then(|rest| rest.strip_suffix(":/config/config.toml:ro"));
    let port = |text: &str| text.parse().unwrap();
    let pair = |text: &String| text.split_once(':').map(|(host, inside)| (port(host), port(inside))).unwrap();
    Service {
        image: get("image").as_str().unwrap().to_owned(),
        ports: texts(get("ports")).iter().map(pair).collect(),
        config: good(&deployed(mounted.unwrap())),
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
