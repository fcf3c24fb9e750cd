//! Everything that reads bytes from outside: what it is, and what must hold whatever the bytes are.
//!
//! A [`Target`] takes any bytes; it panics where a promise is broken. The same targets are run in two
//! ways: on the seeds in `seeds/` and on small changes of them by the ordinary tests, in a process
//! with little memory; and by libFuzzer for as long as one likes (`scripts/fuzz`).

#![allow(clippy::unwrap_used, reason = "a target panics where a promise is broken")]

mod decoders;
mod engine;
#[path = "../../crates/tsm-server/tests/fake_node/mod.rs"]
#[allow(unreachable_pub, clippy::cast_possible_truncation, reason = "shared with the tests of the server")]
mod fake_node;
mod http;
mod messages;
pub mod mutate;
mod text;

/// Something that reads bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and the name of its folder of seeds.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Good input, from which fuzzing starts.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "frame", run: decoders::frame, seeds: decoders::frame_seeds },
    Target { name: "record", run: decoders::record, seeds: decoders::record_seeds },
    Target { name: "link", run: decoders::link, seeds: decoders::link_seeds },
    Target { name: "broker", run: decoders::broker, seeds: decoders::broker_seeds },
    Target { name: "key", run: decoders::key, seeds: decoders::key_seeds },
    Target { name: "partial", run: decoders::partial, seeds: decoders::partial_seeds },
    Target { name: "message", run: messages::message, seeds: messages::seeds },
    Target { name: "config", run: text::config, seeds: text::config_seeds },
    Target { name: "http", run: http::http, seeds: http::seeds },
    Target { name: "engine", run: engine::engine, seeds: engine::seeds },
];

/// The target of this name.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("a target of `TARGETS`")
}
