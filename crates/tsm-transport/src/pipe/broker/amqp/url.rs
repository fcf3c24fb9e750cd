//! `amqp://user:password@host:port/vhost`.

use std::fmt;

use tsm_crypto::Secret;
use tsm_types::address::HostPort;

/// Where an AMQP broker is, and who the node is to it.
///
/// The password is shown nowhere: not by `Debug`, and not by `Display`, which shows the place only.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "amqp"),
    expect(dead_code, reason = "what the broker needs, which this build does not have")
)]
pub struct ServerUrl {
    /// `amqps`.
    pub(super) tls: bool,
    pub(super) at: HostPort,
    pub(super) user: String,
    password: std::sync::Arc<Secret<String>>,
    pub(super) vhost: String,
}

/// Why a text is not such a URL. Its sentences quote nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Neither `amqp` nor `amqps`.
    Scheme,
    /// No host, or one that cannot be.
    Host,
    /// Not a number from 1 to 65535.
    Port,
    /// A `%` without two hexadecimal digits after it, or bytes that are not UTF-8.
    Escape,
    /// Something after a `?` or `#`.
    Options,
    /// A name or password longer than the protocol allows.
    TooLong,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Scheme => "it does not begin with amqp:// or amqps://",
            UrlError::Host => "the host is missing, or no host name or IP address",
            UrlError::Port => "the port is not a number from 1 to 65535",
            UrlError::Escape => "a % is not followed by two hexadecimal digits of UTF-8 text",
            UrlError::Options => "there is a ? or # in it: write %3F or %23 if it belongs to the password",
            UrlError::TooLong => "user name, password or virtual host has more than 255 bytes",
        })
    }
}

impl std::error::Error for UrlError {}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("amqp", rest)) => (false, rest),
            Some(("amqps", rest)) => (true, rest),
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(UrlError::Options);
        }
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        // The last one: a password may have been written with an @ in it.
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(l, p)| (Some(l), p));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (decode(user)?, Secret::new(decode(password)?)),
            None => ("guest".to_owned(), Secret::new("guest".to_owned())),
        };
        let vhost = match path {
            // As most clients read it: `amqp://host/` is the default virtual host, too.
            None | Some("") => "/".to_owned(),
            Some(path) => decode(path)?,
        };
        if [&user, password.expose(), &vhost].iter().any(|part| part.len() > 255) {
            return Err(UrlError::TooLong);
        }
        let at = host_port(place, if tls { 5671 } else { 5672 })?;
        Ok(ServerUrl { tls, at, user, password: std::sync::Arc::new(password), vhost })
    }
}

impl ServerUrl {
    #[cfg_attr(not(feature = "amqp"), expect(dead_code, reason = "nobody logs in"))]
    pub(super) fn password(&self) -> &str {
        self.password.expose()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}", self.at)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

fn host_port(place: &str, default_port: u16) -> Result<HostPort, UrlError> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or(UrlError::Host)?),
        };
        (host, port)
    } else {
        place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(good) {
        return Err(UrlError::Host);
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
    };
    Ok(HostPort { host: host.to_owned(), port })
}

fn decode(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or(UrlError::Escape)?, digit().ok_or(UrlError::Escape)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| UrlError::Escape)?);
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16, String, String, String) {
        let url: ServerUrl = text.parse().unwrap();
        (url.tls, url.at.host.clone(), url.at.port, url.user.clone(), url.password().to_owned(), url.vhost)
    }

    #[test]
    fn what_stands_in_a_url_is_read() {
        let read = |text| {
            let (tls, host, port, user, password, vhost) = parts(text);
            format!("{tls} {host} {port} {user} {password} {vhost}")
        };
        assert_eq!(read("amqp://broker"), "false broker 5672 guest guest /");
        assert_eq!(read("amqps://broker/"), "true broker 5671 guest guest /");
        assert_eq!(read("amqp://a:b@10.0.0.1:99/tsm"), "false 10.0.0.1 99 a b tsm");
        assert_eq!(read("amqp://a%40c:b%2f%25:x@[::1]/%2f"), "false ::1 5672 a@c b/%:x /");
        assert_eq!(read("amqps://a:p@ss@host:1/v"), "true host 1 a p@ss v");
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("http://a", UrlError::Scheme),
            ("amqp:a", UrlError::Scheme),
            ("amqp://", UrlError::Host),
            ("amqp://a:b@/x", UrlError::Host),
            ("amqp://ho st", UrlError::Host),
            ("amqp://[::1", UrlError::Host),
            ("amqp://[::1]1", UrlError::Host),
            ("amqp://host:0", UrlError::Port),
            ("amqp://host:70000", UrlError::Port),
            ("amqp://host:", UrlError::Port),
            ("amqp://a%4:b@host", UrlError::Escape),
            ("amqp://a%ff:b@host", UrlError::Escape),
            ("amqp://host/v?heartbeat=3", UrlError::Options),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap_err(), error, "{text}");
        }
        let long = format!("amqp://a:{}@host", "p".repeat(256));
        assert_eq!(long.parse::<ServerUrl>().unwrap_err(), UrlError::TooLong);
    }

    #[test]
    fn s107_the_password_of_a_url_is_shown_nowhere() {
        let url: ServerUrl = "amqp://someone:hunter2@host/v".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://host:5672");
        let shown = format!("{url:?} {url} {:?}", super::super::AmqpConfig::new(url.clone()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
