//! Ports for nodes.

use std::net::TcpListener;
use std::sync::Mutex;

/// Below the ports that the system gives to outgoing connections (from 32768 on), which could take a
/// port between the look and the node's start.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

/// A port of 127.0.0.1 that nobody uses and no other test gets.
pub(crate) fn free() -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    // Other runs of these tests begin elsewhere.
    let begin = || FIRST + u16::try_from(std::process::id() * 101 % u32::from(LAST - FIRST)).unwrap();
    loop {
        let port = next.unwrap_or_else(begin);
        *next = Some(if port + 1 < LAST { port + 1 } else { FIRST });
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
