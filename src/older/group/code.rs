//! What clients of the group protocol are answered when something cannot be done (`docs/protocols/group.md §5`): one table
//! for frames and for HTTP, and the one from the core's faults to it.

use crate::{
    error::{Fault, Reply, reply_table},
    limits,
    older::group::ip_filter::BLOCKED,
};

/// The source's text for a token that is wrong or over (§5).
pub const INVALID_TOKEN: &str = "Token 无效或已过期";

reply_table! {
    /// Why a request was refused.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Code {
        BadFormat => Reply::new(
            400,
            "消息格式错误",
            "not one JSON object with the fields of its type, each of its kind",
        ),
        UnknownType => Reply::new(
            400,
            "未知的消息类型",
            "unknown type; known are ping, auth, send_message, join_group, leave_group and mark_read",
        ),
        Missing(field: &'static str) => Reply::new(
            400,
            format!("{field} 不能为空"),
            format!("{field} is missing or empty"),
        ),
        /// The connection is another user's.
        OtherUser => Reply::new(
            400,
            "连接已属于其他用户",
            "this connection is of the user that it was authenticated as; open another one",
        ),
        /// Not the name of a group.
        BadGroup => Reply::new(400, "group_id 无效", "no group can have this group_id"),
        Unauthorized => Reply::new(
            401,
            "未授权，请先认证",
            "not authenticated: send auth with a token first, or over HTTP Authorization (Bearer) or X-Service-Key",
        ),
        Expired => Reply::new(401, INVALID_TOKEN, "the token is wrong, or has expired: get another one"),
        NotMember => Reply::new(
            403,
            "不是群成员",
            "not a member of the group: a service adds members by POST groups/<group_id>/members",
        ),
        NoGroup => Reply::new(404, "群聊不存在", "there is no group with this group_id"),
        /// The same to somebody who wants to join it, with the path of the API: the answer also says how groups are made.
        NoGroupToJoin(path: String) => Reply::new(
            404,
            format!(
                "群聊不存在：群聊由服务端以 X-Service-Key 调用 POST {path}/groups 创建，或由 group.open_groups \
                 允许用户加入时创建 (a service makes groups by POST {path}/groups; with group.open_groups a join does)"
            ),
            "there is no group with this group_id",
        ),
        NoMessage => Reply::new(404, "消息不存在", "the group has no message with this message_id"),
        /// A client cannot go on from there: also when its user has left the group of the message.
        NoLastMessage => Reply::new(
            404,
            "消息不存在",
            "no group of this user has a message with this last_message_id, so what was missed is not known; \
             read it by GET messages",
        ),
        /// The same of a page of the history.
        NoMessageBefore => Reply::new(404, "消息不存在", "the group has no message with the id before_id"),
        TooLarge => Reply::new(413, "消息过大", format!("a message may have {} bytes", limits::GROUP_MESSAGE_BYTES)),
        TooFrequent => Reply::new(
            429,
            "发送过于频繁",
            "more than group.messages_per_second and group.message_burst, or limits.publishes_per_second, allow; \
             send more slowly",
        ),
        /// There are as many groups, or members, as there may be.
        TooMany => Reply::new(
            400,
            "群聊或成员数量已达上限",
            "there are as many groups, or members of the group, as the server keeps",
        ),
        Busy => Reply::new(503, "服务繁忙，请稍后重试", "the server is busy; try again"),
        /// An account is full, which the reason names with its setting.
        NoMemory(why: String) => Reply::new(503, "服务繁忙，请稍后重试", why.clone()),
        NotStored => Reply::new(503, "消息保存失败", "the store does not answer; try again"),
        Internal => Reply::new(500, "服务器内部错误", "the log says why by the name in brackets"),

        // Over HTTP alone.
        NoUser => Reply::new(400, "缺少 user_id 参数", ""),
        BadBody(why: &'static str) => Reply::new(400, "请求格式错误", *why),
        BodyTooLarge => Reply::new(413, "消息过大", format!("a body may have {} bytes", limits::GROUP_BODY_BYTES)),
        NotAList(name: &'static str) => Reply::new(400, "请求格式错误", format!("{name} must be a list")),
        BadNotificationId => Reply::new(
            400,
            "notification_id 参数无效",
            format!("notification_id has more than {} bytes", limits::MESSAGE_ID_BYTES),
        ),
        WrongType(name: &'static str, expected: &'static str) => Reply::new(
            400,
            format!("{name} 参数无效 (not {expected})"),
            format!("{name} must be {expected}"),
        ),
        TooSmall { name: &'static str, least: usize } => Reply::new(
            400,
            format!("{name} 参数无效"),
            format!("{name} must be a whole number of at least {least}"),
        ),
        NoId(name: &'static str) => Reply::new(
            400,
            format!("{name} 参数无效 (neither a text nor a number)"),
            format!("{name}: an id must be a text or a whole number"),
        ),
        BadId(name: &'static str) => Reply::new(
            400,
            format!("{name} 参数无效"),
            format!(
                "{name}: an id must have 1 to {} bytes and no control characters",
                limits::GROUP_NAME_BYTES
            ),
        ),
        BadNumber { name: &'static str, number: String, what: &'static str } => Reply::new(
            400,
            format!("{name} 参数无效 ({number} is {what})"),
            format!("{name}: {number} is {what}; an id must be a text or a whole number in digits alone"),
        ),
        UnknownField { name: String, known: String } => Reply::new(
            400,
            format!("未知字段 {name} (unknown field; known: {known})"),
            "",
        ),
        BadBlacklist(faults: String) => Reply::new(
            400,
            faults.clone(),
            format!("the old blacklist stays in use: {faults}"),
        ),
        WrongClaim(reason: String) => Reply::new(401, format!("{INVALID_TOKEN}: {reason}"), reason.clone()),
        ForServices => Reply::new(403, "需要服务密钥", "for services: show X-Service-Key"),
        ForOneself => Reply::new(
            403,
            "只能访问自己的数据",
            "a user may ask for its own data; services ask for that of others with X-Service-Key",
        ),
        Blocked => Reply::new(403, "禁止访问", BLOCKED),
        NoPath => Reply::new(404, "接口不存在", "the API has no such path"),
        BadMethod(allowed: &'static str) => Reply::new(
            405,
            "请求方法不允许",
            format!("the path does not have the method; it has {allowed}"),
        ),
    }
    pub fn reply(&self) -> Reply;
}

impl Code {
    /// What was asked for was good, and could not be done: a client is told so by an `ack` as well (§5, 503).
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored | Self::NoMemory(_) | Self::Busy)
    }
}

