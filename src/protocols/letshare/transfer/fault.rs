//! Why a transfer is refused or ends: the texts that the app shows, and searches for substrings
//! (`docs/protocols/letshare.md §3.5`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::reply_table;

reply_table! {
    /// The text and code that a side gets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum TransferFault {
        BadRequest => (400, "传输请求格式错误".into()),
        NotAccepted => (400, "传输会话状态错误：接收者尚未接受".into()),
        BadChunk => (400, "文件分片与传输请求不符".into()),
        /// More frames on the way than the app's window, with a margin, allows.
        WindowExceeded => (400, "发送过快：未确认的文件分片过多".into()),
        /// The app looks for `升级到 PRO` and opens its upgrade dialog.
        NeedsPro { limit: u64 } => (403, format!("免费用户最多发送 {} 的文件，请升级到 PRO", Size(*limit)).into()),
        NotInRoom => (403, "无权在该房间传输文件".into()),
        NotYourTransfer => (403, "无权操作该传输会话".into()),
        NoReceiver => (404, "找不到接收者".into()),
        UnknownTransfer => (404, "传输会话不存在".into()),
        Timeout => (408, "传输会话超时".into()),
        IdInUse => (409, "传输 ID 已被使用".into()),
        SenderGone => (410, "发送者已断开连接".into()),
        ReceiverGone => (410, "接收者已断开连接".into()),
        /// The app looks for `文件大小超过限制`.
        FileTooLarge { limit: u64 } => (413, format!("文件大小超过限制（{}）", Size(*limit)).into()),
        TooManyTransfers => (429, "同时进行的传输过多，请稍后重试".into()),
        Disabled => (501, "服务器未启用文件传输".into()),
        ServerBusy => (503, "服务器繁忙，请稍后重试".into()),
        ServerStops => (503, "服务器正在关闭".into()),
    }
    pub fn row(&self) -> (u16, Cow<'static, str>);
}

/// A number of bytes as people write it.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(bytes) = *self;
        match bytes {
            gib if gib >= 1 << 30 && gib % (1 << 30) == 0 => write!(f, "{} GB", gib >> 30),
            mib if mib >= 1 << 20 && mib % (1 << 20) == 0 => write!(f, "{} MB", mib >> 20),
            other => write!(f, "{other} B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The app decides by these substrings (docs/protocols/letshare.md §3.5.2).
    #[test]
    fn the_words_that_the_app_looks_for() {
        let needs_pro = TransferFault::NeedsPro { limit: 50 << 20 }.row().1;
        assert!(needs_pro.contains("升级到 PRO") && needs_pro.contains("50 MB"), "{needs_pro}");
        let too_large = TransferFault::FileTooLarge { limit: 3 << 30 }.row().1;
        assert!(too_large.contains("文件大小超过限制") && too_large.contains("3 GB"), "{too_large}");
    }
}
