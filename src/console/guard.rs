//! The guard: a layer before every route that asks the gate and adds headers to every answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::warn;

use crate::console::gate::{Gate, GateRefusal};
use crate::service::server::Peer;

/// Nothing but what comes from here is loaded or run, nobody frames the page, and no text ever
/// becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The routes behind the gate, with the headers on every answer.
pub(super) fn guarded(router: Router, gate: Arc<Gate>) -> Router {
    router.layer(middleware::from_fn_with_state(gate, guard))
}

async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let tried = parts.headers.contains_key(header::AUTHORIZATION);
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let is_api = parts.uri.path().starts_with("/api/") && parts.uri.path() != "/api/hello";
    let passed = gate.pass(&parts).and_then(|()| {
        if is_api {
            gate.may_read(&parts.headers)
        } else {
            Ok(())
        }
    });
    let mut response = match passed {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    };
    // They are few: after some within a minute no token is looked at.
    if tried && response.status() == StatusCode::UNAUTHORIZED {
        let peer = peer.map(|peer| peer.to_string());
        warn!(peer, "a wrong token was given");
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), clipboard-read=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for GateRefusal {
    fn into_response(self) -> Response {
        let GateRefusal(status, words) = self;
        (
            status,
            [(header::CONTENT_TYPE, "application/json")],
            Body::from(json!({ "error": words }).to_string()),
        )
            .into_response()
    }
}
