//! Real servers for tests: started in a folder and on ports of their own, and gone when the tests end.

#![allow(clippy::unwrap_used, reason = "a test without its server fails")]

mod rabbitmq;
mod reaper;
mod redis;

use std::net::TcpListener;
use std::sync::Mutex;

pub use crate::rabbitmq::{RabbitMq, User};
pub use crate::redis::{Redis, RedisCluster, Watch};

/// A port of 127.0.0.1 that nobody uses: below those that the system gives to outgoing connections.
fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    // Other runs begin elsewhere.
    let begin = || u16::try_from(std::process::id() * 37 % u32::from(COUNT)).unwrap();
    loop {
        let offset = next.unwrap_or_else(begin);
        *next = Some((offset + 1) % COUNT);
        if TcpListener::bind(("127.0.0.1", FIRST + offset)).is_ok() {
            return FIRST + offset;
        }
    }
}
