//! Why a transfer is refused or ends: the texts that the app shows, and looks into
//! (`docs/protocols/letshare.md §3.5`).

/// Each names what its transfer's side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferFault {
    /// The app looks for `升级到 PRO` and opens its upgrade dialog.
    NeedsPro {
        limit: u64,
    },
    /// The app looks for `文件大小超过限制`.
    FileTooLarge {
        limit: u64,
    },
    BadRequest,
    IdInUse,
    NoReceiver,
    NotInRoom,
    UnknownTransfer,
    NotYourTransfer,
    NotAccepted,
    BadChunk,
    /// More frames on the way than the window of the app and a good deal.
    WindowExceeded,
    TooManyTransfers,
    ServerBusy,
    Timeout,
    SenderGone,
    ReceiverGone,
    ServerStops,
    Disabled,
}

impl TransferFault {
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest | Self::NotAccepted | Self::BadChunk | Self::WindowExceeded => 400,
            Self::NeedsPro { .. } | Self::NotInRoom | Self::NotYourTransfer => 403,
            Self::NoReceiver | Self::UnknownTransfer => 404,
            Self::Timeout => 408,
            Self::IdInUse => 409,
            Self::SenderGone | Self::ReceiverGone => 410,
            Self::FileTooLarge { .. } => 413,
            Self::TooManyTransfers => 429,
            Self::Disabled => 501,
            Self::ServerBusy | Self::ServerStops => 503,
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::NeedsPro { limit } => {
                format!("免费用户最多发送 {} 的文件，请升级到 PRO", Size(limit))
            }
            Self::FileTooLarge { limit } => format!("文件大小超过限制（{}）", Size(limit)),
            Self::BadRequest => "传输请求格式错误".into(),
            Self::IdInUse => "传输 ID 已被使用".into(),
            Self::NoReceiver => "找不到接收者".into(),
            Self::NotInRoom => "无权在该房间传输文件".into(),
            Self::UnknownTransfer => "传输会话不存在".into(),
            Self::NotYourTransfer => "无权操作该传输会话".into(),
            Self::NotAccepted => "传输会话状态错误：接收者尚未接受".into(),
            Self::BadChunk => "文件分片与传输请求不符".into(),
            Self::WindowExceeded => "发送过快：未确认的文件分片过多".into(),
            Self::TooManyTransfers => "同时进行的传输过多，请稍后重试".into(),
            Self::ServerBusy => "服务器繁忙，请稍后重试".into(),
            Self::Timeout => "传输会话超时".into(),
            Self::SenderGone => "发送者已断开连接".into(),
            Self::ReceiverGone => "接收者已断开连接".into(),
            Self::ServerStops => "服务器正在关闭".into(),
            Self::Disabled => "服务器未启用文件传输".into(),
        }
    }
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
        let needs_pro = TransferFault::NeedsPro { limit: 50 << 20 }.text();
        assert!(needs_pro.contains("升级到 PRO") && needs_pro.contains("50 MB"), "{needs_pro}");
        let too_large = TransferFault::FileTooLarge { limit: 3 << 30 }.text();
        assert!(too_large.contains("文件大小超过限制") && too_large.contains("3 GB"), "{too_large}");
    }
}
