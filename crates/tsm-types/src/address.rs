//! How a player is reached: `host:port?connectionPoolSize=6&connectionLifetime=5m`, `ws://host/path`,
//! `broker://`, `incoming`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;

/// Two connections: one can be renewed or lost while the other carries on.
pub const DEFAULT_POOL_SIZE: u16 = 2;
/// More sockets than this between one pair of nodes bring nothing.
pub const MAX_POOL_SIZE: u16 = 64;
/// Long enough to cost nothing, short enough for fresh keys.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// Below this, connections would be renewed faster than they are made.
pub const MIN_LIFETIME: Duration = Duration::from_millis(100);
/// A connection that is never renewed for a year is a mistake.
pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);
/// A longer path of a WebSocket is a mistake.
pub const MAX_PATH_BYTES: usize = 512;

/// What a configuration or a session says of how a player is reached.
///
/// Written as an [`Address`], or as `incoming` (also `incoming://`) for a player that cannot be dialled
/// and dials itself. The options of an address are allowed behind it, and mean nothing there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The player dials this node.
    Incoming,
    /// This node can dial the player.
    Dial(Address),
}

/// Where and how a peer is dialled.
///
/// Written as `host:port`, `tcp://host:port`, `ws://host:port/path`, `wss://host:port/path` (port and path may be
/// left out of these two) or `broker://`; IPv6 addresses in brackets; optionally followed by
/// `?connectionPoolSize=N` (1 to 64) and `&connectionLifetime=D` (a duration such as `5m`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Where, and through which kind of pipe.
    pub place: Place,
    /// How many connections are kept to the peer.
    pub connection_pool_size: u16,
    /// After this time a connection is replaced by a new one.
    pub connection_lifetime: Duration,
}

/// Where a peer is dialled, for each kind of pipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A TCP port.
    Tcp(HostPort),
    /// An HTTP server that a WebSocket is asked of.
    WebSocket {
        /// Over HTTPS (`wss`). The link is secure either way.
        https: bool,
        /// Port 80, or 443 for HTTPS, if the address names none.
        at: HostPort,
        /// Begins with a slash.
        path: String,
    },
    /// The message broker of the node's own configuration.
    Broker,
}

/// A machine and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
}

impl Address {
    /// A TCP port, with default options.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address::of(Place::Tcp(HostPort { host: host.into(), port }))
    }

    /// By the node's message broker, with default options.
    pub fn broker() -> Self {
        Address::of(Place::Broker)
    }

    fn of(place: Place) -> Self {
        Address { place, connection_pool_size: DEFAULT_POOL_SIZE, connection_lifetime: DEFAULT_LIFETIME }
    }

    fn with_options(mut self, options: Option<&str>) -> Result<Self, AddressError> {
        let (mut pool_size, mut lifetime) = (None, None);
        for option in options.into_iter().flat_map(|options| options.split('&')) {
            let Some((name, value)) = option.split_once('=') else {
                return Err(AddressError::Option(option.to_owned()));
            };
            let repeated = match name {
                "connectionPoolSize" => pool_size.replace(parse_pool_size(value)?).is_some(),
                "connectionLifetime" => lifetime.replace(parse_lifetime(value)?).is_some(),
                other => return Err(AddressError::Option(other.to_owned())),
            };
            if repeated {
                return Err(AddressError::RepeatedOption(name.to_owned()));
            }
        }
        self.connection_pool_size = pool_size.unwrap_or(self.connection_pool_size);
        self.connection_lifetime = lifetime.unwrap_or(self.connection_lifetime);
        Ok(self)
    }
}

