//! One transfer: who may say what when (`protocols/letshare.md §3.3`, `§3.5`). Pure: `now` and a signal in,
//! actions out. The signals and actions stand in `words`, what a receiver can have again in `kept`.

mod kept;
mod words;

use std::time::Duration;

use bytes::Bytes;

use crate::{
    limits,
    protocols::letshare::transfer::{
        chunk::Chunk, fault::TransferFault, offer::Offer, state::kept::Kept,
    },
};

pub use words::{Action, Outcome, Side, Signal};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Requested, not answered.
    Pending,
    /// Accepted; frames flow, in whatever order the app likes to say `start` and `end`.
    Running,
    /// The receiver's connection dropped.
    Interrupted {
        since: Duration,
        /// The sender has been told.
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
    kept: Kept,
    acknowledged: u64,
    outcome: Option<Outcome>,
    /// What a receiver who was away at the end has to be told yet.
    parting: Option<Action>,
}

impl Transfer {
    pub fn new(now: Duration, offer: Offer) -> Self {
        Self {
            offer,
            phase: Phase::Pending,
            last_activity: now,
            kept: Kept::default(),
            acknowledged: 0,
            outcome: None,
            parting: None,
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

    /// Ended so long ago that even late messages are over.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        let memory = if self.parting.is_some() {
            limits::TRANSFER_PARTING
        } else {
            limits::TRANSFER_AFTERGLOW
        };
        matches!(self.phase, Phase::Ended { at } if now.saturating_sub(at) >= memory)
    }

