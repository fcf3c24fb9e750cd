//! Refusals: problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tsm_types::api::{AUTHORIZATION_SCHEME, Problem};
use tsm_types::{ErrorCode, Failure};

/// A failure on its way to the caller.
pub(crate) struct Refusal(pub(super) Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document =
            serde_json::to_vec(&Problem::from(&self.0)).expect("strings and numbers always encode");
        let mut response = (status, document).into_response();
        // For the log line of the request.
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if code == ErrorCode::AuthenticationFailed {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(AUTHORIZATION_SCHEME));
        }
        response
    }
}
