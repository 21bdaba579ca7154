//! Everything that the relay refuses, over HTTP and on sockets (`docs/protocols/relay.md §3, §4`).

use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use serde_json::json;

use crate::{
    edge::{http::answer, refusal::explained},
    error::{Fault, Reply, reply_table},
    store::StoreError,
};

reply_table! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RelayError {
        InvalidKey => Reply::new(
            401,
            "invalid api key",
            "show relay.api_key in the header X-API-KEY or API-KEY, or the parameter api_key",
        ),
        MethodNotAllowed(
            /// What the path has.
            method: &'static str
        ) => Reply::new(
            405,
            "method not allowed",
            "the path does not have the method; the header Allow says which it has",
        ),
        Json => Reply::new(
            400,
            "invalid json",
            "the body must be a JSON object; event_name is a text, delay_seconds a whole number of seconds",
        ),
        NoEventName => Reply::new(400, "缺少 event_name", "event_name must be a text that is not empty"),
        NoSubject => Reply::new(
            400,
            "缺少 subject",
            "subject is missing; any JSON will do, null too, and relay.lenient_push allows none",
        ),
        DelayTooLarge => Reply::new(400, "delay_seconds too large", "delay_seconds may be 2592000 (30 days)"),
        Unresolved => Reply::new(
            400,
            "token cannot be resolved",
            "token must be a text, a number, or an object with a text id or user_id; relay.unresolved_token = \
             broadcast sends such a push to everybody",
        ),
        /// By HTTP, or on a socket.
        TokenTooLong(limit: usize) => Reply::new(
            400,
            format!("token too long: it may have {limit} bytes"),
            "a token is the identifier of a user, or what proves it",
        ),
        /// On a socket.
        InvalidToken => Reply::new(401, "invalid token", ""),
        BadLimit => Reply::new(400, "limit is a number from 1 to 1000", ""),
        UnknownPush => Reply::new(404, "unknown or already sent", "no push with this id waits"),
        TooLarge => Reply::new(413, "body too large", "the body is larger than 1048576 bytes"),
        TooManyRequests => Reply::new(
            429,
            "too many requests",
            "more pushes than relay.pushes_per_second allows; try again in a second",
        ),
        TooManyConnections => Reply::new(
            429,
            "too many connections",
            "as many connections as limits.connections_per_address allows are open",
        ),
        Busy => Reply::new(503, "server is busy", "try again in a second"),
        DiskFull => Reply::new(
            503,
            "the server's disk is full",
            "nothing was kept; the operator has to make room for data.dir",
        ),
        Failed => Reply::new(500, "internal error", "the log says why"),
    }
    pub fn reply(&self) -> Reply;
}

/// A push has few ways to fail: whatever a client of the relay cannot cause is the server's own fault.
impl From<Fault> for RelayError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy | Fault::AppChannels { .. } | Fault::MemoryFull { .. } | Fault::ShuttingDown => Self::Busy,
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

impl From<StoreError> for RelayError {
    fn from(error: StoreError) -> Self {
        let fault = error.to_fault();
        if fault == Fault::Internal {
            tracing::error!(%error, "pushes that are kept cannot be read or written");
        }
        fault.into()
    }
}

impl From<RelayError> for HttpResponse {
    fn from(error: RelayError) -> Self {
        let Reply { code, text, reason } = error.reply();
        let mut response = answer::build(code);
        match error {
            RelayError::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, allowed));
            }
            RelayError::TooManyRequests | RelayError::TooManyConnections | RelayError::Busy => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        explained(response.json(json!({"code": -1, "msg": text})), &reason)
    }
}

/// The answer to a request that was carried out.
pub fn done(data: impl Serialize) -> HttpResponse {
    #[derive(Serialize)]
    struct Done<T> {
        code: i8,
        msg: &'static str,
        data: T,
    }
    // As long as most are. It cannot fail: texts, numbers and JSON are written into memory.
    let mut json = Vec::with_capacity(512);
    let _ = serde_json::to_writer(&mut json, &Done { code: 0, msg: "ok", data });
    HttpResponse::Ok().content_type(header::ContentType::json()).body(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn texts_name_the_limits() {
        assert!(RelayError::BadLimit.reply().text.ends_with(&format!(" {}", limits::PAGE_ITEMS_MAX)));
        assert!(RelayError::TooLarge.reply().reason.contains(&format!(" {} ", limits::RELAY_PUSH_BYTES)));
        assert!(RelayError::DelayTooLarge.reply().reason.contains(&format!(" {} ", limits::RELAY_DELAY.as_secs())));
    }
}
