//! What travels: a message as published, and the log's entry that it becomes.

use std::sync::OnceLock;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        serial::Serial,
        wire::{FORMATS, WireFormat},
    },
    ids::{ChannelName, ConnectionId, Timestamp},
};

/// A message as its publisher handed it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Ably's message name, LetShare's event.
    pub name: ByteString,
    /// JSON text, byte for byte as the publisher wrote it.
    pub data: Bytes,
}

/// One item of a channel's log: immutable, shared by all who deliver, keep or replay it.
///
/// Its finished frames are built at the first need, once per wire format.
#[derive(Debug)]
pub struct Entry {
    pub channel: ChannelName,
    pub serial: Serial,
    /// When the channel accepted it.
    pub timestamp: Timestamp,
    /// Whose connection published it; delivery passes over that one.
    pub publisher: ConnectionId,
    pub message: Message,
    frames: [OnceLock<Bytes>; FORMATS],
}

impl Entry {
    pub fn new(
        channel: ChannelName,
        serial: Serial,
        timestamp: Timestamp,
        publisher: ConnectionId,
        message: Message,
    ) -> Self {
        Self {
            channel,
            serial,
            timestamp,
            publisher,
            message,
            frames: Default::default(),
        }
    }

    /// The finished WebSocket frame of this entry in `format`: encoded by the first who asks.
    pub fn frame(&self, format: &dyn WireFormat) -> &Bytes {
        self.frames[format.slot().index()].get_or_init(|| format.encode(self))
    }

    /// What keeping this entry costs in memory, in bytes: itself, the data, and as much again for a
    /// finished frame.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + 2 * (self.message.name.len() + self.message.data.len())
    }
}
