//! A node's URL as people write it, perhaps with an API key in it.

use tsm_crypto::Secret;

/// A node's URL without its API key, and the key.
pub(crate) struct NodeUrl {
    pub(crate) url: String,
    pub(crate) api_key: Option<Secret<String>>,
}

impl NodeUrl {
    /// Splits `http://KEY@host:port` (or `http://:KEY@host:port`).
    ///
    /// Everything between `//` and the last `@` is the key, so that no part of a key is ever taken
    /// for a host and shown; `%2F` and the like stand for the characters that they encode.
    pub(crate) fn new(text: &str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (user_info, host) = match rest.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, rest),
        };
        let separator = if scheme.is_empty() { "" } else { "://" };
        let url = format!("{scheme}{separator}{host}").trim_end_matches('/').to_owned();
        let key = user_info.map(|text| percent_decoded(text.strip_prefix(':').unwrap_or(text)));
        NodeUrl { url, api_key: key.filter(|key| !key.is_empty()).map(Secret::new) }
    }
}

/// Replaces `%` and two hex digits by the character; anything else stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                decoded.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_url_is_taken_out_of_it() {
        let split = |text: &str| {
            let node = NodeUrl::new(text);
            (node.url, node.api_key.map(|key| key.expose().clone()))
        };
        let with = |url: &str, key: &str| (url.to_owned(), Some(key.to_owned()));
        let without = |url: &str| (url.to_owned(), None);
        assert_eq!(split("http://localhost:8500/"), without("http://localhost:8500"));
        assert_eq!(split("http://secret@localhost:8500"), with("http://localhost:8500", "secret"));
        assert_eq!(split("https://:secret@a.example/tsm"), with("https://a.example/tsm", "secret"));
        assert_eq!(split("http://a%2Fb%3D@h"), with("http://h", "a/b="));
        assert_eq!(split("http://a/b+c=@h"), with("http://h", "a/b+c="));
        assert_eq!(split("http://100%@h"), with("http://h", "100%"));
        assert_eq!(split("http://a@b@h"), with("http://h", "a@b"));
        assert_eq!(split("http://@h"), without("http://h"));
        assert_eq!(split("secret@localhost:8500"), with("localhost:8500", "secret"));
    }
}
