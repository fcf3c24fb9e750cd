//! The message broker.

use tsm_transport::broker::BrokerConfig;
use tsm_transport::broker::amqp::AmqpConfig;
use tsm_transport::broker::redis::{RedisConfig, RedisServer};

use super::Outside;
use super::direct::roots;
use super::document::{Document, Found};
use super::problem::{ProblemCode, Problems};

/// The sections of message brokers, of which a node has one at most.
pub(super) const SECTIONS: [&str; 2] = ["MPCAMQPServer", "MPCRedisServer"];

/// The broker of the file, if it has one that can be used.
pub(super) fn broker(
    document: &Document,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<BrokerConfig> {
    let mut found = SECTIONS.into_iter().filter_map(|section| Some((section, document.one(section)?)));
    let first = found.next();
    if let (Some((first, _)), Some((second, section))) = (first, found.next()) {
        problems.error(
            ProblemCode::Conflict,
            &section.place,
            format!("[{first}] and [{second}] exclude each other: a node has one message broker"),
            "keep the one that the other players use, too",
        );
    }
    let amqp = document.one("MPCAMQPServer").and_then(|section| amqp(section, outside, problems));
    let redis = document.one("MPCRedisServer").and_then(|section| redis(section, outside, problems));
    amqp.or(redis)
}

/// Whether the file names a broker, even if it cannot be used.
pub(super) fn is_named(document: &Document) -> bool {
    SECTIONS.into_iter().any(|section| document.one(section).is_some())
}

fn redis(section: &Found, outside: &Outside<'_>, problems: &mut Problems) -> Option<BrokerConfig> {
    let (text, place) = section.text("ServerURL")?;
    let server: RedisServer = match text.parse() {
        Ok(server) => server,
        Err(error) => {
            let what = format!("not the URL of a Redis: {error}");
            let hint = "write redis://user:password@host:port, or rediss:// for TLS";
            problems.error(ProblemCode::BadServerUrl, &place, what, hint);
            return None;
        }
    };
    let cluster = section.flag("ClusterMode")?;
    if cluster && server.names_a_database() {
        problems.error(
            ProblemCode::Conflict,
            &place,
            "the URL names a database, of which a cluster has none but 0",
            "remove the number at the end of the URL, or ClusterMode",
        );
        return None;
    }
    Some(BrokerConfig::Redis(RedisConfig {
        server,
        roots: roots(section, outside, problems),
        send_batch: section.integer("SendBatchSize")?,
        receive_batch: section.integer("ReceiveBatchSize")?,
        expire_keys: section.flag("ExpireKeys")?,
        cluster,
    }))
}

fn amqp(section: &Found, outside: &Outside<'_>, problems: &mut Problems) -> Option<BrokerConfig> {
    let (text, place) = section.text("ServerURL")?;
    let url = match text.parse() {
        Ok(url) => url,
        Err(error) => {
            let hint = "write amqp://user:password@host:port/vhost, or amqps:// for TLS";
            problems.error(
                ProblemCode::BadServerUrl,
                &place,
                format!("not the URL of an AMQP broker: {error}"),
                hint,
            );
            return None;
        }
    };
    Some(BrokerConfig::Amqp(AmqpConfig {
        url,
        roots: roots(section, outside, problems),
        retry_delay: section.duration("RetryDelay")?,
        channel_pool_size: section.integer("ChannelPoolSize")?,
        publisher_confirms: section.flag("PublisherConfirms")?,
        persist_messages: section.flag("PersistMessages")?,
        skip_setup: section.flag("SkipSetup")?,
    }))
}
