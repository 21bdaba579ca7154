//! Everything that the relay refuses, one row each: the texts of the document, and beside them what they do not say
//! (`docs/protocols/relay.md §3, §4`).

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use serde_json::{Value, json};

use crate::{edge::refusal::explained, error::Fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    InvalidKey,
    /// Which method the path has.
    MethodNotAllowed(&'static str),
    Json,
    NoEventName,
    NoSubject,
    DelayTooLarge,
    Unresolved,
    /// By HTTP, or on a socket.
    TokenTooLong,
    /// On a socket: what proves an identifier may be longer than an identifier.
    ProofTooLong,
    /// On a socket.
    InvalidToken,
    BadLimit,
    UnknownPush,
    TooLarge,
    TooManyRequests,
    TooManyConnections,
    Busy,
    DiskFull,
    Failed,
}

/// Status, text, and the reason for the header `refusal-reason`.
struct Row(StatusCode, &'static str, &'static str);

impl RelayError {
    const fn row(self) -> Row {
        match self {
            Self::InvalidKey => Row(
                StatusCode::UNAUTHORIZED,
                "invalid api key",
                "show relay.api_key in the header X-API-KEY or API-KEY, or the parameter api_key",
            ),
            Self::MethodNotAllowed(_) => Row(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                "the path does not have the method; the header Allow says which it has",
            ),
            Self::Json => Row(
                StatusCode::BAD_REQUEST,
                "invalid json",
                "the body must be a JSON object; event_name is a text, delay_seconds a whole number of seconds",
            ),
            Self::NoEventName => {
                Row(StatusCode::BAD_REQUEST, "缺少 event_name", "event_name must be a text that is not empty")
            }
            Self::NoSubject => Row(
                StatusCode::BAD_REQUEST,
                "缺少 subject",
                "subject is missing; any JSON will do, null too, and relay.lenient_push allows none",
            ),
            Self::DelayTooLarge => {
                Row(StatusCode::BAD_REQUEST, "delay_seconds too large", "delay_seconds may be 2592000 (30 days)")
            }
            Self::Unresolved => Row(
                StatusCode::BAD_REQUEST,
                "token cannot be resolved",
                "token must be a text, a number, or an object with a text id or user_id; relay.unresolved_token = \
                 broadcast sends such a push to everybody",
            ),
            Self::TokenTooLong => Row(StatusCode::BAD_REQUEST, "token too long: it may have 1024 bytes", ""),
            Self::ProofTooLong => Row(StatusCode::BAD_REQUEST, "token too long: it may have 8192 bytes", ""),
            Self::InvalidToken => Row(StatusCode::UNAUTHORIZED, "invalid token", ""),
            Self::BadLimit => Row(StatusCode::BAD_REQUEST, "limit is a number from 1 to 1000", ""),
            Self::UnknownPush => Row(StatusCode::NOT_FOUND, "unknown or already sent", "no push with this id waits"),
            Self::TooLarge => {
                Row(StatusCode::PAYLOAD_TOO_LARGE, "body too large", "the body is larger than 1048576 bytes")
            }
            Self::TooManyRequests => Row(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests",
                "more pushes than relay.pushes_per_second allows; try again in a second",
            ),
            Self::TooManyConnections => Row(
                StatusCode::TOO_MANY_REQUESTS,
                "too many connections",
                "as many connections as limits.connections_per_address allows are open",
            ),
            Self::Busy => Row(StatusCode::SERVICE_UNAVAILABLE, "server is busy", "try again in a second"),
            Self::DiskFull => Row(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server's disk is full",
                "nothing was kept; the operator has to make room for data.dir",
            ),
            Self::Failed => Row(StatusCode::INTERNAL_SERVER_ERROR, "internal error", "the log says why"),
        }
    }

    pub const fn text(self) -> &'static str {
        self.row().1
    }
}

/// A push has few ways to fail: whatever a client of the relay cannot cause is the server's own fault.
impl From<Fault> for RelayError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy | Fault::ShuttingDown => Self::Busy,
            Fault::DiskFull => Self::DiskFull,
            Fault::RateLimited => Self::TooManyRequests,
            Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => Self::TooLarge,
            fault => {
                tracing::error!(%fault, "a push failed");
                Self::Failed
            }
        }
    }
}

impl From<RelayError> for HttpResponse {
    fn from(error: RelayError) -> Self {
        let Row(status, msg, reason) = error.row();
        let mut response = HttpResponseBuilder::new(status);
        match error {
            RelayError::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, allowed));
            }
            RelayError::TooManyRequests | RelayError::TooManyConnections | RelayError::Busy => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        explained(response.json(json!({"code": -1, "msg": msg})), reason)
    }
}

/// The answer to a request that was carried out.
pub fn done(data: Value) -> HttpResponse {
    HttpResponse::Ok().json(json!({"code": 0, "msg": "ok", "data": data}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn texts_name_the_limits() {
        for (error, limit) in [
            (RelayError::TokenTooLong, limits::RELAY_TOKEN_BYTES),
            (RelayError::ProofTooLong, limits::TOKEN_BYTES),
            (RelayError::BadLimit, limits::PAGE_ITEMS_MAX),
        ] {
            assert!(error.text().contains(&format!(" {limit}")), "{error:?}");
        }
        let in_reason = |error: RelayError, limit: usize| error.row().2.contains(&format!(" {limit} "));
        assert!(in_reason(RelayError::TooLarge, limits::RELAY_PUSH_BYTES));
        assert!(in_reason(RelayError::DelayTooLarge, limits::RELAY_DELAY.as_secs() as usize));
    }
}
