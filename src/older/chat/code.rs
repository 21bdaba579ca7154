//! The numbers that a reply can have (`docs/protocols/chat.md §5`), and what the core's faults are among them.

use actix_web::http::StatusCode;

use crate::error::Fault;

/// Why a request was not carried out, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    UnknownCommand,
    BadRequest,
    JoinUnreadable,
    JoinNoRoom,
    LeaveUnreadable,
    LeaveNoRoom,
    GroupUnreadable,
    GroupNoName,
    GroupNoMembers,
    GroupMessageUnreadable,
    GroupMessageIncomplete,
    GroupInvalid,
    GroupBlocked,
    GroupNotStored,
    Unreadable,
    Incomplete,
    Offline,
    NotSent,
    BroadcastEmpty,
    BroadcastFailed,
    Blocked,
    NotStored,
    /// Ours: faster than the limits allow.
    TooFast,
    /// HTTP only.
    Unauthorized,
    Forbidden,
    MethodNotAllowed,
    TooLarge,
    /// HTTP only, in the shape of the source: the target is not online.
    SourceFailed,
    Unavailable,
}

impl Code {
    pub const fn number(self) -> u16 {
        match self {
            Self::UnknownCommand => 1000,
            Self::BadRequest => 1001,
            Self::JoinUnreadable => 2001,
            Self::JoinNoRoom => 2002,
            Self::LeaveUnreadable => 2003,
            Self::LeaveNoRoom => 2004,
            Self::GroupUnreadable => 3001,
            Self::GroupNoName => 3002,
            Self::GroupNoMembers => 3003,
            Self::GroupMessageUnreadable => 3004,
            Self::GroupMessageIncomplete => 3005,
            Self::GroupInvalid => 3006,
            // 3007 does not exist.
            Self::GroupBlocked => 3008,
            Self::GroupNotStored => 3009,
            Self::Unreadable => 10001,
            Self::Incomplete => 10002,
            Self::Offline => 10003,
            Self::NotSent => 10004,
            Self::BroadcastEmpty => 10005,
            Self::BroadcastFailed => 10006,
            Self::Blocked => 10007,
            Self::NotStored => 10008,
            Self::TooFast => 429,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::TooLarge => 413,
            Self::SourceFailed => 500,
            Self::Unavailable => 503,
        }
    }

