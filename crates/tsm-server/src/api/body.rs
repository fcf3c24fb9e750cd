//! From bytes to a body, strictly: every refusal names the place.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tsm_types::api::MAX_BODY_BYTES;
use tsm_types::{ErrorCode, Failure, KeyId};

use super::MAX_ECHO_CHARACTERS;
use super::problem::Refusal;

/// How long a caller may take to send its body.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body.
pub(super) struct Body<B>(pub(super) B);

impl<B: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<B> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(malformed("the header `Content-Type` must say application/json").into());
        }
        let bytes = tokio::time::timeout(BODY_READ_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| {
                malformed(format!("the body did not arrive within {} s", BODY_READ_TIMEOUT.as_secs()))
            })?
            .map_err(unreadable)?;
        Ok(Body(parse(&bytes)?))
    }
}

/// The `{key_id}` of a path.
pub(super) struct KeyIdInPath(pub(super) KeyId);

impl<S: Send + Sync> FromRequestParts<S> for KeyIdInPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_: PathRejection| malformed("the path is not percent-encoded UTF-8"))?;
        Ok(KeyIdInPath(KeyId::new(text)?))
    }
}

fn unreadable(rejection: BytesRejection) -> Failure {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Failure::new(
            ErrorCode::RequestTooLarge,
            format!("a body has at most {MAX_BODY_BYTES} bytes; this one has more"),
        ),
        BytesRejection::FailedToBufferBody(_) | _ => malformed("the body broke off"),
    }
}

fn malformed(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::RequestMalformed, detail)
}

/// Reads a body: JSON first, then its fields.
fn parse<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, Failure> {
    if bytes.is_empty() {
        return Err(malformed("the body is missing; this call takes a JSON object"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    let Unique(value) = serde_json::from_str(text)
        .map_err(|error| malformed(shortened(&format!("the body is not JSON as it should be: {error}"))))?;
    // Structs would also be read from arrays, which the API description does not offer.
    if !value.is_object() {
        return Err(Failure::new(ErrorCode::RequestInvalidField, "the body is not a JSON object"));
    }
    if value.get("session").is_some_and(Value::is_array) {
        return Err(Failure::invalid_field("session", "not an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let rule = shortened(&error.inner().to_string());
        match path.as_str() {
            // The message of a missing or unknown field names the field.
            "." => Failure::new(ErrorCode::RequestInvalidField, rule),
            field => Failure::invalid_field(&shortened(field), &rule),
        }
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// JSON in which no object has one name twice: readers disagree about which of them counts.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Unique(value))) = access.next_entry::<String, Unique>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{}` is there twice", shortened(&name))));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(value)) = access.next_element()? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body that never comes.
    struct Silent;

    impl hyper::body::Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s105_a_body_that_does_not_come_is_not_awaited_for_ever() {
        let request = Request::builder().header(CONTENT_TYPE, "application/json");
        let request = request.body(axum::body::Body::new(Silent)).unwrap();
        let Err(Refusal(failure)) = Body::<Value>::from_request(request, &()).await else {
            panic!("a body came")
        };
        assert_eq!(failure.code, ErrorCode::RequestMalformed);
        assert!(failure.detail.contains("10 s"), "{failure}");
    }

    #[test]
    fn what_is_repeated_to_the_caller_is_short() {
        let long = format!("{{\"a\":1}}{}", "x".repeat(10_000));
        for text in [long.clone(), format!("{{{long:?}:1}}"), format!("{{\"session_id\":{long:?}}}")] {
            let failure = parse::<tsm_types::api::SessionBody>(text.as_bytes()).unwrap_err();
            assert!(failure.detail.chars().count() < 3 * MAX_ECHO_CHARACTERS, "{failure}");
        }
    }
}
