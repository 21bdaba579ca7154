//! Why the server ends a WebSocket.

use std::borrow::Cow;

use crate::error::reply_table;

/// The close code that stands for "none given" and never goes over the wire (RFC 6455 §7.4.1).
pub const NO_CODE: u16 = 1005;

reply_table! {
    /// Why the server ends a WebSocket: its close code (RFC 6455 §7.4.1 and the IANA registry), and the text of the close
    /// frame, for people who look at it in a browser's console.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum CloseReason {
        /// The client closed and gave this code; we answer with the same. 1005 = it gave none.
        Answer(code: u16) => (*code, "".into()),
        /// A protocol ends it for a reason of its own.
        Refused { code: u16, text: &'static str } => (*code, (*text).into()),
        /// Everything is said.
        Done => (1000, "".into()),
        /// The server shuts down.
        GoingAway => (1001, "server is shutting down".into()),
        /// The WebSocket protocol was broken.
        ProtocolError => (1002, "WebSocket protocol error".into()),
        /// Text that is not UTF-8.
        InvalidText => (1007, "text is not UTF-8".into()),
        /// A message or frame above the limit, in bytes.
        TooBig { limit: usize } => (1009, format!("message is too big: it may have {limit} bytes").into()),
        /// More fragments than a message may have. Not 1009, which asks for a smaller message: that would be refused again.
        TooManyFragments { limit: usize } => (1008, format!("message has too many fragments: it may have {limit}").into()),
        /// It sent far more than its rate allows.
        Flood => (1008, "far more frames than limits.publishes_per_second and limits.publish_burst allow".into()),
        /// The account of its client has no room for what it sends, or is to be sent.
        NoMemory { whose: &'static str, kind: &'static str, limit: usize, setting: &'static str } =>
            (1013, format!("{whose} keeps {limit} bytes, all that it may ({kind}; {setting})").into()),
        /// An operator has ended it.
        Disconnected => (1008, "disconnected by the operator of this server".into()),
        /// Nothing was heard for the idle limit.
        Idle => (1008, "nothing heard for too long".into()),
        /// The client has come back by a newer connection (`docs/protocols/postoffice.md §4`).
        Replaced => (4009, "replaced".into()),
        /// The same for the chat, whose code is another (`docs/protocols/chat.md §7`).
        TakenOver => (4001, "replaced by a newer connection".into()),
        /// The token that the connection was opened with has ended (`docs/protocols/chat.md §2`).
        TokenEnded => (4401, "the token has expired".into()),
        /// The reader was too slow and its outbox is full, or it took nothing for the stall limit.
        TooSlow => (1013, "reader is too slow".into()),
    }
    fn row(&self) -> (u16, Cow<'static, str>);
}

impl CloseReason {
    /// There is no room for a channel without which the connection is of no use.
    pub const NO_CHANNEL: Self =
        Self::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };

    pub fn code(self) -> u16 {
        self.row().0
    }

    pub fn text(self) -> Cow<'static, str> {
        self.row().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            CloseReason::NoMemory {
                whose: "the client's network",
                kind: "request_body",
                limit: usize::MAX,
                setting: "limits.network_share",
            },
            CloseReason::Flood,
            CloseReason::Disconnected,
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
