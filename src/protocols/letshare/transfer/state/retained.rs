//! What of a transfer is retained for a receiver who lost something, or comes back
//! (`docs/protocols/letshare.md §3.5.9`): the newest frames, and what the sender said around them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    limits,
    protocols::letshare::transfer::{
        chunk_set::ChunkSet,
        offer::Offer,
        state::signal::{Action, Side},
    },
};

#[derive(Debug, Default)]
pub struct Retained {
    /// The newest frames, oldest first.
    ring: VecDeque<(u64, Bytes)>,
    sent: ChunkSet,
    /// Chunks that the receiver asked for again.
    wanted: Vec<u64>,
    /// `start` and `end` as the sender said them.
    pub start: Option<Bytes>,
    pub end: Option<Bytes>,
}

/// What a receiver asked for again, as far as the ring does not hold it.
#[derive(Debug, Default)]
pub struct Lacking {
    /// The sender has sent them once.
    pub sent: Vec<u64>,
    /// The sender has not sent some yet: those come by themselves, once the window opens.
    pub is_more_to_come: bool,
}

impl Retained {
    /// How many chunks the sender has sent.
    pub const fn sent(&self) -> u64 {
        self.sent.len()
    }

    /// The sender sends a chunk. Whether the receiver is to get it: what is sent again is only for one who
    /// asked.
    pub fn take_in(&mut self, index: u64, frame: &Bytes) -> bool {
        if !self.sent.insert(index) {
            let place = self.wanted.iter().position(|wanted| *wanted == index);
            let Some(place) = place else {
                return false;
            };
            self.wanted.swap_remove(place);
        }
        if self.ring.len() as u64 == limits::TRANSFER_RING_FRAMES {
            self.ring.pop_front();
        }
        self.ring.push_back((index, frame.clone()));
        true
    }

    /// Everything, for a receiver that comes back. It ignores what it has.
    pub fn replay(&self, offer: &Offer) -> Vec<Action> {
        let frames = self.ring.iter();
        let frames = frames.map(|(_, frame)| Action::Frame(frame.clone()));
        let start = self.start.iter().map(repeat);
        start.chain(frames).chain(self.end_for_receiver(offer)).collect()
    }

    /// What the ring holds of `asked`, and what it does not.
    pub fn look_up(&self, asked: &[u64]) -> (Vec<Action>, Lacking) {
        let mut lacking = Lacking::default();
        let mut frames = Vec::new();
        for index in asked {
            match self.ring.iter().find(|(kept, _)| kept == index) {
                Some((_, frame)) => frames.push(Action::Frame(frame.clone())),
                None if self.sent.contains(*index) => lacking.sent.push(*index),
                None => lacking.is_more_to_come = true,
            }
        }
        (frames, lacking)
    }

    /// Notes that these chunks may come again.
    pub fn want(&mut self, indexes: &[u64]) {
        for index in indexes {
            if !self.wanted.contains(index) && self.wanted.len() < limits::RESEND_PENDING {
                self.wanted.push(*index);
            }
        }
    }

    /// `end` once more, if it was said: a receiver that had heard it waits for it again. Also when only acks
    /// are missing that were lost on their way: the sender says no `end` before it has them, and a receiver
    /// that has everything may say nothing more.
    pub fn end_for_receiver(&self, offer: &Offer) -> Option<Action> {
        let made = (self.sent() == offer.total_chunks).then_some(Action::EndForReceiver);
        self.end.as_ref().map(repeat).or(made)
    }
}

fn repeat(message: &Bytes) -> Action {
    Action::Repeat { to: Side::Receiver, message: message.clone() }
}
