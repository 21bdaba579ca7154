//! The one error that clients can be told about.
//!
//! A [`Fault`] is a closed list: whoever needs another code adds a variant. Each protocol has one
//! table from here to its own form; here stand the Ably code and the HTTP status, because
//! those two are the field's widest vocabulary (`docs/protocols/ably.md §13`).

use std::borrow::Cow;

use thiserror::Error;

mod found;
mod table;

pub use found::{Found, reason, reason_at};
pub use table::Reply;
pub(crate) use table::reply_table;

/// Why a command was refused. `Display` is the public text in English.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("channel name is shorter than {min} characters")]
    ChannelNameTooShort { min: usize },
    #[error("channel name is longer than {max} characters")]
    ChannelNameTooLong { max: usize },
    #[error("channel name contains a character that is not allowed")]
    ChannelNameForbidden,
    #[error("channel has reached its limit of {cap} members")]
    ChannelFull { cap: usize },
    #[error("not attached to the channel; attach to it first")]
    NotAttached,
    #[error("a connection may attach to at most {limit} channels")]
    TooManyChannels { limit: usize },
    #[error("a subscription may name at most {limit} events")]
    TooManyEvents { limit: usize },
    #[error("event name is longer than {max} bytes")]
    EventNameTooLong { max: usize },
    #[error("the credentials do not allow this channel")]
    ChannelForbidden,
    #[error("the message names another sender than the user of its connection")]
    ForgedSender,
    #[error("a channel may have at most {limit} members present")]
    TooManyMembers { limit: usize },
    #[error(
        "rate limit of the connection exceeded; send more slowly \
         (the server allows limits.publishes_per_second, limits.publish_burst at once)"
    )]
    RateLimited,
    #[error("the server is busy, try again")]
    Busy,
    #[error("malformed request: {what}")]
    Malformed { what: Cow<'static, str> },
    #[error("the body cannot be read as {format}: {why}")]
    BodyUnreadable { format: &'static str, why: Box<str> },
    #[error("invalid parameter {name}: found {found}; allowed: {rule}")]
    BadParameter { name: &'static str, found: Found, rule: &'static str },
    #[error("the credentials cannot be read: {why}")]
    UnreadableCredentials { why: &'static str },
    #[error("connectionId or connectionKey is not one of a live connection of this client")]
    ForeignConnection,
    #[error("{what} is too large: {size} bytes exceed the limit of {limit} bytes")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("invalid channel name: found {found}; allowed: {rule}")]
    ChannelNameInvalid { found: Found, rule: &'static str },
    #[error("invalid clientId: found {found}; allowed: {rule}")]
    InvalidClientId { found: Found, rule: &'static str },
    #[error("invalid data: found {found}; allowed: {rule}")]
    InvalidData { found: Found, rule: &'static str },
    #[error("the protocol version (v or X-Ably-Version) is not supported: found {found}; allowed: a number from 1")]
    UnsupportedVersion { found: Found },
    #[error("messages[{index}].id: found {found}; allowed: with several messages <base>:{index}, one base for all")]
    InvalidMessageId { index: usize, found: Found },
    #[error("another frame was published with this msgSerial; send this one with a number that was not used before")]
    SerialReused,
    #[error("invalid {field}: found {found}; allowed: {rule}")]
    InvalidExtras { field: &'static str, found: Found, rule: &'static str },
    #[error("more than {limit} messages in one publish")]
    TooManyMessages { limit: usize },
    #[error("refused because _forceNack asks for it")]
    ForcedNack,
    #[error("invalid credentials: {why}")]
    Unauthenticated { why: &'static str },
    #[error("incompatible credentials: {why}")]
    IncompatibleCredentials { why: &'static str },
    #[error("a key over plain HTTP is not allowed here; use TLS or a token")]
    KeyWithoutTls,
    #[error(
        "timestamp: the token request was signed {seconds} s {side} by this server's clock; at most 120 s are allowed"
    )]
    TimestampNotCurrent { seconds: u64, side: &'static str },
    #[error("the nonce of the token request was used before; sign a new request with another one")]
    NonceReplayed,
    #[error("the key has been removed")]
    KeyRemoved,
    #[error("the key has been revoked")]
    KeyRevoked,
    #[error("the token has been revoked")]
    TokenRevoked,
    #[error("Key/token status changed (expire)")]
    TokenExpired,
    #[error("the token is not known")]
    TokenUnknown,
    #[error("invalid JWT: {why}")]
    InvalidJwt { why: Cow<'static, str> },
    #[error("the token cannot be read: a token is what this server has handed out, unchanged, or a JWT")]
    InvalidToken,
    #[error("the credentials do not permit {operation} on {on}: they permit {permitted}")]
    NotPermitted { operation: &'static str, on: Found, permitted: Box<str> },
    #[error("tokens can be revoked by the key that they are of only")]
    RevocationByOtherKey,
    #[error("revoking tokens needs a key, not a token")]
    RevocationNeedsKey,
    #[error("the tokens of this key cannot be revoked")]
    TokensNotRevocable,
    #[error(
        "the key has {count} revocations, the limit is {limit}: each ends when no token \
         that it concerns can live any more, after an hour and some minutes; \
         a target that is revoked already can be revoked again"
    )]
    TooManyRevocations { count: usize, limit: usize },
    #[error("this channel is for identified clients only; connect with a clientId")]
    NotIdentified,
    #[error("the channel was attached without the mode {mode}")]
    ModeNotRequested { mode: &'static str },
    #[error("the app has no key with this name")]
    KeyUnknown,
    #[error(
        "this server has no {transport} yet, only WebSockets: give the client the option \
         transports: ['web_socket'] (ably-js), and let WebSockets through every proxy on the way"
    )]
    NoTransport { transport: &'static str },
    #[error("{what} not found")]
    NotFound { what: &'static str },
    #[error("this path does not have the method; it has {allowed}")]
    MethodNotAllowed { allowed: &'static str },
    #[error("the server's disk is full; nothing was published")]
    DiskFull,
    #[error("internal error")]
    Internal,
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("nothing was heard from the client for too long")]
    Silent,
    #[error("a frame is larger than {limit} bytes")]
    FrameTooLarge { limit: usize },
    #[error("the WebSocket protocol was broken")]
    ProtocolBroken,
    #[error("the connection can no longer be resumed")]
    ConnectionExpired,
    #[error("the connection goes on by another transport")]
    TransportSuperseded,
    #[error("the connection key is not valid")]
    InvalidConnectionKey,
    #[error("messages came faster than they were read")]
    ReaderTooSlow,
    #[error("some messages since the position asked for are no longer kept")]
    PositionExpired,
    #[error("channelSerial: found {found}; allowed: the channelSerial of a frame of this channel")]
    PositionUnreadable { found: Found },
    #[error("more messages were missed than can be sent again")]
    BacklogTooLong,
    #[error("the attachment is older than the history that is kept")]
    UntilAttachTooOld,
    #[error("presence needs a clientId")]
    PresenceWithoutClientId,
}

/// What a client may do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// The same request may succeed later.
    Later,
}

impl Fault {
    /// The code of Ably's published list.
    pub const fn ably_code(&self) -> u32 {
        match self {
            Self::ChannelNameTooShort { .. } | Self::ChannelNameTooLong { .. } | Self::ChannelNameForbidden => 40010,
            Self::ForgedSender => 40012,
            Self::ChannelForbidden => 40160,
            Self::ChannelFull { .. } => 40300,
            Self::TooManyRevocations { .. } => 42910,
            Self::RateLimited => 42911,
            Self::Busy => 50004,
            Self::NotAttached => 90001,
            Self::TooManyChannels { .. } => 90010,
            Self::TooManyMembers { .. } => 91003,
            Self::Malformed { .. } => 40000,
            Self::BodyUnreadable { .. } => 40001,
            Self::BadParameter { .. } => 40003,
            Self::UnreadableCredentials { .. } => 40005,
            Self::ForeignConnection => 40006,
            Self::TooLarge { .. } => 40009,
            Self::ChannelNameInvalid { .. } => 40010,
            Self::InvalidClientId { .. } => 40012,
            Self::InvalidData { .. } => 40013,
            Self::UnsupportedVersion { .. } => 40017,
            Self::SerialReused => 40030,
            Self::InvalidMessageId { .. } => 40031,
            Self::InvalidExtras { .. } => 40032,
            Self::TooManyMessages { .. } => 40034,
            Self::ForcedNack => 40099,
            Self::Unauthenticated { .. } => 40101,
            Self::IncompatibleCredentials { .. } => 40102,
            Self::KeyWithoutTls => 40103,
            Self::TimestampNotCurrent { .. } => 40104,
            Self::NonceReplayed => 40105,
            Self::KeyRemoved => 40130,
            Self::KeyRevoked => 40131,
            Self::TokenRevoked => 40141,
            Self::TokenExpired => 40142,
            Self::TokenUnknown => 40143,
            Self::InvalidJwt { .. } => 40144,
            Self::InvalidToken => 40145,
            Self::NotPermitted { .. } => 40160,
            Self::NotIdentified => 40161,
            Self::TokensNotRevocable => 40163,
            Self::RevocationNeedsKey => 40162,
            Self::RevocationByOtherKey => 40133,
            Self::ModeNotRequested { .. } => 40165,
            Self::NotFound { .. } | Self::KeyUnknown | Self::NoTransport { .. } => 40400,
            Self::MethodNotAllowed { .. } => 40500,
            Self::Internal => 50000,
            Self::DiskFull => 50005,
            Self::ShuttingDown | Self::Silent => 80003,
            Self::FrameTooLarge { .. } => 40009,
            Self::ProtocolBroken => 80013,
            Self::ConnectionExpired => 80008,
            Self::TransportSuperseded => 80016,
            Self::InvalidConnectionKey => 80018,
            Self::ReaderTooSlow => 80020,
            Self::PositionExpired | Self::PositionUnreadable { .. } => 90003,
            Self::BacklogTooLong => 90004,
            Self::UntilAttachTooOld => 90008,
            Self::PresenceWithoutClientId => 91000,
            Self::TooManyEvents { .. } => 40003,
            Self::EventNameTooLong { .. } => 40016,
        }
    }

    pub const fn http_status(&self) -> u16 {
        match self {
            Self::ChannelNameTooShort { .. }
            | Self::ChannelNameTooLong { .. }
            | Self::ChannelNameForbidden
            | Self::ForgedSender
            | Self::TooManyChannels { .. }
            | Self::TooManyMembers { .. }
            | Self::TooManyEvents { .. }
            | Self::EventNameTooLong { .. }
            | Self::Malformed { .. }
            | Self::BodyUnreadable { .. }
            | Self::BadParameter { .. }
            | Self::UnreadableCredentials { .. }
            | Self::ForeignConnection
            | Self::ChannelNameInvalid { .. }
            | Self::InvalidClientId { .. }
            | Self::InvalidData { .. }
            | Self::UnsupportedVersion { .. }
            | Self::SerialReused
            | Self::InvalidMessageId { .. }
            | Self::InvalidExtras { .. }
            | Self::TooManyMessages { .. }
            | Self::ForcedNack
            | Self::ConnectionExpired
            | Self::ProtocolBroken
            | Self::InvalidConnectionKey
            | Self::ReaderTooSlow
            | Self::UntilAttachTooOld
            | Self::PresenceWithoutClientId => 400,
            Self::ChannelForbidden
            | Self::Unauthenticated { .. }
            | Self::IncompatibleCredentials { .. }
            | Self::KeyWithoutTls
            | Self::TimestampNotCurrent { .. }
            | Self::NonceReplayed
            | Self::KeyRemoved
            | Self::KeyRevoked
            | Self::TokenRevoked
            | Self::TokenExpired
            | Self::TokenUnknown
            | Self::InvalidJwt { .. }
            | Self::InvalidToken
            | Self::NotPermitted { .. }
            | Self::NotIdentified
            | Self::KeyUnknown
            | Self::TokensNotRevocable
            | Self::RevocationNeedsKey
            | Self::RevocationByOtherKey
            | Self::ModeNotRequested { .. } => 401,
            Self::ChannelFull { .. } => 403,
            Self::NotAttached
            | Self::NotFound { .. }
            | Self::NoTransport { .. }
            | Self::PositionExpired
            | Self::PositionUnreadable { .. }
            | Self::BacklogTooLong => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::TransportSuperseded => 410,
            Self::TooLarge { .. } | Self::FrameTooLarge { .. } => 413,
            Self::RateLimited | Self::TooManyRevocations { .. } => 429,
            Self::Internal => 500,
            Self::Busy | Self::DiskFull | Self::ShuttingDown | Self::Silent => 503,
        }
    }

    pub const fn retry(&self) -> Retry {
        match self {
            Self::ChannelFull { .. }
            | Self::RateLimited
            | Self::TooManyRevocations { .. }
            | Self::Busy
            | Self::DiskFull
            | Self::ShuttingDown => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// The close code that stands for "none given" and never goes over the wire (RFC 6455 §7.4.1).
pub const NO_CODE: u16 = 1005;

/// Why the server ends a WebSocket (RFC 6455 §7.4.1 and the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed and gave this code; we answer with the same. 1005 = it gave none.
    Answer(u16),
    /// A protocol ends it for a reason of its own.
    Refused { code: u16, text: &'static str },
    /// Everything is said.
    Done,
    /// The server shuts down.
    GoingAway,
    /// The WebSocket protocol was broken.
    ProtocolError,
    /// Text that is not UTF-8.
    InvalidText,
    /// A message or frame above the limit, in bytes.
    TooBig { limit: usize },
    /// More fragments than a message may have.
    TooManyFragments { limit: usize },
    /// Nothing was heard for the idle limit.
    Idle,
    /// The client has come back by a newer connection (`docs/protocols/postoffice.md §4`).
    Replaced,
    /// The same for the chat, whose code is another (`docs/protocols/chat.md §7`).
    TakenOver,
    /// The token that the connection was opened with has ended (`docs/protocols/chat.md §2`).
    TokenEnded,
    /// The reader was too slow and its outbox is full, or it took nothing for the stall limit.
    TooSlow,
}

impl CloseReason {
    pub const fn code(self) -> u16 {
        match self {
            Self::Answer(code) | Self::Refused { code, .. } => code,
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidText => 1007,
            // Fragments: not 1009, which asks for a smaller message; that would be refused again.
            Self::Idle | Self::TooManyFragments { .. } => 1008,
            Self::TooBig { .. } => 1009,
            Self::TooSlow => 1013,
            Self::Replaced => 4009,
            Self::TakenOver => 4001,
            Self::TokenEnded => 4401,
        }
    }

    /// Sent in the close frame, for people who look at it in a browser's console.
    pub fn text(self) -> Cow<'static, str> {
        let text = match self {
            Self::TooBig { limit } => return format!("message is too big: it may have {limit} bytes").into(),
            Self::TooManyFragments { limit } => {
                return format!("message has too many fragments: it may have {limit}").into();
            }
            Self::Answer(_) | Self::Done => "",
            Self::Refused { text, .. } => text,
            Self::GoingAway => "server is shutting down",
            Self::ProtocolError => "WebSocket protocol error",
            Self::InvalidText => "text is not UTF-8",
            Self::Idle => "nothing heard for too long",
            Self::TooSlow => "reader is too slow",
            Self::Replaced => "replaced",
            Self::TakenOver => "replaced by a newer connection",
            Self::TokenEnded => "the token has expired",
        };
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_fault() -> Vec<Fault> {
        vec![
            Fault::ChannelNameTooShort { min: 2 },
            Fault::ChannelNameTooLong { max: 12 },
            Fault::ChannelNameForbidden,
            Fault::ChannelFull { cap: 50 },
            Fault::NotAttached,
            Fault::TooManyChannels { limit: 200 },
            Fault::TooManyMembers { limit: 200 },
            Fault::TooManyEvents { limit: 64 },
            Fault::EventNameTooLong { max: 256 },
            Fault::ChannelForbidden,
            Fault::ForgedSender,
            Fault::RateLimited,
            Fault::TooManyRevocations { count: 1, limit: 1 },
            Fault::Busy,
            Fault::Malformed { what: "x".into() },
            Fault::BodyUnreadable { format: "JSON", why: "x".into() },
            Fault::BadParameter { name: "limit", found: Found::nothing(), rule: "x" },
            Fault::UnreadableCredentials { why: "x" },
            Fault::ForeignConnection,
            Fault::TooLarge { what: "x", size: 2, limit: 1 },
            Fault::ChannelNameInvalid { found: Found::nothing(), rule: "x" },
            Fault::InvalidClientId { found: Found::nothing(), rule: "x" },
            Fault::InvalidData { found: Found::nothing(), rule: "x" },
            Fault::UnsupportedVersion { found: Found::nothing() },
            Fault::SerialReused,
            Fault::InvalidMessageId { index: 0, found: Found::nothing() },
            Fault::InvalidExtras { field: "extras", found: Found::nothing(), rule: "x" },
            Fault::TooManyMessages { limit: 1 },
            Fault::ForcedNack,
            Fault::Unauthenticated { why: "x" },
            Fault::IncompatibleCredentials { why: "x" },
            Fault::KeyWithoutTls,
            Fault::TimestampNotCurrent { seconds: 200, side: "ago" },
            Fault::NonceReplayed,
            Fault::KeyRemoved,
            Fault::KeyRevoked,
            Fault::TokenRevoked,
            Fault::TokenExpired,
            Fault::TokenUnknown,
            Fault::InvalidJwt { why: "x".into() },
            Fault::InvalidToken,
            Fault::NotPermitted { operation: "publish", on: Found::nothing(), permitted: "nothing".into() },
            Fault::NotIdentified,
            Fault::TokensNotRevocable,
            Fault::RevocationNeedsKey,
            Fault::RevocationByOtherKey,
            Fault::ModeNotRequested { mode: "PUBLISH" },
            Fault::NotFound { what: "app" },
            Fault::KeyUnknown,
            Fault::NoTransport { transport: "comet transport" },
            Fault::MethodNotAllowed { allowed: "GET" },
            Fault::Internal,
            Fault::DiskFull,
            Fault::ShuttingDown,
            Fault::Silent,
            Fault::FrameTooLarge { limit: 1 },
            Fault::ProtocolBroken,
            Fault::ConnectionExpired,
            Fault::TransportSuperseded,
            Fault::InvalidConnectionKey,
            Fault::ReaderTooSlow,
            Fault::PositionExpired,
            Fault::PositionUnreadable { found: Found::nothing() },
            Fault::BacklogTooLong,
            Fault::UntilAttachTooOld,
            Fault::PresenceWithoutClientId,
        ]
    }

    #[test]
    fn codes_agree_with_statuses_as_in_ablys_list() {
        for fault in every_fault() {
            let from_code = fault.ably_code() / 100;
            // 9xxxx codes carry their status separately (docs/protocols/ably.md §13).
            if from_code < 600 {
                let allowed = match fault {
                    Fault::Busy | Fault::DiskFull => 503,
                    Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => 413,
                    // What is unknown is what was shown to get in (docs/protocols/ably.md §12.1).
                    Fault::KeyUnknown => 401,
                    _ => from_code,
                };
                assert_eq!(u32::from(fault.http_status()), allowed, "{fault:?}");
            }
        }
    }

    #[test]
    fn close_texts_fit_into_a_control_frame() {
        for reason in [
            CloseReason::Answer(1000),
            CloseReason::Done,
            CloseReason::GoingAway,
            CloseReason::ProtocolError,
            CloseReason::InvalidText,
            CloseReason::TooBig { limit: usize::MAX },
            CloseReason::TooManyFragments { limit: usize::MAX },
            CloseReason::Idle,
            CloseReason::TooSlow,
            CloseReason::Replaced,
            CloseReason::TakenOver,
            CloseReason::TokenEnded,
        ] {
            assert!(reason.text().len() <= 123, "{reason:?}");
        }
    }
}