    pub const fn text(self) -> &'static str {
        match self {
            Self::UnknownCommand => "未知命令",
            Self::BadRequest => "请求参数错误",
            Self::JoinUnreadable | Self::LeaveUnreadable => "房间参数解析失败",
            Self::JoinNoRoom | Self::LeaveNoRoom => "房间ID不能为空",
            Self::GroupUnreadable => "群聊参数解析失败",
            Self::GroupNoName => "群聊名称不能为空",
            Self::GroupNoMembers => "群成员列表不能为空",
            Self::GroupMessageUnreadable => "群聊消息解析失败",
            Self::GroupMessageIncomplete => "群聊ID和消息内容不能为空",
            Self::GroupInvalid => "群聊ID格式无效",
            Self::GroupBlocked | Self::Blocked => "消息包含敏感内容",
            Self::GroupNotStored => "群聊消息保存失败",
            Self::Unreadable => "消息解析失败",
            Self::Incomplete => "目标用户ID和消息内容不能为空",
            Self::Offline => "目标用户不在线",
            Self::NotSent => "消息发送失败",
            Self::BroadcastEmpty => "群发消息内容不能为空",
            Self::BroadcastFailed => "群发消息失败",
            Self::NotStored => "消息保存失败",
            Self::TooFast => "请求过于频繁",
            Self::Unauthorized => "未登陆",
            Self::Forbidden => "无权访问该房间",
            Self::MethodNotAllowed => "请求方法不允许",
            Self::TooLarge => "请求体过大",
            Self::SourceFailed => "发送失败",
            Self::Unavailable => "服务暂不可用",
        }
    }

    /// What the texts of the document do not say: why, and what would be taken.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownCommand => {
                "unknown cmd; known are send_message, send_group_message, broadcast, ping, join_room, leave_room, \
                 create_group and online"
            }
            Self::BadRequest => "not one JSON object with the fields of a request, each of its type",
            Self::JoinUnreadable | Self::LeaveUnreadable => "data must be an object with the text room_id",
            Self::JoinNoRoom | Self::LeaveNoRoom => "room_id is missing",
            Self::GroupUnreadable => {
                "data must be an object with the texts group_name and description, and member_ids, an array of ids \
                 of users"
            }
            Self::GroupNoName => "group_name is missing",
            Self::GroupNoMembers => "member_ids is missing or empty",
            Self::GroupMessageUnreadable => {
                "data must be an object with the texts group_id, content and client_id, and the number message_type"
            }
            Self::GroupMessageIncomplete => "group_id or content is missing",
            Self::GroupInvalid => "group_id must be one that create_group has answered",
            Self::GroupBlocked | Self::Blocked => "the moderation of this server does not let the text pass",
            Self::Unreadable => {
                "data must be an object with the numbers to_user_id and message_type, and the texts content, message \
                 and client_id"
            }
            Self::Incomplete => "to_user_id or content is missing",
            Self::BroadcastEmpty => "message is missing",
            Self::GroupNotStored | Self::NotStored => "the store does not answer; try again",
            Self::NotSent | Self::BroadcastFailed | Self::SourceFailed => {
                "the user is not connected, or the server is busy; try again"
            }
            Self::TooFast => {
                "more than limits.publishes_per_second, limits.publish_burst at once; try again in a second"
            }
            Self::Unauthorized => "no token that chat.jwt_secret has signed and that is not over",
            Self::Forbidden => "a private room is for its two users, a group for its members",
            Self::MethodNotAllowed => "the path does not have the method; the header Allow says which it has",
            Self::TooLarge => "a body may have 65536 bytes",
            Self::Unavailable => "the server cannot do this now; try again in a second",
            // Not refused: it was kept, as its data says.
            Self::Offline => "",
        }
    }

    /// The last paragraph of §5.
    pub const fn status(self) -> StatusCode {
        match self {
            // Stored; what was asked for is done as far as it can be.
            Self::Offline => StatusCode::OK,
            Self::Blocked | Self::GroupBlocked | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::NotStored | Self::GroupNotStored | Self::NotSent | Self::BroadcastFailed | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SourceFailed => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The code of a message that the core did not take; `failed` says which kind it was: most faults no client of
    /// this protocol can cause, and to its sender they are all the same.
    pub const fn of_fault(fault: &Fault, failed: Self) -> Self {
        match fault {
            Fault::RateLimited => Self::TooFast,
            Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } | Fault::InvalidData { .. } => Self::Unreadable,
            Fault::Malformed { .. } | Fault::BodyUnreadable { .. } => Self::BadRequest,
            _ => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §5, the codes that nobody can cause from outside: a channel that refuses what is published.
    #[test]
    fn faults_of_the_core() {
        for fault in [Fault::Busy, Fault::DiskFull, Fault::Internal, Fault::ShuttingDown, Fault::ChannelForbidden] {
            assert_eq!(Code::of_fault(&fault, Code::NotSent).number(), 10004);
            let code = Code::of_fault(&fault, Code::BroadcastFailed);
            assert_eq!((code.number(), code.text()), (10006, "群发消息失败"));
        }
        let code = Code::of_fault(&Fault::RateLimited, Code::NotSent);
        assert_eq!((code.number(), code.status().as_u16()), (429, 429));
    }

    #[test]
    fn statuses() {
        for (code, status) in [
            (Code::BadRequest, 400),
            (Code::Unreadable, 400),
            (Code::Incomplete, 400),
            (Code::BroadcastEmpty, 400),
            (Code::Offline, 200),
            (Code::Blocked, 403),
            (Code::NotStored, 503),
            (Code::Unauthorized, 401),
        ] {
            assert_eq!(code.status().as_u16(), status, "{code:?}");
        }
    }
}
