//! How a protocol writes an entry: the seam between the core and the wire formats.

use bytes::Bytes;

use crate::core::message::{Entry, Message};

/// How many wire formats an entry has room for.
pub const FORMATS: usize = 8;

/// The place of a format's frame in every entry. Each format has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    LetShareJson,
    AblyJson,
    AblyMsgpack,
    PostOfficeJson,
    RelayJson,
    ChatJson,
    ChatSourceJson,
    GroupJson,
}

impl Slot {
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Writes entries for one kind of client.
pub trait WireFormat: Send + Sync {
    fn slot(&self) -> Slot;

    /// The complete WebSocket frame, header included (see [`crate::core::frame`]); several of them when
    /// the protocol puts each item into a frame of its own; nothing for a kind of entry that it does not
    /// know.
    fn encode(&self, entry: &Entry) -> Bytes;
}

/// The format of a protocol that puts each message into a frame of its own: its slot, and how a message of an entry is
/// written.
pub struct Each(pub Slot, pub fn(&Entry, &Message) -> Bytes);

impl WireFormat for Each {
    fn slot(&self) -> Slot {
        self.0
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        each(entry, |message| (self.1)(entry, message))
    }
}

/// The frames of a protocol that puts each message into one of its own; without a copy for the usual one.
pub fn each(entry: &Entry, encode: impl Fn(&Message) -> Bytes) -> Bytes {
    match entry.messages() {
        [message] => encode(message),
        messages => {
            let frames: Vec<Bytes> = messages.iter().map(encode).collect();
            frames.concat().into()
        }
    }
}
