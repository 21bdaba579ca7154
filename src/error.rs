//! The one error that clients can be told about.
//!
//! A [`Fault`] is a closed list: whoever needs another code adds a variant. Each protocol has one
//! table from here to its own form; here stand the Ably code and the HTTP status, because
//! those two are the field's widest vocabulary (`docs/protocols/ably.md §13`).

use std::borrow::Cow;

use thiserror::Error;

mod close;
mod found;
mod table;

pub use close::{CloseReason, NO_CODE};
pub use found::{Found, reason, reason_at};
pub use table::{Reply, reply_table};

reply_table! {
    /// Why a command was refused. `Display` is the public text in English; behind each stand its code in Ably's published
    /// list and its HTTP status.
    #[derive(Clone, Debug, Error, PartialEq, Eq)]
    pub enum Fault {
        #[error("channel name is shorter than {min} characters")]
        ChannelNameTooShort { min: usize } => (40010, 400),
        #[error("channel name is longer than {max} characters")]
        ChannelNameTooLong { max: usize } => (40010, 400),
        #[error("channel name contains a character that is not allowed")]
        ChannelNameForbidden => (40010, 400),
        #[error("channel has reached its limit of {cap} members")]
        ChannelFull { cap: usize } => (40300, 403),
        #[error("not attached to the channel; attach to it first")]
        NotAttached => (90001, 404),
        #[error("a connection may attach to at most {limit} channels")]
        TooManyChannels { limit: usize } => (90010, 400),
        #[error("a subscription may name at most {limit} events")]
        TooManyEvents { limit: usize } => (40003, 400),
        #[error("event name is longer than {max} bytes")]
        EventNameTooLong { max: usize } => (40016, 400),
        #[error("the credentials do not allow this channel")]
        ChannelForbidden => (40160, 401),
        #[error("the message names another sender than the user of its connection")]
        ForgedSender => (40012, 400),
        #[error("a channel may have at most {limit} members present")]
        TooManyMembers { limit: usize } => (91003, 400),
        #[error(
            "rate limit of the connection exceeded; send more slowly \
             (the server allows limits.publishes_per_second, limits.publish_burst at once)"
        )]
        RateLimited => (42911, 429),
        #[error(
            "far more frames than limits.publishes_per_second and limits.publish_burst allow: the connection ends; \
             send more slowly"
        )]
        Flooded => (42921, 429),
        #[error("the members of a channel may have {limit} bytes in all, their data included")]
        PresenceTooLarge { limit: usize } => (91006, 400),
        #[error("{whose} keeps all that it may: {limit} bytes ({kind}; {setting} allows more)")]
        MemoryFull { whose: &'static str, kind: &'static str, limit: usize, setting: &'static str } => (42910, 429),
        #[error("the app has {limit} channels that somebody is attached to, all that it may (limits.channels, limits.app_share)")]
        AppChannels { limit: usize } => (42910, 429),
        #[error("{why}")]
        TooManyRequests { why: Box<str> } => (42910, 429),
        #[error("the server is busy, try again")]
        Busy => (50004, 503),
        #[error("malformed request: {what}")]
        Malformed { what: Cow<'static, str> } => (40000, 400),
        #[error("the body cannot be read as {format}: {why}")]
        BodyUnreadable { format: &'static str, why: Box<str> } => (40001, 400),
        #[error("invalid parameter {name}: found {found}; allowed: {rule}")]
        BadParameter { name: &'static str, found: Found, rule: &'static str } => (40003, 400),
        #[error("the filter is not an expression of JMESPath that can be used here: {why}")]
        InvalidFilter { why: Box<str> } => (40003, 400),
        #[error("the channel has as many different filters as it may have ({limit}); use one of them, or none")]
        TooManyFilters { limit: usize } => (42910, 429),
        #[error("the summary of the message has as many {what} as it may have ({limit})")]
        SummaryFull { what: &'static str, limit: usize } => (42910, 429),
        #[error("the credentials cannot be read: {why}")]
        UnreadableCredentials { why: &'static str } => (40005, 400),
        #[error("connectionId or connectionKey is not one of a live connection of this client")]
        ForeignConnection => (40006, 400),
        #[error("the messages of one publish belong to one connection: all of them have the same connectionKey, or none has one")]
        SeveralConnections => (40006, 400),
        #[error("{what} is too large: {size} bytes exceed the limit of {limit} bytes")]
        TooLarge { what: &'static str, size: usize, limit: usize } => (40009, 413),
        #[error("invalid channel name: found {found}; allowed: {rule}")]
        ChannelNameInvalid { found: Found, rule: &'static str } => (40010, 400),
        #[error("invalid clientId: found {found}; allowed: {rule}")]
        InvalidClientId { found: Found, rule: &'static str } => (40012, 400),
        #[error("invalid data: found {found}; allowed: {rule}")]
        InvalidData { found: Found, rule: &'static str } => (40013, 400),
        #[error("the protocol version (v or X-Ably-Version) is not supported: found {found}; allowed: a number from 1")]
        UnsupportedVersion { found: Found } => (40017, 400),
        #[error("messages[{index}].id: found {found}; allowed: with several messages <base>:{index}, one base for all")]
        InvalidMessageId { index: usize, found: Found } => (40031, 400),
        #[error("another frame was published with this msgSerial; send this one with a number that was not used before")]
        SerialReused => (40030, 400),
        #[error("invalid {field}: found {found}; allowed: {rule}")]
        InvalidExtras { field: &'static str, found: Found, rule: &'static str } => (40032, 400),
        #[error("more than {limit} messages in one publish")]
        TooManyMessages { limit: usize } => (40034, 400),
        #[error("more than {limit} channels in one batch")]
        TooManyInBatch { limit: usize } => (40000, 400),
        #[error("{failed} of the {all} requests of the batch failed; batchResponse has the outcome of each")]
        BatchPartlyFailed { failed: usize, all: usize } => (40020, 400),
        #[error("refused because _forceNack asks for it")]
        ForcedNack => (40099, 400),
        #[error("invalid credentials: {why}")]
        Unauthenticated { why: &'static str } => (40101, 401),
        #[error("incompatible credentials: {why}")]
        IncompatibleCredentials { why: &'static str } => (40102, 401),
        #[error("a key over plain HTTP is not allowed here; use TLS or a token")]
        KeyWithoutTls => (40103, 401),
        #[error(
            "Timestamp not current: the token request was signed {seconds} s {side} by this server's clock; at most 120 s are allowed"
        )]
        TimestampNotCurrent { seconds: u64, side: &'static str } => (40104, 401),
        #[error("the nonce of the token request was used before; sign a new request with another one")]
        NonceReplayed => (40105, 401),
        #[error("the key has been removed")]
        KeyRemoved => (40130, 401),
        #[error("the key has been revoked")]
        KeyRevoked => (40131, 401),
        #[error("the token has been revoked")]
        TokenRevoked => (40141, 401),
        #[error("Key/token status changed (expire)")]
        TokenExpired => (40142, 401),
        #[error("the token is not known")]
        TokenUnknown => (40143, 401),
        #[error("invalid JWT: {why}")]
        InvalidJwt { why: Cow<'static, str> } => (40144, 401),
        #[error("the token cannot be read: a token is what this server has handed out, unchanged, or a JWT")]
        InvalidToken => (40145, 401),
        #[error("the credentials do not permit {operation} on {on}: they permit {permitted}")]
        NotPermitted { operation: &'static str, on: Found, permitted: Box<str> } => (40160, 401),
        #[error("tokens can be revoked by the key that they are of only")]
        RevocationByOtherKey => (40133, 401),
        #[error("revoking tokens needs a key, not a token")]
        RevocationNeedsKey => (40162, 401),
        #[error("the tokens of this key cannot be revoked")]
        TokensNotRevocable => (40163, 401),
        #[error(
            "the key has {count} revocations, the limit is {limit}: each ends when no token \
             that it concerns can live any more, after an hour and some minutes; \
             a target that is revoked already can be revoked again"
        )]
        TooManyRevocations { count: usize, limit: usize } => (42910, 429),
        #[error(
            "{limit} signed token requests of the key are remembered, each until it is too old to be used again; that is the \
             limit: wait some seconds, or sign with another key"
        )]
        TooManyTokenRequests { limit: usize } => (42910, 429),
        #[error("the channels of the app are being listed for another request; ask again when that is answered")]
        Enumerating => (42912, 429),
        #[error("this channel is for identified clients only; connect with a clientId")]
        NotIdentified => (40161, 401),
        #[error("the channel was attached without the mode {mode}")]
        ModeNotRequested { mode: &'static str } => (40165, 401),
        #[error("the app has no key with this name")]
        KeyUnknown => (40400, 401),
        #[error("the message is another client's: the credentials permit changes of one's own messages only")]
        NotOwn => (40160, 401),
        #[error("the credentials permit changes of one's own messages only, and the client is anonymous; connect with a clientId")]
        NotOwnAnonymous => (40166, 401),
        #[error("the messages of this channel cannot be changed or annotated; mutableMessages in the rule of its namespace allows it")]
        NotMutable => (93002, 400),
        #[error("invalid object message: {field}: found {found}; allowed: {rule}")]
        InvalidObject { field: &'static str, found: Found, rule: &'static str } => (92000, 400),
        #[error("the objects of the channel have as many {what} as they may have ({limit}); deleted and removed ones count for a day")]
        ObjectsFull { what: &'static str, limit: usize } => (92001, 400),
        #[error("the object {id} was deleted")]
        ObjectDeleted { id: Box<str> } => (92002, 400),
        #[error("the channel has no object with this id: found {found}")]
        ObjectUnknown { found: Found } => (92004, 404),
        #[error("the path leads to nothing: found {found}")]
        PathUnknown { found: Found } => (92005, 400),
        #[error("the operation needs an objectId or a path")]
        NoObjectNamed => (92006, 400),
        #[error("what the path leads to cannot be changed in this way: found {found}; allowed: {rule}")]
        UnfitForPath { found: &'static str, rule: &'static str } => (92007, 400),
        #[error("{what} not found")]
        NotFound { what: &'static str } => (40400, 404),
        #[error("{what} is off; set {setting} to turn it on")]
        SwitchedOff { what: &'static str, setting: &'static str } => (40400, 404),
        #[error("this path does not have the method; it has {allowed}")]
        MethodNotAllowed { allowed: &'static str } => (40500, 405),
        #[error("the server's disk is full; nothing was published")]
        DiskFull => (50005, 503),
        #[error("internal error")]
        Internal => (50000, 500),
        #[error("the server is shutting down")]
        ShuttingDown => (80003, 503),
        #[error("nothing was heard from the client for too long")]
        Silent => (80003, 503),
        #[error("the operator of this server has ended the connection")]
        DisconnectedByOperator => (80003, 503),
        #[error("a frame is larger than {limit} bytes")]
        FrameTooLarge { limit: usize } => (40009, 413),
        #[error("the WebSocket protocol was broken")]
        ProtocolBroken => (80013, 400),
        #[error("the connection can no longer be resumed")]
        ConnectionExpired => (80008, 400),
        #[error("the connection goes on by another transport")]
        TransportSuperseded => (80016, 410),
        #[error("no comet conversation has this key: it has ended, or the connection goes on by another transport; connect again")]
        ConversationUnknown => (80022, 410),
        #[error("{why}")]
        TooManyConnects { why: Box<str> } => (80021, 429),
        #[error("{why}")]
        NoRoom { why: Box<str> } => (50003, 503),
        #[error("invalid connection key")]
        InvalidConnectionKey => (80018, 400),
        #[error("messages came faster than they were read")]
        ReaderTooSlow => (80020, 400),
        #[error("some messages since the position asked for are no longer kept")]
        PositionExpired => (90003, 404),
        #[error("channelSerial: found {found}; allowed: the channelSerial of a frame of this channel")]
        PositionUnreadable { found: Found } => (90003, 404),
        #[error("more messages were missed than can be sent again")]
        BacklogTooLong => (90004, 404),
        #[error("the attachment is older than the history that is kept")]
        UntilAttachTooOld => (90008, 400),
        #[error("presence needs a clientId")]
        PresenceWithoutClientId => (91000, 400),
    }
    fn row(&self) -> (u32, u16);
}

impl Fault {
    pub fn invalid_object(field: &'static str, found: &str, rule: &'static str) -> Self {
        Self::InvalidObject { field, found: Found::text(found), rule }
    }

    /// The code of Ably's published list.
    pub fn ably_code(&self) -> u32 {
        self.row().0
    }

    pub fn http_status(&self) -> u16 {
        self.row().1
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
            Fault::PresenceTooLarge { limit: 1 },
            Fault::MemoryFull { whose: "the app", kind: "window", limit: 1, setting: "limits.app_share" },
            Fault::AppChannels { limit: 1 },
            Fault::TooManyRequests { why: "x".into() },
            Fault::RateLimited,
            Fault::Flooded,
            Fault::TooManyRevocations { count: 1, limit: 1 },
            Fault::TooManyTokenRequests { limit: 1 },
            Fault::Enumerating,
            Fault::Busy,
            Fault::Malformed { what: "x".into() },
            Fault::BodyUnreadable { format: "JSON", why: "x".into() },
            Fault::BadParameter { name: "limit", found: Found::nothing(), rule: "x" },
            Fault::SummaryFull { what: "clients", limit: 1 },
            Fault::UnreadableCredentials { why: "x" },
            Fault::ForeignConnection,
            Fault::SeveralConnections,
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
            Fault::NotOwn,
            Fault::NotOwnAnonymous,
            Fault::NotMutable,
            Fault::KeyUnknown,
            Fault::ConversationUnknown,
            Fault::TooManyConnects { why: "too many new WebSockets".into() },
            Fault::NoRoom { why: "1 WebSockets are open".into() },
            Fault::MethodNotAllowed { allowed: "GET" },
            Fault::Internal,
            Fault::DiskFull,
            Fault::ShuttingDown,
            Fault::Silent,
            Fault::DisconnectedByOperator,
            Fault::FrameTooLarge { limit: 1 },
            Fault::ProtocolBroken,
            Fault::ConnectionExpired,
            Fault::TransportSuperseded,
            Fault::InvalidConnectionKey,
            Fault::ReaderTooSlow,
            Fault::PositionExpired,
            Fault::PositionUnreadable { found: Found::nothing() },
            Fault::InvalidObject { field: "x", found: Found::nothing(), rule: "x" },
            Fault::ObjectsFull { what: "objects", limit: 1 },
            Fault::ObjectDeleted { id: "x".into() },
            Fault::ObjectUnknown { found: Found::nothing() },
            Fault::PathUnknown { found: Found::nothing() },
            Fault::NoObjectNamed,
            Fault::UnfitForPath { found: "x", rule: "x" },
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
                    Fault::Busy | Fault::DiskFull | Fault::NoRoom { .. } => 503,
                    Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => 413,
                    // What is unknown is what was shown to get in (docs/protocols/ably.md §12.1).
                    Fault::KeyUnknown => 401,
                    _ => from_code,
                };
                assert_eq!(u32::from(fault.http_status()), allowed, "{fault:?}");
            }
        }
    }
}
