//! Request IDs: one name for a request in the caller's log and in the node's.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tracing::{Instrument, debug, info_span, warn};
use tsm_types::ErrorCode;

/// Carries the request ID: taken from the caller if it gives one, and always in the answer.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A longer request ID is replaced: it would only fill the log.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Gives the request its ID and its log span.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    // The pattern, not the path: what strangers ask for does not belong in the log.
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        route,
        application = tracing::field::Empty,
    );
    async move {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        match response.extensions().get::<ErrorCode>() {
            Some(code) if status >= 500 => warn!(status, %code, "answered"),
            Some(code) => debug!(status, %code, "answered"),
            None => debug!(status, "answered"),
        }
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
        response
    }
    .instrument(span)
    .await
}

/// The caller's ID if it is visible ASCII of a sensible length, otherwise a fresh one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID_HEADER).filter(sensible).cloned().unwrap_or_else(|| {
        let mut bytes = [0u8; 16];
        // Without randomness the answer still has to go out; a request ID is no secret.
        let _ = getrandom::fill(&mut bytes);
        HeaderValue::try_from(URL_SAFE_NO_PAD.encode(bytes)).expect("base64 is visible ASCII")
    })
}
