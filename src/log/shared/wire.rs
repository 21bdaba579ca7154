//! An entry as Redis has it and publishes it: kind, epoch, place before, place, bytes ever, node, and the body as on disk.
//! Numbers are big-endian.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    core::{
        chain::Linked,
        message::Entry,
        serial::{Epoch, Place, Serial},
    },
    ids::{ChannelName, NodeId, Timestamp},
    log::disk::encoding,
};

const KEPT: u8 = b'e';
const SAID: u8 = b'x';

const BODY_AT: usize = 1 + 8 + 10 + 10 + 8 + 8;

/// An entry whose body is not read yet.
#[derive(Clone, Debug)]
pub struct Written {
    /// What was published and is not kept has its time only, as a place of no epoch.
    pub is_kept: bool,
    previous: Serial,
    pub serial: Serial,
    /// Who has written it.
    pub node: NodeId,
    body: Bytes,
}

impl Written {
    pub(super) fn parse(bytes: Bytes) -> Option<Self> {
        let (head, _) = bytes.split_at_checked(BODY_AT)?;
        let is_kept = match head[0] {
            KEPT => true,
            SAID => false,
            _ => return None,
        };
        Some(Self {
            is_kept,
            previous: serial(&head[1..9], &head[9..19])?,
            serial: serial(&head[1..9], &head[19..29])?,
            node: NodeId::from_bytes(head[37..45].try_into().ok()?),
            body: bytes.slice(BODY_AT..),
        })
    }

    /// The entry and its place in the log.
    pub fn link(self, channel: &ChannelName) -> Option<Linked> {
        let Self { previous, serial, node, .. } = self;
        Some(Linked { previous, node, entry: Arc::new(self.entry(channel, serial)?) })
    }

    /// The entry at a position; its time is the one that it was published at.
    pub fn entry(self, channel: &ChannelName, serial: Serial) -> Option<Entry> {
        let (millis, _) = self.serial.place();
        let mut entry = encoding::decode(channel, serial, self.body)?;
        entry.timestamp = Timestamp::from_millis(millis);
        entry.is_ephemeral = !self.is_kept;
        Some(entry)
    }
}

/// What is written of an entry that has no serial yet.
pub fn body(entry: &Entry) -> Bytes {
    encoding::encode(entry).into()
}

pub fn serial(epoch: &[u8], place_bytes: &[u8]) -> Option<Serial> {
    let epoch = Epoch::new(u64::from_be_bytes(epoch.try_into().ok()?));
    Some(Serial::at(epoch, place(place_bytes)?))
}

pub fn place(bytes: &[u8]) -> Option<Place> {
    let (millis, counter) = bytes.split_at_checked(8)?;
    Some((u64::from_be_bytes(millis.try_into().ok()?), u16::from_be_bytes(counter.try_into().ok()?)))
}

pub fn place_bytes((millis, counter): Place) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&millis.to_be_bytes());
    bytes[8..].copy_from_slice(&counter.to_be_bytes());
    bytes
}
