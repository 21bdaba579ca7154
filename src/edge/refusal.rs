//! What a refusal says beside a body that a protocol document has laid down to the letter: what was refused, why, and
//! what would allow it.

use std::fmt::Display;

use actix_http::ws::{self, HandshakeError};
use actix_web::{
    HttpRequest, HttpResponse,
    body::MessageBody,
    http::header::{HeaderName, HeaderValue},
};

use crate::actors::refusals::Reason;

/// A protocol's own reason to refuse a client before the upgrade; `Display` is for the log.
pub trait Refused: Display {
    /// What it is counted as.
    fn reason(&self) -> Reason {
        Reason::Request
    }
}

/// Carries the reason where the body cannot: people see it with `curl -i` and in a browser's network view.
pub const REASON: HeaderName = HeaderName::from_static("refusal-reason");

/// `response`, with its reason in [`REASON`]. A text that no header can carry is left out.
pub fn explained<B: MessageBody>(mut response: HttpResponse<B>, reason: &str) -> HttpResponse<B> {
    if let (false, Ok(reason)) = (reason.is_empty(), HeaderValue::from_str(reason)) {
        response.headers_mut().insert(REASON, reason);
    }
    response
}

/// A request that is no WebSocket handshake (RFC 6455 §4.2.1); the text says which header is why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a WebSocket handshake: {0}")]
pub struct NoHandshake(&'static str);

impl NoHandshake {
    /// What the checks have let pass and the decoder does not take.
    pub const UNREADABLE: Self = Self("the request cannot be read as one");

    /// # Errors
    /// When the request is none.
    pub fn check(request: &HttpRequest) -> Result<(), Self> {
        ws::verify_handshake(request.head()).map_err(|error| {
            Self(match error {
                HandshakeError::GetMethodRequired => "the method must be GET",
                HandshakeError::NoWebsocketUpgrade => {
                    "the header Upgrade must be websocket (a proxy on the way must pass Upgrade and Connection on)"
                }
                HandshakeError::NoConnectionUpgrade => {
                    "the header Connection must have Upgrade (a proxy on the way must pass Upgrade and Connection on)"
                }
                HandshakeError::NoVersionHeader => "the header Sec-WebSocket-Version is missing; it must be 13",
                HandshakeError::UnsupportedVersion => "the header Sec-WebSocket-Version must be 13",
                HandshakeError::BadWebsocketKey => "the header Sec-WebSocket-Key is missing",
            })
        })
    }
}
