//! What can be told to a client of the group protocol, and the one table from the core's faults to it
//! (`docs/protocols/group.md §5`).

use std::borrow::Cow;

use crate::{error::Fault, limits};

/// A field of `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Token,
    GroupId,
    MessageId,
    MsgType,
    Content,
    ImageUrl,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BadFormat,
    UnknownType,
    Missing(Field),
    /// The connection is another user's.
    OtherUser,
    /// Not the name of a group.
    BadGroup,
    Unauthorized,
    Expired,
    NotMember,
    NoGroup,
    /// The same to somebody who wants to join it: the answer also says how groups are made.
    NoGroupToJoin,
    NoMessage,
    TooLarge,
    TooFrequent,
    /// There are as many groups, or members, as there may be.
    TooMany,
    Busy,
    NotStored,
    Internal,
}

impl Code {
    pub const fn number(self) -> u16 {
        match self {
            Self::BadFormat
            | Self::UnknownType
            | Self::Missing(_)
            | Self::OtherUser
            | Self::BadGroup
            | Self::TooMany => 400,
            Self::Unauthorized | Self::Expired => 401,
            Self::NotMember => 403,
            Self::NoGroup | Self::NoGroupToJoin | Self::NoMessage => 404,
            Self::TooLarge => 413,
            Self::TooFrequent => 429,
            Self::Internal => 500,
            Self::Busy | Self::NotStored => 503,
        }
    }

    /// What people read.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::BadFormat => "消息格式错误",
            Self::UnknownType => "未知的消息类型",
            Self::Missing(field) => return format!("{} 不能为空", field.name()).into(),
            Self::OtherUser => "连接已属于其他用户",
            Self::BadGroup => "group_id 无效",
            Self::Unauthorized => "未授权，请先认证",
            Self::Expired => INVALID_TOKEN,
            Self::NotMember => "不是群成员",
            Self::NoGroup | Self::NoGroupToJoin => "群聊不存在",
            Self::NoMessage => "消息不存在",
            Self::TooLarge => "消息过大",
            Self::TooFrequent => "发送过于频繁",
            Self::TooMany => "群聊或成员数量已达上限",
            Self::Internal => "服务器内部错误",
            Self::Busy => "服务繁忙，请稍后重试",
            Self::NotStored => "消息保存失败",
        }
        .into()
    }
}

impl Code {
    /// What the texts of the document do not say: why, and what would be taken.
    pub fn reason(self) -> Cow<'static, str> {
        match self {
            Self::BadFormat => "not one JSON object with the fields of its type, each of its kind",
            Self::UnknownType => {
                "unknown type; known are ping, auth, send_message, join_group, leave_group and mark_read"
            }
            Self::Missing(field) => return format!("{} is missing or empty", field.name()).into(),
            Self::OtherUser => "this connection is of the user that it was authenticated as; open another one",
            Self::BadGroup => "no group can have this group_id",
            Self::Unauthorized => {
                "not authenticated: send auth with a token first, or over HTTP Authorization (Bearer) \
                                   or X-Service-Key"
            }
            Self::Expired => "the token is wrong, or has expired: get another one",
            Self::NotMember => "not a member of the group: a service adds members by POST groups/<group_id>/members",
            Self::NoGroup | Self::NoGroupToJoin => "there is no group with this group_id",
            Self::NoMessage => "the group has no message with this message_id",
            Self::TooLarge => return format!("a message may have {} bytes", limits::GROUP_MESSAGE_BYTES).into(),
            Self::TooFrequent => {
                "more than group.messages_per_second and group.message_burst, or limits.publishes_per_second, allow; \
                 send more slowly"
            }
            Self::TooMany => "there are as many groups, or members of the group, as the server keeps",
            Self::Busy => "the server is busy; try again",
            Self::NotStored => "the store does not answer; try again",
            Self::Internal => "the log says why by the name in brackets",
        }
        .into()
    }
}

/// The source's text for a token that is wrong or over (§5).
pub const INVALID_TOKEN: &str = "Token 无效或已过期";

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::GroupId => "group_id",
            Self::MessageId => "message_id",
            Self::MsgType => "msg_type",
            Self::Content => "content",
            Self::ImageUrl => "image_url",
        }
    }
}

/// Most of the core's faults no client of this protocol can cause.
impl From<&Fault> for Code {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Malformed { .. }
            | Fault::BodyUnreadable { .. }
            | Fault::BadParameter { .. }
            | Fault::InvalidData { .. } => Self::BadFormat,
            Fault::ChannelNameTooShort { .. }
            | Fault::ChannelNameTooLong { .. }
            | Fault::ChannelNameForbidden
            | Fault::ChannelNameInvalid { .. } => Self::BadGroup,
            Fault::Unauthenticated { .. }
            | Fault::TokenExpired
            | Fault::TokenRevoked
            | Fault::TokenUnknown
            | Fault::KeyUnknown
            | Fault::InvalidJwt { .. }
            | Fault::InvalidToken => Self::Unauthorized,
            Fault::ChannelForbidden | Fault::NotPermitted { .. } | Fault::ForgedSender => Self::NotMember,
            Fault::NotFound { .. } | Fault::NotAttached => Self::NoGroup,
            Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } | Fault::BacklogTooLong => Self::TooLarge,
            Fault::PositionExpired | Fault::PositionUnreadable { .. } => Self::NoMessage,
            Fault::RateLimited => Self::TooFrequent,
            Fault::ChannelFull { .. } | Fault::TooManyChannels { .. } => Self::TooMany,
            Fault::DiskFull => Self::NotStored,
            Fault::Busy | Fault::ShuttingDown => Self::Busy,
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/group.md §5, row by row.
    #[test]
    fn the_documented_codes_and_texts() {
        for (code, number, text) in [
            (Code::BadFormat, 400, "消息格式错误"),
            (Code::UnknownType, 400, "未知的消息类型"),
            (Code::Missing(Field::GroupId), 400, "group_id 不能为空"),
            (Code::Missing(Field::Content), 400, "content 不能为空"),
            (Code::Unauthorized, 401, "未授权，请先认证"),
            (Code::NotMember, 403, "不是群成员"),
            (Code::NoGroup, 404, "群聊不存在"),
            (Code::NoMessage, 404, "消息不存在"),
            (Code::TooLarge, 413, "消息过大"),
            (Code::TooFrequent, 429, "发送过于频繁"),
            (Code::NotStored, 503, "消息保存失败"),
        ] {
            assert_eq!(code.number(), number);
            assert_eq!(code.text(), text);
        }
    }

    /// Whatever has an HTTP status of its own keeps the hundred.
    #[test]
    fn faults_keep_their_kind() {
        for fault in [
            Fault::Busy,
            Fault::DiskFull,
            Fault::RateLimited,
            Fault::Internal,
            Fault::TooLarge { what: "x", size: 2, limit: 1 },
            Fault::NotFound { what: "x" },
            Fault::TokenExpired,
            Fault::ShuttingDown,
        ] {
            assert_eq!(Code::from(&fault).number(), fault.http_status(), "{fault:?}");
        }
    }
}
