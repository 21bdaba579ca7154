//! What accounts keep, whose they are, and what is said when one is full.

use crate::error::{CloseReason, Fault};

/// What is kept; `docs/architecture.md §6a` says which of them are charged by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Frames that wait for their socket, a backlog and a presence sync among them.
    Outbox,
    /// Plain HTTP connections.
    PlainConnection,
    /// Bodies of requests that are read.
    RequestBody,
    /// Answers to requests that the client has not taken yet.
    Answer,
    /// Messages of WebSockets that are not whole yet, and requests that wait for those before them.
    Inbound,
    /// Channels: each that is open, with the first bytes of its window.
    Channel,
    /// The newest entries of channels, beyond those first bytes.
    Window,
    /// Members and their data.
    Presence,
    /// Connections, also those that are gone and may come back, with the names that they know channels by.
    Connection,
    /// Ids of messages that were published, of token requests that were spent.
    SeenIds,
    /// What the annotations of messages come to.
    Summaries,
    Revocations,
    /// What waits for a user who is away, and pushes that are not due yet.
    Mailbox,
    /// Frames of files that their receiver may ask for again, and what is known of transfers.
    Transfer,
    /// Apps that were made by requests.
    App,
    /// Messages that have grown by appends.
    Versions,
    /// What channels have to write, until it is on disk.
    Store,
    /// Objects of channels, and their pages as clients are sent them.
    Objects,
    /// Groups of the group protocol, and their members.
    Membership,
}

impl Kind {
    pub const ALL: [Self; 19] = [
        Self::Outbox,
        Self::PlainConnection,
        Self::RequestBody,
        Self::Answer,
        Self::Inbound,
        Self::Channel,
        Self::Window,
        Self::Presence,
        Self::Connection,
        Self::SeenIds,
        Self::Summaries,
        Self::Revocations,
        Self::Mailbox,
        Self::Transfer,
        Self::App,
        Self::Versions,
        Self::Store,
        Self::Objects,
        Self::Membership,
    ];

    /// As metrics and refusals name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::PlainConnection => "plain_connection",
            Self::RequestBody => "request_body",
            Self::Answer => "answer",
            Self::Inbound => "inbound",
            Self::Channel => "channel",
            Self::Window => "window",
            Self::Presence => "presence",
            Self::Connection => "connection",
            Self::SeenIds => "seen_ids",
            Self::Summaries => "summaries",
            Self::Revocations => "revocations",
            Self::Mailbox => "mailbox",
            Self::Transfer => "transfer",
            Self::App => "app",
            Self::Versions => "versions",
            Self::Store => "store",
            Self::Objects => "objects",
            Self::Membership => "membership",
        }
    }
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Server,
    App,
    /// All whose app is not known yet: plain HTTP connections and what they ask.
    Requests,
    /// An IPv4 address or an IPv6 /64.
    Network,
    /// A connection, or a user of a protocol that has no connections which outlive their socket.
    Client,
    /// All mailboxes of a protocol: what waits in them on disk. It stands beside the tree, which is about memory.
    Mailboxes,
}

impl Level {
    const fn owner(self) -> &'static str {
        match self {
            Self::Server => "the server",
            Self::App => "the app",
            Self::Requests => "the server, for requests whose app is not known yet,",
            Self::Network => "the client's network",
            Self::Client => "the client",
            Self::Mailboxes => "the data folder",
        }
    }
}

/// A charge is refused: this account has no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} keeps all that it may: {} bytes ({}; {})", .level.owner(), .limit, .kind.name(), .setting)]
pub struct Full {
    pub level: Level,
    pub kind: Kind,
    pub limit: usize,
    /// What allows more.
    pub setting: &'static str,
}

impl Level {
    /// What allows more in all.
    pub(super) const fn setting(self) -> &'static str {
        match self {
            Self::Server | Self::Requests => "limits.memory",
            Self::App => "limits.app_share",
            Self::Network => "limits.network_share",
            Self::Client => "limits.client_memory",
            Self::Mailboxes => "another limit of what waits in mailboxes",
        }
    }
}

impl Kind {
    /// What allows more of this kind, where it has a bound of its own.
    pub(super) const fn setting(self) -> &'static str {
        match self {
            Self::Window => "history.total_bytes",
            Self::Store => "data.dir on a faster disk",
            _ => "limits.memory",
        }
    }
}

impl Full {
    /// Whether other kinds can make room: it is the account that is full, not the part that this kind may have of it.
    pub(super) fn is_of_all(self) -> bool {
        self.setting == self.level.setting() && self.kind != Kind::Window
    }

    /// What a client is told of it.
    pub const fn to_fault(self) -> Fault {
        let Self { level, kind, limit, setting } = self;
        Fault::MemoryFull { whose: level.owner(), kind: kind.name(), limit, setting }
    }

    /// How a connection ends that cannot go on without it.
    pub const fn to_close_reason(self) -> CloseReason {
        let Self { level, kind, limit, setting } = self;
        CloseReason::NoMemory { whose: level.owner(), kind: kind.name(), limit, setting }
    }
}
