//! One transfer: who may say what when (`docs/protocols/letshare.md §3.3`, `§3.5`). Pure: `now` and a signal in,
//! actions out. The signals and actions stand in `signal`, what a receiver can have again in `retained`, what becomes of a
//! transfer when a side is lost, time passes or it ends in `lifetime`.

mod lifetime;
mod retained;
mod signal;

use std::time::Duration;

use bytes::Bytes;

use crate::{
    limits,
    protocols::letshare::transfer::{
        chunk::Chunk,
        fault::TransferFault,
        offer::Offer,
        state::{lifetime::Endings, retained::Retained},
    },
};

pub use signal::{Action, Outcome, Side, Signal};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Requested, not answered.
    Pending,
    /// Accepted; frames flow, in whatever order the app likes to say `start` and `end`.
    Running,
    /// The receiver's connection dropped.
    Interrupted {
        since: Duration,
        /// The sender knows of it.
        is_told: bool,
    },
    /// The receiver has everything and wants nothing more. The app forgets a `complete` that it gets before it
    /// has said `end`, so the receiver's is kept until then.
    Delivered {
        complete: Bytes,
    },
    Ended {
        at: Duration,
    },
}

#[derive(Debug)]
pub struct Transfer {
    offer: Offer,
    phase: Phase,
    last_activity: Duration,
    retained: Retained,
    acknowledged: u64,
    outcome: Option<Outcome>,
    endings: Endings,
}

impl Transfer {
    pub fn new(now: Duration, offer: Offer) -> Self {
        Self {
            offer,
            phase: Phase::Pending,
            last_activity: now,
            retained: Retained::default(),
            acknowledged: 0,
            outcome: None,
            endings: Endings::default(),
        }
    }

    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Chunks that the receiver has acknowledged.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// None while it goes on.
    pub const fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// `from` says `signal`; `message` is the whole control message as it is to be handed on.
    pub fn hear(&mut self, now: Duration, from: Side, signal: &Signal, message: &Bytes) -> Vec<Action> {
        if signal.speaker().is_some_and(|speaker| speaker != from) {
            return vec![Action::Fail { to: from, fault: TransferFault::NotYourTransfer }];
        }
        if *signal == Signal::ResumeQuery {
            return vec![Action::State { to: from, status: self.status() }];
        }
        if let Phase::Ended { .. } = self.phase {
            // It came after the end and changes nothing.
            return Vec::new();
        }
        self.last_activity = now;
        if let Phase::Delivered { complete } = &self.phase {
            let complete = complete.clone();
            return self.hear_after_delivery(now, from, signal, complete);
        }
        let to = from.other();
        match signal {
            Signal::Accept => {
                if self.phase == Phase::Pending {
                    self.phase = Phase::Running;
                }
                vec![Action::Forward { to }]
            }
            Signal::Reject | Signal::Cancel | Signal::Error => {
                if let Phase::Interrupted { .. } = self.phase {
                    let message = message.clone();
                    self.endings.receiver = Some(Action::Repeat { to, message });
                }
                self.finish(now, Outcome::Cancelled);
                vec![Action::Forward { to }]
            }
            Signal::Start | Signal::End | Signal::Complete if self.phase == Phase::Pending => {
                vec![Action::Fail { to: from, fault: TransferFault::NotAccepted }]
            }
            Signal::Complete if self.retained.end.is_some() => {
                self.finish(now, Outcome::Completed);
                vec![Action::Forward { to }]
            }
            Signal::Complete => self.deliver(message.clone()),
            Signal::Start => {
                self.retained.start = Some(message.clone());
                self.to_receiver(Action::Forward { to })
            }
            Signal::End => {
                self.retained.end = Some(message.clone());
                self.to_receiver(Action::Forward { to })
            }
            Signal::Ack { received_chunks } => {
                // Nobody has received what was never sent.
                let received = (*received_chunks).min(self.retained.sent());
                self.acknowledged = self.acknowledged.max(received);
                vec![Action::Forward { to }]
            }
            Signal::Resend { chunk_indexes, missing_count } => self.resend(chunk_indexes, *missing_count),
            Signal::ResumeQuery => Vec::new(),
        }
    }