impl FromStr for Reach {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, options) = split_options(text);
        if !matches!(place, "incoming" | "incoming:" | "incoming://") {
            return text.parse().map(Reach::Dial);
        }
        // Checked, though only the one who dials has a use for them.
        Address::broker().with_options(options)?;
        Ok(Reach::Incoming)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, options) = split_options(text);
        let place = match place.split_once("://") {
            None if place == "broker" || place == "broker:" => Place::Broker,
            None => Place::Tcp(parse_host_port(place)?),
            Some(("tcp", rest)) => Place::Tcp(parse_host_port(rest)?),
            Some(("ws", rest)) => parse_web_socket(rest, false)?,
            Some(("wss", rest)) => parse_web_socket(rest, true)?,
            Some(("broker", "")) => Place::Broker,
            Some(("broker", rest)) => return Err(AddressError::NamedBroker(rest.to_owned())),
            Some(("tcps", _)) => return Err(AddressError::SchemeNotSupportedYet("tcps".to_owned())),
            Some((other, _)) => return Err(AddressError::UnknownScheme(other.to_owned())),
        };
        Address::of(place).with_options(options)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Incoming => f.write_str("incoming"),
            Reach::Dial(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        let mut separator = '?';
        if self.connection_pool_size != DEFAULT_POOL_SIZE {
            write!(f, "{separator}connectionPoolSize={}", self.connection_pool_size)?;
            separator = '&';
        }
        if self.connection_lifetime != DEFAULT_LIFETIME {
            write!(f, "{separator}connectionLifetime={}ns", self.connection_lifetime.as_nanos())?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(at) => at.fmt(f),
            Place::WebSocket { https: false, at, path } => write!(f, "ws://{at}{path}"),
            Place::WebSocket { https: true, at, path } => write!(f, "wss://{at}{path}"),
            Place::Broker => f.write_str("broker://"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with an address; every variant carries the bad part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// A scheme that is planned but not there.
    SchemeNotSupportedYet(String),
    /// A scheme that means nothing to us.
    UnknownScheme(String),
    /// Not a host name, IPv4 address or bracketed IPv6 address.
    Host(String),
    /// No `:port` at the end.
    NoPort(String),
    /// Not a number from 1 to 65535.
    Port(String),
    /// An IPv6 address outside brackets.
    Brackets(String),
    /// Something after the port that is not `?options`, or not a path of a WebSocket.
    Path(String),
    /// Something after `broker://`: the broker is the one of the node's configuration.
    NamedBroker(String),
    /// Not `connectionPoolSize=` or `connectionLifetime=`.
    Option(String),
    /// An option given twice.
    RepeatedOption(String),
    /// Not a number from 1 to 64.
    PoolSize(String),
    /// Not a duration, or not within reason.
    Lifetime(String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::SchemeNotSupportedYet(scheme) => {
                write!(f, "the scheme `{scheme}` is not supported yet: use `host:port` or `tcp://host:port`")
            }
            AddressError::UnknownScheme(scheme) => {
                write!(
                    f,
                    "unknown scheme `{scheme}`: known are `tcp://`, `ws://`, `wss://`, `broker://` and `incoming`"
                )
            }
            AddressError::Host(host) => write!(f, "`{host}` is not a host name or IP address"),
            AddressError::NoPort(place) => write!(f, "`{place}` has no port: write `host:port`"),
            AddressError::Port(port) => write!(f, "`{port}` is not a port: write a number from 1 to 65535"),
            AddressError::Brackets(place) => {
                write!(f, "`{place}` looks like an IPv6 address: write it as `[address]:port`")
            }
            AddressError::Path(place) => {
                write!(f, "`{place}` has more than host and port: write `host:port?option=value`")
            }
            AddressError::NamedBroker(name) => {
                write!(f, "`{name}` after `broker://`: the broker is the one of the node's configuration")
            }
            AddressError::Option(option) => {
                write!(
                    f,
                    "unknown option `{option}`: known are `connectionPoolSize=` and `connectionLifetime=`"
                )
            }
            AddressError::RepeatedOption(option) => write!(f, "the option `{option}` is given twice"),
            AddressError::PoolSize(value) => {
                write!(f, "connectionPoolSize `{value}`: write a number from 1 to {MAX_POOL_SIZE}")
            }
            AddressError::Lifetime(value) => {
                write!(
                    f,
                    "connectionLifetime `{value}`: write a duration from 100ms to a year, such as `5m` or `1h30m`"
                )
            }
        }
    }
}

impl std::error::Error for AddressError {}

fn split_options(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((place, options)) => (place, Some(options)),
        None => (text, None),
    }
}