/// Most of the core's faults no client of this protocol can cause.
impl From<&Fault> for Code {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::ChannelNameTooShort { .. }
            | Fault::ChannelNameTooLong { .. }
            | Fault::ChannelNameForbidden
            | Fault::ChannelNameInvalid { .. } => Self::BadGroup,
            Fault::ChannelForbidden | Fault::NotPermitted { .. } | Fault::ForgedSender => Self::NotMember,
            Fault::PositionExpired | Fault::PositionUnreadable { .. } => Self::NoMessage,
            Fault::ChannelFull { .. } | Fault::TooManyChannels { .. } => Self::TooMany,
            Fault::RateLimited => Self::TooFrequent,
            Fault::DiskFull => Self::NotStored,
            Fault::AppChannels { .. } | Fault::MemoryFull { .. } => Self::NoMemory(fault.to_string()),
            fault => match fault.http_status() {
                400 => Self::BadFormat,
                401 => Self::Unauthorized,
                404 => Self::NoGroup,
                413 => Self::TooLarge,
                503 => Self::Busy,
                _ => Self::Internal,
            },
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
            (Code::Missing("group_id"), 400, "group_id 不能为空"),
            (Code::Missing("content"), 400, "content 不能为空"),
            (Code::Unauthorized, 401, "未授权，请先认证"),
            (Code::NotMember, 403, "不是群成员"),
            (Code::NoGroup, 404, "群聊不存在"),
            (Code::NoMessage, 404, "消息不存在"),
            (Code::TooLarge, 413, "消息过大"),
            (Code::TooFrequent, 429, "发送过于频繁"),
            (Code::NotStored, 503, "消息保存失败"),
        ] {
            let reply = code.reply();
            assert_eq!((reply.code, &*reply.text), (number, text));
        }
    }

    /// A fault keeps its HTTP status.
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
            assert_eq!(Code::from(&fault).reply().code, fault.http_status(), "{fault:?}");
        }
    }
}
