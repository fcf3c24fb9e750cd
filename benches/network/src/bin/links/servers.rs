//! The message brokers: those that the environment names, or else the program's own.

use std::sync::OnceLock;

use tsm_test_servers::{RabbitMq, Redis};

/// Started when first needed.
#[derive(Default)]
pub(crate) struct Servers {
    redis: OnceLock<Redis>,
}

impl Servers {
    /// `AMQP_URL`, or that of a RabbitMQ with one scheduler.
    pub(crate) fn amqp(&self) -> String {
        std::env::var("AMQP_URL").unwrap_or_else(|_| RabbitMq::shared().url("t0"))
    }

    /// `REDIS_URL`, or that of a Redis that keeps nothing on disk.
    pub(crate) fn redis(&self) -> String {
        std::env::var("REDIS_URL").unwrap_or_else(|_| self.redis.get_or_init(Redis::start).url())
    }
}
