//! Where a peer listens: `host:port?connectionPoolSize=6&connectionLifetime=5m`.

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

/// Where and how a peer is dialled.
///
/// Written as `host:port` or `tcp://host:port` (IPv6 in brackets), optionally followed by
/// `?connectionPoolSize=N` (1 to 64) and `&connectionLifetime=D` (a duration such as `5m`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How many connections are kept to the peer.
    pub connection_pool_size: u16,
    /// After this time a connection is replaced by a new one.
    pub connection_lifetime: Duration,
}

impl Address {
    /// An address with default options.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address {
            host: host.into(),
            port,
            connection_pool_size: DEFAULT_POOL_SIZE,
            connection_lifetime: DEFAULT_LIFETIME,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = strip_scheme(text)?;
        let (place, options) = match rest.split_once('?') {
            Some((place, options)) => (place, Some(options)),
            None => (rest, None),
        };
        let (host, port) = parse_place(place)?;
        let mut address = Address::new(host, port);
        if let Some(options) = options {
            address.parse_options(options)?;
        }
        Ok(address)
    }
}

impl Address {
    fn parse_options(&mut self, options: &str) -> Result<(), AddressError> {
        let (mut pool_size, mut lifetime) = (None, None);
        for option in options.split('&') {
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
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
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
    /// Something after the port that is not `?options`.
    Path(String),
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
                write!(f, "unknown scheme `{scheme}`: use `host:port` or `tcp://host:port`")
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

fn strip_scheme(text: &str) -> Result<&str, AddressError> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        // The one scheme that needs nothing behind it.
        None if text == "incoming" || text == "incoming:" => ("incoming", ""),
        None => return Ok(text),
    };
    match scheme {
        "tcp" => Ok(rest),
        "ws" | "wss" | "tcps" | "incoming" | "broker" => {
            Err(AddressError::SchemeNotSupportedYet(scheme.to_owned()))
        }
        other => Err(AddressError::UnknownScheme(other.to_owned())),
    }
}

fn parse_place(place: &str) -> Result<(String, u16), AddressError> {
    if place.contains(['/', '#', '@']) {
        return Err(AddressError::Path(place.to_owned()));
    }
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or_else(|| AddressError::Host(place.to_owned()))?;
        host.parse::<Ipv6Addr>().map_err(|_| AddressError::Host(host.to_owned()))?;
        let port = port.strip_prefix(':').ok_or_else(|| AddressError::NoPort(place.to_owned()))?;
        return Ok((host.to_owned(), parse_port(port)?));
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
    Ok((host.to_owned(), parse_port(port)?))
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
        Address { host: host.to_owned(), port, connection_pool_size: size, connection_lifetime: lifetime }
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
            ("h:80?connectionLifetime=1m2s3ms4us5ns", address("h", 80, 2, Duration::new(62, 3_004_005))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_bad_form_is_refused_and_its_bad_part_named() {
        use AddressError as E;
        type Error = fn(String) -> AddressError;
        let table: &[(&str, Error, &str)] = &[
            ("ws://h:1", E::SchemeNotSupportedYet, "ws"),
            ("wss://h:1/path", E::SchemeNotSupportedYet, "wss"),
            ("tcps://h:1", E::SchemeNotSupportedYet, "tcps"),
            ("incoming://", E::SchemeNotSupportedYet, "incoming"),
            ("incoming", E::SchemeNotSupportedYet, "incoming"),
            ("broker://b", E::SchemeNotSupportedYet, "broker"),
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
