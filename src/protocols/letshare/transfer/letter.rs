//! What the nodes of a cluster tell each other about transfers: a head in JSON, and behind it the frames as they are. A letter may
//! be lost, and is never doubled.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    actors::nodes::Nodes,
    ids::{NodeId, SessionId},
    protocols::letshare::transfer::{
        fault::TransferFault,
        state::{Side, Signal},
        transfers::Member,
    },
    store::StoreError,
};

/// What the file relay is called among the nodes.
pub const NAME: &str = "letshare";

/// A connection in a room of its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub room: String,
    pub user: String,
    pub session: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Letter {
    /// To the node of its receiver: there is a transfer.
    Open { transfer_id: String, sender_user: String, to: Place },
    /// Finished frames for a connection that has this side.
    Frames {
        transfer_id: String,
        side: Side,
        to: Place,
        #[serde(skip)]
        frames: Vec<Bytes>,
    },
    /// More may wait for a connection that receives, by so many bytes; 0: no more than for others.
    Widened { transfer_id: String, to: Place, bytes: usize },
    /// Find out whether it is alive.
    Probe { to: Place },
    /// It has ended, and is known for late words only.
    Ended { transfer_id: String },
    /// No word of it is to be waited for there any more.
    Forgotten { transfer_id: String },

    /// To the node of the transfer: what its receiver says, and the finished frame of it for the sender.
    Signalled {
        transfer_id: String,
        from: Place,
        signal: Signal,
        #[serde(skip)]
        frames: Vec<Bytes>,
    },
    /// A connection is not in the room any more.
    Left { transfer_id: String, session: u64, is_closed: bool },
    /// Nobody can receive it there.
    Refused { transfer_id: String, fault: TransferFault },

    /// To all: a user is in a room with this connection.
    Entered { place: Place },
}

impl Place {
    pub fn of((room, user): &Member, session: SessionId) -> Self {
        Self { room: room.as_str().to_owned(), user: user.clone(), session: session.number() }
    }

    pub fn member(&self) -> Member {
        (self.room.as_str().into(), self.user.clone())
    }
}

impl Letter {
    fn frames(&mut self) -> Option<&mut Vec<Bytes>> {
        match self {
            Self::Frames { frames, .. } | Self::Signalled { frames, .. } => Some(frames),
            _ => None,
        }
    }

    /// `done` hears whether anybody was there.
    pub fn send(mut self, nodes: &Nodes, to: NodeId, done: impl FnOnce(Result<bool, StoreError>) + Send + 'static) {
        let frames = self.frames().map(std::mem::take).unwrap_or_default();
        let head = self.head(&frames);
        let parts: Vec<&[u8]> = [&head[..]].into_iter().chain(frames.iter().map(|frame| &frame[..])).collect();
        nodes.send(to, NAME, &parts, done);
    }

    /// Length (4 bytes) and JSON of the letter and of the lengths of its frames.
    pub fn head(&self, frames: &[Bytes]) -> Vec<u8> {
        let lengths: Vec<usize> = frames.iter().map(Bytes::len).collect();
        // Cannot fail: texts and numbers are written into memory.
        let json = serde_json::to_vec(&(self, lengths)).unwrap_or_default();
        [&u32::try_from(json.len()).unwrap_or_default().to_be_bytes()[..], &json].concat()
    }

    pub fn read(mut bytes: Bytes) -> Option<Self> {
        let length = bytes.split_to_checked(4)?;
        let json = bytes.split_to_checked(u32::from_be_bytes(length[..].try_into().ok()?) as usize)?;
        let (mut letter, lengths): (Self, Vec<usize>) = serde_json::from_slice(&json).ok()?;
        let read: Option<Vec<Bytes>> = lengths.into_iter().map(|length| bytes.split_to_checked(length)).collect();
        if let (Some(frames), Some(read)) = (letter.frames(), read) {
            *frames = read;
        }
        Some(letter)
    }
}

trait SplitChecked: Sized {
    fn split_to_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let to = Place { room: "房间".into(), user: "ann:1".into(), session: 7 };
        let frames = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![0; 70_000])];
        let letter = Letter::Frames { transfer_id: "t".into(), side: Side::Receiver, to, frames: frames.clone() };
        let written: Vec<u8> = [&letter.head(&frames)[..], &frames.concat()].concat();
        assert_eq!(Letter::read(written.clone().into()), Some(letter));
        for short in [0, 3, 4, 20] {
            assert_eq!(Letter::read(written[..short].to_vec().into()), None);
        }
        let refused = Letter::Refused { transfer_id: "t".into(), fault: TransferFault::NeedsPro { limit: 5 } };
        assert_eq!(Letter::read(refused.head(&[]).into()), Some(refused));
    }
}