    /// `from` says `signal`; `message` is the whole control message as it is to be handed on.
    pub fn hear(
        &mut self,
        now: Duration,
        from: Side,
        signal: &Signal,
        message: &Bytes,
    ) -> Vec<Action> {
        if signal.speaker().is_some_and(|speaker| speaker != from) {
            return vec![Action::Fail {
                to: from,
                fault: TransferFault::NotYourTransfer,
            }];
        }
        if *signal == Signal::ResumeQuery {
            return vec![Action::State {
                to: from,
                status: self.status(),
            }];
        }
        if let Phase::Ended { .. } = self.phase {
            // Late, and of no use to anybody.
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
                    self.parting = Some(Action::Repeat { to, message });
                }
                self.finish(now, Outcome::Cancelled);
                vec![Action::Forward { to }]
            }
            Signal::Start | Signal::End | Signal::Complete if self.phase == Phase::Pending => {
                vec![Action::Fail {
                    to: from,
                    fault: TransferFault::NotAccepted,
                }]
            }
            Signal::Complete if self.kept.end.is_some() => {
                self.finish(now, Outcome::Completed);
                vec![Action::Forward { to }]
            }
            Signal::Complete => self.deliver(message.clone()),
            Signal::Start => {
                self.kept.start = Some(message.clone());
                self.to_receiver(Action::Forward { to })
            }
            Signal::End => {
                self.kept.end = Some(message.clone());
                self.to_receiver(Action::Forward { to })
            }
            Signal::Ack { received_chunks } => {
                // Nobody has received what was never sent.
                let received = (*received_chunks).min(self.kept.sent());
                self.acknowledged = self.acknowledged.max(received);
                vec![Action::Forward { to }]
            }
            Signal::Resend {
                chunk_indexes,
                missing_count,
            } => self.resend(chunk_indexes, *missing_count),
            Signal::ResumeQuery => Vec::new(),
        }
    }

    /// The sender waits for acks that may have gone down with a socket of the receiver, and says no `end`
    /// before it has them.
    fn deliver(&mut self, complete: Bytes) -> Vec<Action> {
        self.phase = Phase::Delivered { complete };
        self.kept = Kept::default();
        self.acknowledged = self.offer.total_chunks;
        vec![Action::AckForSender {
            received_chunks: self.acknowledged,
        }]
    }

    fn hear_after_delivery(
        &mut self,
        now: Duration,
        from: Side,
        signal: &Signal,
        complete: Bytes,
    ) -> Vec<Action> {
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
                return vec![Action::Fail {
                    to: Side::Sender,
                    fault: TransferFault::NotAccepted,
                }];
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
        if !self.kept.take_in(header.chunk_index, &chunk.frame) {
            return Vec::new();
        }
        if self.kept.sent() - self.acknowledged > limits::TRANSFER_RING_FRAMES {
            return self.fail(now, TransferFault::WindowExceeded);
        }
        self.to_receiver(Action::Frame(chunk.frame))
    }

    /// The sender sends faster than its frames can be carried.
    pub fn overrun(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Ended { .. } => Vec::new(),
            _ => self.fail(now, TransferFault::WindowExceeded),
        }
    }

    /// The connection of a side is gone, or left the room.
    pub fn lose(&mut self, now: Duration, side: Side) -> Vec<Action> {
        match (&self.phase, side) {
            (Phase::Ended { .. }, _) => Vec::new(),
            // The app forgets what it was sending: there is nothing to resume.
            (_, Side::Sender) => self.fail(now, TransferFault::SenderGone),
            (Phase::Pending, Side::Receiver) => self.fail(now, TransferFault::ReceiverGone),
            (Phase::Interrupted { .. } | Phase::Delivered { .. }, Side::Receiver) => Vec::new(),
            (Phase::Running, Side::Receiver) => {
                self.phase = Phase::Interrupted {
                    since: now,
                    is_told: false,
                };
                Vec::new()
            }
        }
    }

    /// The receiver is in the room again, with a new connection: it gets what is kept. It ignores
    /// what it has.
    pub fn resume(&mut self, now: Duration) -> Vec<Action> {
        let Phase::Interrupted { is_told, .. } = self.phase else {
            return self.parting.take().into_iter().collect();
        };
        self.phase = Phase::Running;
        self.last_activity = now;
        let mut actions = self.kept.replay(&self.offer);
        if is_told {
            actions.push(self.state_for_sender());
        }
        actions
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let silent = now.saturating_sub(self.last_activity);
        match self.phase {
            Phase::Pending if silent >= limits::TRANSFER_PENDING => {
                self.fail(now, TransferFault::Timeout)
            }
            Phase::Running | Phase::Delivered { .. } if silent >= limits::TRANSFER_IDLE => {
                self.fail(now, TransferFault::Timeout)
            }
            Phase::Interrupted { since, .. }
                if now.saturating_sub(since) >= limits::TRANSFER_RETURN =>
            {
                self.fail(now, TransferFault::ReceiverGone)
            }
            Phase::Interrupted {
                since,
                is_told: false,
            } if now.saturating_sub(since) >= limits::TRANSFER_NOTICE => {
                self.phase = Phase::Interrupted {
                    since,
                    is_told: true,
                };
                vec![self.state_for_sender()]
            }
            _ => Vec::new(),
        }
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
        Action::State {
            to: Side::Sender,
            status: self.status(),
        }
    }

    /// Serves from the ring first; the rest is the sender's. It may be stuck in its window, so it is
    /// told first how much has arrived.
    fn resend(&mut self, chunk_indexes: &[u64], missing_count: u64) -> Vec<Action> {
        let mut asked = chunk_indexes.to_vec();
        asked.sort_unstable();
        asked.dedup();
        if asked
            .last()
            .is_none_or(|last| *last >= self.offer.total_chunks)
        {
            return vec![Action::Fail {
                to: Side::Receiver,
                fault: TransferFault::BadRequest,
            }];
        }
        let (mut actions, lacking) = self.kept.look_up(&asked);
        if lacking.sent.is_empty() && !lacking.is_more_to_come {
            actions.extend(self.kept.end_for_receiver(&self.offer));
            return actions;
        }
        self.kept.want(&lacking.sent);
        let received_chunks = self.offer.total_chunks.saturating_sub(missing_count);
        self.acknowledged = self.acknowledged.max(received_chunks.min(self.kept.sent()));
        actions.push(Action::AckForSender { received_chunks });
        if !lacking.sent.is_empty() {
            actions.push(Action::ResendFromSender {
                chunk_indexes: lacking.sent,
                missing_count,
            });
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

    fn complete(&mut self, now: Duration, message: Bytes) -> Vec<Action> {
        self.finish(now, Outcome::Completed);
        let to = Side::Sender;
        vec![Action::Repeat { to, message }]
    }

    /// Ends the transfer for a reason that neither side gave: both are told, the sender first.
    fn fail(&mut self, now: Duration, fault: TransferFault) -> Vec<Action> {
        if let Phase::Delivered { complete } = &self.phase {
            let complete = complete.clone();
            return self.complete(now, complete);
        }
        if let Phase::Interrupted { .. } = self.phase {
            self.parting = Some(Action::Fail {
                to: Side::Receiver,
                fault,
            });
        }
        self.finish(now, Outcome::Failed(fault));
        [Side::Sender, Side::Receiver]
            .map(|to| Action::Fail { to, fault })
            .into()
    }

    fn finish(&mut self, now: Duration, outcome: Outcome) {
        self.phase = Phase::Ended { at: now };
        self.outcome = Some(outcome);
        self.kept = Kept::default();
    }
}

#[cfg(test)]
mod tests;
