//! Redis (7 or later) as a message broker: a stream for each inbox.
//!
//! Why streams and not lists: a stream that is empty still is there. So its reader alone makes it and
//! keeps it alive by renewing its expiry; writers append only to what is there (`NOMKSTREAM`) and need
//! no other right on others' inboxes than that, neither to read nor to expire nor to delete. Nothing is
//! left of a node that is gone, whoever still writes to it. A list exists only while it has elements, so
//! its writers would have to set its expiry, with which they can also delete it. A stream is as fast,
//! can be bounded by its writers, and one blocking command reads several, each message by one of the
//! nodes that share an inbox.
//!
//! | module | what it knows |
//! |---|---|
//! | `config` | where Redis is and how it is used |
//! | [`names`] | keys, and the rights that a player needs |
//! | `connect` | TCP, TLS, login; errors as sentences |
//! | `guard` | the lengths of answers |
//! | `reader`, `writer` | inboxes: making and reading, appending |
//! | `cluster` | which member of a cluster has which inbox |

#![allow(clippy::wildcard_enum_match_arm, reason = "what a server answers is either looked for or refused")]

#[cfg(feature = "redis")]
mod cluster;
mod config;
#[cfg(feature = "redis")]
mod connect;
#[cfg(feature = "redis")]
mod guard;
pub mod names;
#[cfg(feature = "redis")]
mod reader;
#[cfg(feature = "redis")]
mod running;
#[cfg(feature = "redis")]
mod writer;

pub use self::config::{RedisConfig, RedisServer, RedisUrlError};
#[cfg(feature = "redis")]
pub use self::running::RedisBroker;
