//! The numbers that a reply can have (`docs/protocols/chat.md §5`), and what the core's faults are among them.

use crate::error::{Fault, reply_table};

/// What a client gets: the number, the HTTP status, the document's text, and in English why and what would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: u16,
    pub status: u16,
    pub text: &'static str,
    pub reason: &'static str,
}

const fn row(number: u16, status: u16, text: &'static str, reason: &'static str) -> Row {
    Row { number, status, text, reason }
}

const ROOM: &str = "data must be an object with the text room_id";
const NO_ROOM: &str = "room_id is missing";
const BLOCKED: &str = "the moderation of this server does not let the text pass";
const NOT_STORED: &str = "the store does not answer; try again";
const NOT_SENT: &str = "the user is not connected, or the server is busy; try again";

reply_table! {
    /// Why a request was not carried out, or not wholly.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Code {
        UnknownCommand => row(1000, 400, "未知命令",
            "unknown cmd; known are send_message, send_group_message, broadcast, ping, join_room, leave_room, \
             create_group and online"),
        BadRequest => row(1001, 400, "请求参数错误",
            "not one JSON object with the fields of a request, each of its type"),
        JoinUnreadable => row(2001, 400, "房间参数解析失败", ROOM),
        JoinNoRoom => row(2002, 400, "房间ID不能为空", NO_ROOM),
        LeaveUnreadable => row(2003, 400, "房间参数解析失败", ROOM),
        LeaveNoRoom => row(2004, 400, "房间ID不能为空", NO_ROOM),
        GroupUnreadable => row(3001, 400, "群聊参数解析失败",
            "data must be an object with the texts group_name and description, and member_ids, an array of ids of \
             users"),
        GroupNoName => row(3002, 400, "群聊名称不能为空", "group_name is missing"),
        GroupNoMembers => row(3003, 400, "群成员列表不能为空", "member_ids is missing or empty"),
        GroupMessageUnreadable => row(3004, 400, "群聊消息解析失败",
            "data must be an object with the texts group_id, content and client_id, and the number message_type"),
        GroupMessageIncomplete => row(3005, 400, "群聊ID和消息内容不能为空", "group_id or content is missing"),
        GroupInvalid => row(3006, 400, "群聊ID格式无效",
            "group_id must be group_<number> or group_<number>_<number>, each number of 1 to 20 digits, as create_group \
             answers it; with chat.unknown_group: broadcast any such id is taken, as group_12345"),
        GroupBlocked => row(3008, 403, "消息包含敏感内容", BLOCKED),
        GroupNotStored => row(3009, 503, "群聊消息保存失败", NOT_STORED),
        Unreadable => row(10001, 400, "消息解析失败",
            "data must be an object with the numbers to_user_id and message_type, and the texts content and client_id"),
        Incomplete => row(10002, 400, "目标用户ID和消息内容不能为空", "to_user_id or content is missing"),
        /// Not refused: the message is stored, as its data says.
        Offline => row(10003, 200, "目标用户不在线", ""),
        NotSent => row(10004, 503, "消息发送失败", NOT_SENT),
        BroadcastEmpty => row(10005, 400, "群发消息内容不能为空", "message is missing"),
        BroadcastFailed => row(10006, 503, "群发消息失败", "the server is busy; try again"),
        Blocked => row(10007, 403, "消息包含敏感内容", BLOCKED),
        NotStored => row(10008, 503, "消息保存失败", NOT_STORED),
        /// Ours: faster than the limits allow.
        TooFast => row(429, 429, "请求过于频繁",
            "more than limits.publishes_per_second, limits.publish_burst at once; try again in a second"),
        /// HTTP only, as those behind it.
        Unauthorized => row(401, 401, "未登陆", "no token that chat.jwt_secret has signed and that is valid now"),
        Forbidden => row(403, 403, "无权访问该房间",
            "a private room is for its two users, a group for its members, another room for who has joined it"),
        MethodNotAllowed => row(405, 405, "请求方法不允许",
            "the path does not have the method; the header Allow says which it has"),
        TooLarge => row(413, 413, "请求体过大", "a body may have 65536 bytes"),
        /// In the shape of the source: the target is not online.
        SourceFailed => row(500, 500, "发送失败", NOT_SENT),
        Unavailable => row(503, 503, "服务暂不可用", "the server cannot do this now; try again in a second"),
    }
    pub fn row(&self) -> Row;
}

impl Code {
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
            assert_eq!(Code::of_fault(&fault, Code::NotSent).row().number, 10004);
            let row = Code::of_fault(&fault, Code::BroadcastFailed).row();
            assert_eq!((row.number, row.text), (10006, "群发消息失败"));
        }
        let row = Code::of_fault(&Fault::RateLimited, Code::NotSent).row();
        assert_eq!((row.number, row.status), (429, 429));
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
            assert_eq!(code.row().status, status, "{code:?}");
        }
    }
}
