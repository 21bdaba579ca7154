//! The one error that clients can be told about.
//!
//! A [`Fault`] is a closed list: whoever needs another code adds a variant. Each protocol has one
//! table from here to its own form; here stand the Ably code and the HTTP status, because
//! those two are the field's widest vocabulary (`protocols/ably.md §13`).

use thiserror::Error;

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
    #[error("not attached to the channel")]
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
    #[error("rate limit of the connection exceeded")]
    RateLimited,
    #[error("the server is busy, try again")]
    Busy,
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
            Self::ChannelNameTooShort { .. }
            | Self::ChannelNameTooLong { .. }
            | Self::ChannelNameForbidden => 40010,
            Self::ForgedSender => 40012,
            Self::ChannelForbidden => 40160,
            Self::ChannelFull { .. } => 40300,
            Self::RateLimited => 42911,
            Self::Busy => 50004,
            Self::NotAttached => 90001,
            Self::TooManyChannels { .. } => 90010,
            Self::TooManyMembers { .. } => 91003,
            Self::TooManyEvents { .. } => 40003,
            Self::EventNameTooLong { .. } => 40016,
        }
    }

    pub const fn http_status(&self) -> u16 {
        match self {
            Self::ChannelForbidden => 401,
            Self::ChannelFull { .. } => 403,
            Self::NotAttached => 404,
            Self::RateLimited => 429,
            Self::Busy => 503,
            Self::ChannelNameTooShort { .. }
            | Self::ChannelNameTooLong { .. }
            | Self::ChannelNameForbidden
            | Self::ForgedSender
            | Self::TooManyChannels { .. }
            | Self::TooManyMembers { .. }
            | Self::TooManyEvents { .. }
            | Self::EventNameTooLong { .. } => 400,
        }
    }

    pub const fn retry(&self) -> Retry {
        match self {
            Self::ChannelFull { .. } | Self::RateLimited | Self::Busy => Retry::Later,
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
    /// Everything is said.
    Done,
    /// The client has come back by another transport.
    Superseded,
    /// The server shuts down.
    GoingAway,
    /// The WebSocket protocol was broken.
    ProtocolError,
    /// Text that is not UTF-8.
    InvalidText,
    /// A message or frame above the limit.
    TooBig,
    /// More fragments than a message may have.
    TooManyFragments,
    /// Nothing was heard for the idle limit.
    Idle,
    /// The reader was too slow and its outbox is full, or it took nothing for the stall limit.
    TooSlow,
}

impl CloseReason {
    pub const fn code(self) -> u16 {
        match self {
            Self::Answer(code) => code,
            Self::Done | Self::Superseded => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidText => 1007,
            // Fragments: not 1009, which asks for a smaller message; that would be refused again.
            Self::Idle | Self::TooManyFragments => 1008,
            Self::TooBig => 1009,
            Self::TooSlow => 1013,
        }
    }

    /// Sent in the close frame, for people who look at it in a browser's console.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Answer(_) | Self::Done => "",
            Self::Superseded => "the connection goes on by another transport",
            Self::GoingAway => "server is shutting down",
            Self::ProtocolError => "WebSocket protocol error",
            Self::InvalidText => "text is not UTF-8",
            Self::TooBig => "message is too big",
            Self::TooManyFragments => "message has too many fragments",
            Self::Idle => "nothing heard for too long",
            Self::TooSlow => "reader is too slow",
        }
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
            Fault::Busy,
        ]
    }

    #[test]
    fn codes_agree_with_statuses_as_in_ablys_list() {
        for fault in every_fault() {
            let from_code = fault.ably_code() / 100;
            // 9xxxx codes carry their status separately (protocols/ably.md §13).
            if from_code < 600 {
                let allowed = match fault {
                    Fault::Busy => 503,
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
            CloseReason::Superseded,
            CloseReason::GoingAway,
            CloseReason::ProtocolError,
            CloseReason::InvalidText,
            CloseReason::TooBig,
            CloseReason::TooManyFragments,
            CloseReason::Idle,
            CloseReason::TooSlow,
        ] {
            assert!(reason.text().len() <= 123, "{reason:?}");
        }
    }
}
