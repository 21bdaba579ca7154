//! What a client is told when a request cannot be carried out (`docs/protocols/letshare.md §2.2`): the text that the app
//! shows, and beside it in English what was refused, why, and what would be taken.

use crate::{
    error::{Fault, Reply, reply_table},
    limits,
};

reply_table! {
    /// A request that cannot be carried out.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Refusal {
        /// A frame that is no request, with the reason.
        NoRequest(why: String) => Reply::new(400, "消息格式错误", why.clone()),
        MissingChannel => Reply::new(400, "缺少频道名称", "channel is missing"),
        MissingData => Reply::new(400, "缺少消息数据", "data is missing"),
        BadData => Reply::new(400, "消息数据格式错误", "data must be a JSON object"),
        /// `data` is an object, but not as it has to be: with the reason.
        UnreadableData(why: String) => Reply::new(400, "消息数据格式错误", format!("data cannot be read: {why}")),
        NoTransferId => Reply::new(
            400,
            "消息数据格式错误",
            format!("data.transfer_id must be a text of 1 to {} bytes", limits::TRANSFER_ID_BYTES),
        ),
        UnknownType(kind: String) => Reply::new(
            400,
            format!("不支持的消息类型: {}", cut(kind)),
            "unknown type; known are subscribe, unsubscribe, publish and file:transfer:<kind>",
        ),
        /// The event names the signals of another user.
        ForeignSignal(event: String) => Reply::new(
            403,
            format!(
                "不能订阅其他用户的信令: {}（只能订阅发给自己的信令，除非服务器设置 letshare.foreign_signals）",
                cut(event)
            ),
            "the signals of another user: only its own may be subscribed to unless the server sets \
             letshare.foreign_signals",
        ),
        Fault(fault: Fault) => of_fault(fault, cut(channel)),
    }
    pub fn reply(&self, channel: &str) -> Reply;
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The code is 400 as in the Go server, except where a client can do something about it.
fn of_fault(fault: &Fault, channel: &str) -> Reply {
    let (code, text) = match fault {
        Fault::ChannelNameTooShort { .. } => (400, "房间名太短啦，至少两个字符".into()),
        Fault::ChannelNameTooLong { max } => (400, format!("房间名最多 {max} 个字符")),
        Fault::ChannelNameForbidden => (400, "房间名只能包含中文、字母、数字、空格、下划线和中划线".into()),
        Fault::ChannelFull { cap } => (400, format!("房间已满，最多支持{cap}个用户")),
        Fault::NotAttached => (400, format!("客户端未订阅房间: {channel}")),
        Fault::TooManyChannels { limit } => (400, format!("最多同时加入{limit}个房间")),
        Fault::TooManyEvents { limit } => (400, format!("每个房间最多订阅{limit}个事件")),
        Fault::EventNameTooLong { max } => (400, format!("事件名最多 {max} 字节")),
        Fault::ChannelForbidden => (403, format!("token 不允许加入房间: {channel}")),
        Fault::ForgedSender => (403, "消息的 from 与当前用户不一致".into()),
        Fault::RateLimited => (429, "发送过于频繁，请稍后重试".into()),
        Fault::Busy | Fault::AppChannels { .. } => (503, "服务器繁忙，请稍后重试".into()),
        // No request of this protocol leads to these.
        other => (other.http_status(), other.to_string()),
    };
    Reply::new(code, text, reason(fault))
}

/// The faults of channels in the words of this protocol: a page subscribes, it does not attach.
fn reason(fault: &Fault) -> String {
    match fault {
        Fault::NotAttached => "not subscribed to the channel; subscribe to it first".into(),
        Fault::TooManyChannels { limit } => format!("a connection may subscribe to at most {limit} channels"),
        other => other.to_string(),
    }
}

/// The part of a client's text that is repeated to it.
fn cut(text: &str) -> &str {
    text.char_indices().nth(limits::ECHOED_CHARS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts that the app shows (docs/protocols/letshare.md §2.2).
    #[test]
    fn documented_texts() {
        for (fault, text) in [
            (Fault::NotAttached, "客户端未订阅房间: ab"),
            (Fault::ChannelFull { cap: 50 }, "房间已满，最多支持50个用户"),
            (Fault::ChannelNameTooShort { min: 2 }, "房间名太短啦，至少两个字符"),
            (Fault::ChannelNameTooLong { max: 12 }, "房间名最多 12 个字符"),
            (Fault::ChannelNameForbidden, "房间名只能包含中文、字母、数字、空格、下划线和中划线"),
        ] {
            let reply = Refusal::from(fault).reply("ab");
            assert_eq!((reply.code, &*reply.text), (400, text));
        }
    }
}
