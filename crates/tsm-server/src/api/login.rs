//! Login: an API key, and with it the application.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tracing::Span;
use tsm_types::api::AUTHORIZATION_SCHEME;
use tsm_types::{ApplicationId, ErrorCode, Failure};

use super::Shared;
use super::problem::Refusal;

/// Who calls. A handler that has one is reached by authenticated callers only.
pub(super) struct Caller {
    pub(super) application: ApplicationId,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        // Rule S-101: the same answer whatever is wrong, so that it says nothing about accepted keys.
        let refused =
            || Failure::new(ErrorCode::AuthenticationFailed, "this node does not accept the API key");
        let presented = presented_key(&parts.headers).ok_or_else(refused)?;
        let application = shared.api_keys.authenticate(presented).ok_or_else(refused)?;
        let application = ApplicationId::new(application).map_err(|failure| {
            tracing::error!(%failure, "the configuration accepts an API key for an impossible application");
            Failure::new(ErrorCode::NodeFault, "the node's configuration has an impossible application ID")
        })?;
        Span::current().record("application", application.as_str());
        Ok(Caller { application })
    }
}

/// The key of `Authorization: APIKey <key>`, if there is one such header and no second.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(AUTHORIZATION_SCHEME).then(|| key.trim_matches(' '))
}
