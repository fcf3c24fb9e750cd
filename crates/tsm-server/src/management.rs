//! What those who watch a node see: whether it is well, what it has done, who it is.
//!
//! | path | permission | |
//! |---|---|---|
//! | `/ping` | none | the process runs |
//! | `/health` | `HEALTH` | whether the node takes sessions; if not, 503 and the reasons; what is known of the configured players |
//! | `/metrics` | `METRICS` | Prometheus text, if the configuration says so |
//! | `/info` | `TSMINFO` | player, public key, versions |

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tsm_node::{Node, PlayerWay, Ways};
use tsm_types::api::{HealthReply, PlayerHealth};
use tsm_types::{ErrorCode, Failure};

use crate::api::{self, NodeApi, Refusal};
use crate::config::{Access, Permission, Verdict};
use crate::metrics;

/// The paths of a node's management port.
pub(crate) fn router(node: Node, access: Access, prometheus: bool) -> Router {
    let router = Router::new()
        .route("/ping", get(async || "pong"))
        .route("/health", get(health))
        .route("/info", get(info));
    let router = if prometheus { router.route("/metrics", get(show_metrics)) } else { router };
    router.fallback(unknown_route).with_state(Arc::new(Watched { node, access }))
}

struct Watched {
    node: Node,
    access: Access,
}

async fn health(State(watched): State<Arc<Watched>>, headers: HeaderMap) -> Result<Response, Refusal> {
    watched.allows(&headers, Permission::Health)?;
    let reasons = watched.node.not_ready().await;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let Ways { players, trouble } = watched.node.ways();
    let player = |way: PlayerWay| PlayerHealth {
        player: way.player.0,
        connected: way.connected,
        stopping: way.stopping,
        status: way.status,
    };
    let players = players.into_iter().map(player).collect();
    Ok((status, Json(HealthReply { ready, reasons, players, broker: trouble })).into_response())
}

async fn show_metrics(State(watched): State<Arc<Watched>>, headers: HeaderMap) -> Result<Response, Refusal> {
    watched.allows(&headers, Permission::Metrics)?;
    let text = metrics::prometheus_text(&watched.node.metrics());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn info(State(watched): State<Arc<Watched>>, headers: HeaderMap) -> Result<Response, Refusal> {
    watched.allows(&headers, Permission::TsmInfo)?;
    Ok(Json(api::version_reply(&NodeApi::about(&watched.node))).into_response())
}

async fn unknown_route(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(api::MAX_ECHO_CHARACTERS).collect();
    Failure::new(ErrorCode::RequestUnknownRoute, format!("there is no {path} at the management port")).into()
}

impl Watched {
    fn allows(&self, headers: &HeaderMap, permission: Permission) -> Result<(), Failure> {
        match self.access.allows(api::presented_key(headers), permission) {
            Verdict::Allowed => Ok(()),
            Verdict::Forbidden => Err(Failure::new(
                ErrorCode::AuthenticationForbidden,
                format!("this API key lacks the permission {}", permission.name()),
            )),
            Verdict::Unknown => Err(Failure::new(
                ErrorCode::AuthenticationFailed,
                "the management port does not accept the API key",
            )),
        }
    }
}
