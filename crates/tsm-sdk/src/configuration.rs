//! Where a node is and how to log in to it.

use std::fmt;

use reqwest::Url;
use tsm_crypto::Secret;
use tsm_types::Failure;

/// Where a node is and how to log in to it. The start of a [`Client`](crate::Client).
#[derive(Debug)]
pub struct Configuration {
    pub(crate) url: NodeUrl,
    pub(crate) api_key: Option<ApiKey>,
}

impl Configuration {
    /// The node at `url`, such as `http://localhost:8500` or `https://tsm.example.com/node1`.
    ///
    /// Refuses what is not an `http` or `https` URL, and one with a user, a query or a fragment.
    pub fn new(url: &str) -> Result<Self, Failure> {
        Ok(Configuration { url: NodeUrl::new(url)?, api_key: None })
    }

    /// Logs in with an API key. Every node has keys of its own.
    #[must_use]
    pub fn with_api_key(self, api_key: ApiKey) -> Self {
        Configuration { api_key: Some(api_key), ..self }
    }
}

/// An API key. Wiped when dropped and never printed.
pub struct ApiKey(Secret<String>);

impl ApiKey {
    /// Takes an API key. Refuses one that no HTTP header can carry.
    pub fn new(key: impl Into<String>) -> Result<Self, Failure> {
        let key = Secret::new(key.into());
        if key.expose().is_empty() || !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            // Without the key: a refusal ends in logs.
            return Err(Failure::invalid_field("api_key", "an API key is visible ASCII without spaces"));
        }
        Ok(ApiKey(key))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(<secret>)")
    }
}

/// A node's URL, without a slash at its end.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NodeUrl(String);

impl NodeUrl {
    fn new(text: &str) -> Result<Self, Failure> {
        let refuse = |rule: &str| Failure::invalid_field("url", rule);
        let url = Url::parse(text).map_err(|_| refuse("not a URL such as http://localhost:8500"))?;
        match url.scheme() {
            "http" => {}
            "https" if cfg!(feature = "https") => {}
            "https" => return Err(refuse("this SDK was built without its feature `https`")),
            _ => return Err(refuse("must begin with http:// or https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("has a user or password; log in with an API key"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("has a query or fragment; give the node's address only"));
        }
        Ok(NodeUrl(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The URL of a path of the API, which begins with a slash.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_nodes_address_and_nothing_else() {
        let url = |text| Configuration::new(text).map(|configuration| configuration.url.to_string());
        assert_eq!(url("http://localhost:8500").as_deref(), Ok("http://localhost:8500"));
        assert_eq!(url("http://[::1]:8500/").as_deref(), Ok("http://[::1]:8500"));
        assert_eq!(url("http://a.example/tsm/node1/").as_deref(), Ok("http://a.example/tsm/node1"));
        for wrong in [
            "",
            "localhost:8500",
            "ftp://a",
            "http://",
            "http://user@a",
            "http://u:p@a",
            "http://a?b",
            "http://a#b",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "https")]
    #[test]
    fn https_is_a_nodes_address() {
        assert!(Configuration::new("https://tsm.example.com").is_ok());
    }

    #[test]
    fn s107_an_api_key_is_never_printed() {
        let configuration =
            Configuration::new("http://a").unwrap().with_api_key(ApiKey::new("canary").unwrap());
        assert!(!format!("{configuration:?}").contains("canary"));
        let refused = ApiKey::new("canary with spaces\n").unwrap_err();
        assert!(!format!("{refused:?}").contains("canary"));
    }
}