/// `host`, `host:port`, each with or without a path.
fn parse_web_socket(text: &str, https: bool) -> Result<Place, AddressError> {
    let (host_port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if path.len() > MAX_PATH_BYTES || !path.bytes().all(visible) {
        return Err(AddressError::Path(text.to_owned()));
    }
    let at = match parse_host_port(host_port) {
        Err(AddressError::NoPort(host)) => {
            let port = if https { 443 } else { 80 };
            parse_host_port(&format!("{host}:{port}"))?
        }
        other => other?,
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Place::WebSocket { https, at, path: path.to_owned() })
}

fn parse_host_port(place: &str) -> Result<HostPort, AddressError> {
    if place.contains(['/', '#', '@']) {
        return Err(AddressError::Path(place.to_owned()));
    }
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or_else(|| AddressError::Host(place.to_owned()))?;
        host.parse::<Ipv6Addr>().map_err(|_| AddressError::Host(host.to_owned()))?;
        let port = port.strip_prefix(':').ok_or_else(|| AddressError::NoPort(place.to_owned()))?;
        return Ok(HostPort { host: host.to_owned(), port: parse_port(port)? });
    }
    let (host, port) = place.rsplit_once(':').ok_or_else(|| AddressError::NoPort(place.to_owned()))?;
    if host.contains(':') {
        return Err(AddressError::Brackets(place.to_owned()));
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    // 253 characters is the longest name that DNS can hold.
    if host.is_empty() || host.len() > 253 || !host.chars().all(letter) {
        return Err(AddressError::Host(host.to_owned()));
    }
    Ok(HostPort { host: host.to_owned(), port: parse_port(port)? })
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    parse_number(text).filter(|port| *port != 0).ok_or_else(|| AddressError::Port(text.to_owned()))
}

fn parse_pool_size(text: &str) -> Result<u16, AddressError> {
    parse_number(text)
        .filter(|size| (1..=MAX_POOL_SIZE).contains(size))
        .ok_or_else(|| AddressError::PoolSize(text.to_owned()))
}

/// Digits only: `u16::from_str` would also take a plus sign.
fn parse_number(text: &str) -> Option<u16> {
    if !text.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse_lifetime(text: &str) -> Result<Duration, AddressError> {
    duration::parse(text)
        .filter(|lifetime| (MIN_LIFETIME..=MAX_LIFETIME).contains(lifetime))
        .ok_or_else(|| AddressError::Lifetime(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16, size: u16, lifetime: Duration) -> Address {
        Address { connection_pool_size: size, connection_lifetime: lifetime, ..Address::new(host, port) }
    }

    fn web_socket(https: bool, host: &str, port: u16, path: &str) -> Address {
        let at = HostPort { host: host.to_owned(), port };
        Address::of(Place::WebSocket { https, at, path: path.to_owned() })
    }

    #[test]
    fn every_good_form_is_read() {
        let minute = Duration::from_secs(60);
        let table = [
            ("tsm-node1:9001", address("tsm-node1", 9001, 2, 60 * minute)),
            ("tcp://10.0.0.1:1", address("10.0.0.1", 1, 2, 60 * minute)),
            ("[::1]:65535", address("::1", 65535, 2, 60 * minute)),
            ("tcp://[fe80::2]:9001?connectionPoolSize=64", address("fe80::2", 9001, 64, 60 * minute)),
            (
                "tsm-node1:9001?connectionPoolSize=6&connectionLifetime=5m",
                address("tsm-node1", 9001, 6, 5 * minute),
            ),
            ("a_b.c:80?connectionLifetime=1h30m&connectionPoolSize=1", address("a_b.c", 80, 1, 90 * minute)),
            ("h:80?connectionLifetime=90s", address("h", 80, 2, Duration::from_secs(90))),
            ("h:80?connectionLifetime=500ms", address("h", 80, 2, Duration::from_millis(500))),
            ("h:80?connectionLifetime=1.5h", address("h", 80, 2, 90 * minute)),
            ("h:80?connectionLifetime=.5m", address("h", 80, 2, minute / 2)),
            ("ws://h", web_socket(false, "h", 80, "/")),
            ("ws://h:9080", web_socket(false, "h", 9080, "/")),
            ("wss://node.example/tsm/1", web_socket(true, "node.example", 443, "/tsm/1")),
            ("wss://[::1]:8443/", web_socket(true, "::1", 8443, "/")),
            (
                "wss://[::1]?connectionPoolSize=1",
                Address { connection_pool_size: 1, ..web_socket(true, "::1", 443, "/") },
            ),
            ("broker", Address::broker()),
            ("broker:", Address::broker()),
            ("broker://", Address::broker()),
            (
                "broker://?connectionLifetime=5m",
                Address { connection_lifetime: 5 * minute, ..Address::broker() },
            ),
            ("h:80?connectionLifetime=1m2s3ms4us5ns", address("h", 80, 2, Duration::new(62, 3_004_005))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected.clone()), "{text}");
            assert_eq!(text.parse(), Ok(Reach::Dial(expected)), "{text}");
        }
    }

    #[test]
    fn a_player_that_dials_itself_is_incoming() {
        for text in ["incoming", "incoming:", "incoming://", "incoming://?connectionPoolSize=2"] {
            assert_eq!(text.parse(), Ok(Reach::Incoming), "{text}");
        }
        assert_eq!(Reach::Incoming.to_string().parse(), Ok(Reach::Incoming));
        let bad = "incoming?connectionPoolSize=0".parse::<Reach>();
        assert_eq!(bad, Err(AddressError::PoolSize("0".to_owned())));
        let named = "incoming://host:1".parse::<Reach>();
        assert_eq!(named, Err(AddressError::UnknownScheme("incoming".to_owned())));
    }

    #[test]
    fn every_bad_form_is_refused_and_its_bad_part_named() {
        use AddressError as E;
        type Error = fn(String) -> AddressError;
        let table: &[(&str, Error, &str)] = &[
            ("tcps://h:1", E::SchemeNotSupportedYet, "tcps"),
            ("incoming", E::NoPort, "incoming"),
            ("broker://b", E::NamedBroker, "b"),
            ("ws://", E::Host, ""),
            ("ws:///path", E::Host, ""),
            ("ws://:80", E::Host, ""),
            ("wss://h:0/", E::Port, "0"),
            ("wss://::1/", E::Brackets, "::1"),
            ("wss://user@h/", E::Path, "user@h"),
            ("wss://h/a b", E::Path, "h/a b"),
            ("wss://h/a#b", E::Path, "h/a#b"),
            ("http://h:1", E::UnknownScheme, "http"),
            ("://h:1", E::UnknownScheme, ""),
            ("TCP://h:1", E::UnknownScheme, "TCP"),
            ("", E::NoPort, ""),
            ("host", E::NoPort, "host"),
            ("[::1]", E::NoPort, "[::1]"),
            ("[::1]9000", E::NoPort, "[::1]9000"),
            (":9000", E::Host, ""),
            ("tcp://:9000", E::Host, ""),
            ("ho st:9000", E::Host, "ho st"),
            (" host:9000", E::Host, " host"),
            ("höst:9000", E::Host, "höst"),
            ("[::1:9000", E::Host, "[::1:9000"),
            ("[host]:9000", E::Host, "host"),
            ("[]:9000", E::Host, ""),
            ("::1:9000", E::Brackets, "::1:9000"),
            ("host:", E::Port, ""),
            ("host:0", E::Port, "0"),
            ("host:+1", E::Port, "+1"),
            ("host:-1", E::Port, "-1"),
            ("host:65536", E::Port, "65536"),
            ("host:http", E::Port, "http"),
            ("host:80 ", E::Port, "80 "),
            ("host:80/", E::Path, "host:80/"),
            ("tcp://host:80/x?connectionPoolSize=1", E::Path, "host:80/x"),
            ("user@host:80", E::Path, "user@host:80"),
            ("host:80#x", E::Path, "host:80#x"),
            ("host:80?", E::Option, ""),
            ("host:80?connectionPoolSize", E::Option, "connectionPoolSize"),
            ("host:80?connectionpoolsize=1", E::Option, "connectionpoolsize"),
            ("host:80?connectionPoolSize=1&", E::Option, ""),
            ("host:80?timeout=1s", E::Option, "timeout"),
            ("host:80?connectionPoolSize=1&connectionPoolSize=2", E::RepeatedOption, "connectionPoolSize"),
            ("host:80?connectionLifetime=1m&connectionLifetime=1m", E::RepeatedOption, "connectionLifetime"),
            ("host:80?connectionPoolSize=", E::PoolSize, ""),
            ("host:80?connectionPoolSize=0", E::PoolSize, "0"),
            ("host:80?connectionPoolSize=65", E::PoolSize, "65"),
            ("host:80?connectionPoolSize=+6", E::PoolSize, "+6"),
            ("host:80?connectionPoolSize=six", E::PoolSize, "six"),
            ("host:80?connectionLifetime=", E::Lifetime, ""),
            ("host:80?connectionLifetime=5", E::Lifetime, "5"),
            ("host:80?connectionLifetime=0s", E::Lifetime, "0s"),
            ("host:80?connectionLifetime=-5m", E::Lifetime, "-5m"),
            ("host:80?connectionLifetime=m", E::Lifetime, "m"),
            ("host:80?connectionLifetime=.m", E::Lifetime, ".m"),
            ("host:80?connectionLifetime=1..5m", E::Lifetime, "1..5m"),
            ("host:80?connectionLifetime=5m3", E::Lifetime, "5m3"),
            ("host:80?connectionLifetime=5d", E::Lifetime, "5d"),
            ("host:80?connectionLifetime=5 m", E::Lifetime, "5 m"),
            ("host:80?connectionLifetime=99ms", E::Lifetime, "99ms"),
            ("host:80?connectionLifetime=9000h", E::Lifetime, "9000h"),
            ("host:80?connectionLifetime=99999999999999999999h", E::Lifetime, "99999999999999999999h"),
            ("host:80?connectionLifetime=5124096h", E::Lifetime, "5124096h"),
        ];
        for (text, error, part) in table {
            let error = error((*part).to_owned());
            assert!(error.to_string().contains(&format!("`{part}`")), "{error}");
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