    /// The sender waits for acks that may have gone down with a socket of the receiver, and says no `end`
    /// before it has them.
    fn deliver(&mut self, complete: Bytes) -> Vec<Action> {
        self.phase = Phase::Delivered { complete };
        self.retained = Retained::default();
        self.acknowledged = self.offer.total_chunks;
        vec![Action::AckForSender { received_chunks: self.acknowledged }]
    }

    fn hear_after_delivery(&mut self, now: Duration, from: Side, signal: &Signal, complete: Bytes) -> Vec<Action> {
        match (from, signal) {
            (Side::Sender, Signal::End) => self.complete(now, complete),
            (Side::Sender, Signal::Cancel | Signal::Error) => {
                self.finish(now, Outcome::Completed);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The sender sends a frame.
    pub fn chunk(&mut self, now: Duration, chunk: Chunk) -> Vec<Action> {
        let header = &chunk.header;
        match self.phase {
            Phase::Ended { .. } => return Vec::new(),
            Phase::Pending => {
                return vec![Action::Fail { to: Side::Sender, fault: TransferFault::NotAccepted }];
            }
            Phase::Delivered { .. } => {
                self.last_activity = now;
                return Vec::new();
            }
            Phase::Running | Phase::Interrupted { .. } => {}
        }
        self.last_activity = now;
        let fits = header.total_chunks == self.offer.total_chunks
            && header.chunk_size == chunk.payload_bytes()
            && self.offer.bytes_of(header.chunk_index) == Some(header.chunk_size);
        if !fits {
            return self.fail(now, TransferFault::BadChunk);
        }
        if !self.retained.take_in(header.chunk_index, &chunk.frame) {
            return Vec::new();
        }
        if self.retained.sent() - self.acknowledged > limits::TRANSFER_RING_FRAMES {
            return self.fail(now, TransferFault::WindowExceeded);
        }
        self.to_receiver(Action::Frame(chunk.frame))
    }

    const fn status(&self) -> &'static str {
        match self.phase {
            Phase::Pending => "pending",
            Phase::Running | Phase::Delivered { .. } => "transferring",
            Phase::Interrupted { .. } => "interrupted",
            Phase::Ended { .. } => match self.outcome {
                Some(Outcome::Completed) => "completed",
                Some(Outcome::Cancelled) => "cancelled",
                _ => "error",
            },
        }
    }

    const fn state_for_sender(&self) -> Action {
        Action::State { to: Side::Sender, status: self.status() }
    }

    /// Serves from the ring first; the rest is the sender's. It may be stuck in its window, so it is
    /// told first how much has arrived.
    fn resend(&mut self, chunk_indexes: &[u64], missing_count: u64) -> Vec<Action> {
        let mut asked = chunk_indexes.to_vec();
        asked.sort_unstable();
        asked.dedup();
        if asked.last().is_none_or(|last| *last >= self.offer.total_chunks) {
            return vec![Action::Fail { to: Side::Receiver, fault: TransferFault::BadRequest }];
        }
        let (mut actions, lacking) = self.retained.look_up(&asked);
        if lacking.sent.is_empty() && !lacking.is_more_to_come {
            actions.extend(self.retained.end_for_receiver(&self.offer));
            return actions;
        }
        self.retained.want(&lacking.sent);
        let received_chunks = self.offer.total_chunks.saturating_sub(missing_count);
        self.acknowledged = self.acknowledged.max(received_chunks.min(self.retained.sent()));
        actions.push(Action::AckForSender { received_chunks });
        if !lacking.sent.is_empty() {
            actions.push(Action::ResendFromSender { chunk_indexes: lacking.sent, missing_count });
        }
        actions
    }

    /// What is for a receiver who is away is kept, not sent.
    fn to_receiver(&self, action: Action) -> Vec<Action> {
        match self.phase {
            Phase::Interrupted { .. } => Vec::new(),
            _ => vec![action],
        }
    }
}

#[cfg(test)]
mod tests;
