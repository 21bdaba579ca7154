//! What becomes of a transfer when a side is lost or comes back, when time passes, and at its end
//! (`docs/protocols/letshare.md §3.5` points 6, 9, 10 and 11).

use std::time::Duration;

use bytes::Bytes;

use crate::{
    limits,
    protocols::letshare::transfer::{
        fault::TransferFault,
        state::{Action, Outcome, Phase, Side, Transfer, retained::Retained},
    },
};

/// How it ended, for a side who was away by then and is to be told when it comes back.
#[derive(Debug, Default)]
pub struct Endings {
    pub sender: Option<Action>,
    pub receiver: Option<Action>,
}

impl Transfer {
    /// It cannot go on, whatever the sides say.
    pub fn abort(&mut self, now: Duration, fault: TransferFault) -> Vec<Action> {
        match self.phase {
            Phase::Ended { .. } => Vec::new(),
            _ => self.fail(now, fault),
        }
    }

    /// The connection of a side is gone, or left the room.
    pub fn lose(&mut self, now: Duration, side: Side) -> Vec<Action> {
        match (&self.phase, side) {
            (Phase::Ended { .. }, _) => Vec::new(),
            // The app forgets what it was sending: there is nothing to resume.
            (_, Side::Sender) => {
                let actions = self.fail(now, TransferFault::SenderGone);
                // The first is for the sender.
                self.endings.sender = actions.first().cloned();
                actions
            }
            (Phase::Pending, Side::Receiver) => self.fail(now, TransferFault::ReceiverGone),
            (Phase::Interrupted { .. } | Phase::Delivered { .. }, Side::Receiver) => Vec::new(),
            (Phase::Running, Side::Receiver) => {
                self.phase = Phase::Interrupted { since: now, is_told: false };
                Vec::new()
            }
        }
    }

    /// The receiver is in the room again, with a new connection: it gets what is kept. It ignores
    /// what it has.
    pub fn resume(&mut self, now: Duration) -> Vec<Action> {
        let Phase::Interrupted { is_told, .. } = self.phase else {
            return self.take_ending(Side::Receiver).into_iter().collect();
        };
        self.phase = Phase::Running;
        self.last_activity = now;
        let mut actions = self.retained.replay(&self.offer);
        if is_told {
            actions.push(self.state_for_sender());
        }
        actions
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let silent = now.saturating_sub(self.last_activity);
        match self.phase {
            Phase::Pending if silent >= limits::TRANSFER_PENDING => self.fail(now, TransferFault::Timeout),
            Phase::Running | Phase::Delivered { .. } if silent >= limits::TRANSFER_IDLE => {
                self.fail(now, TransferFault::Timeout)
            }
            Phase::Interrupted { since, .. } if now.saturating_sub(since) >= limits::TRANSFER_RETURN => {
                self.fail(now, TransferFault::ReceiverGone)
            }
            Phase::Interrupted { since, is_told: false } if now.saturating_sub(since) >= limits::TRANSFER_NOTICE => {
                self.phase = Phase::Interrupted { since, is_told: true };
                vec![self.state_for_sender()]
            }
            _ => Vec::new(),
        }
    }

    /// How it ended, if `side` was away then; given once.
    pub fn take_ending(&mut self, side: Side) -> Option<Action> {
        match side {
            Side::Sender => self.endings.sender.take(),
            Side::Receiver => self.endings.receiver.take(),
        }
    }

    /// Ended so long ago that no late message can come any more.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        let is_awaited = self.endings.sender.is_some() || self.endings.receiver.is_some();
        let memory = if is_awaited { limits::TRANSFER_ENDING_KEPT } else { limits::TRANSFER_ENDED_KEPT };
        matches!(self.phase, Phase::Ended { at } if now.saturating_sub(at) >= memory)
    }

    pub(super) fn complete(&mut self, now: Duration, message: Bytes) -> Vec<Action> {
        self.finish(now, Outcome::Completed);
        let to = Side::Sender;
        vec![Action::Repeat { to, message }]
    }

    /// Ends the transfer for a reason that neither side gave: both are told, the sender first.
    pub(super) fn fail(&mut self, now: Duration, fault: TransferFault) -> Vec<Action> {
        if let Phase::Delivered { complete } = &self.phase {
            let complete = complete.clone();
            return self.complete(now, complete);
        }
        if let Phase::Interrupted { .. } = self.phase {
            self.endings.receiver = Some(Action::Fail { to: Side::Receiver, fault });
        }
        self.finish(now, Outcome::Failed(fault));
        [Side::Sender, Side::Receiver].map(|to| Action::Fail { to, fault }).into()
    }

    pub(super) fn finish(&mut self, now: Duration, outcome: Outcome) {
        self.phase = Phase::Ended { at: now };
        self.outcome = Some(outcome);
        self.retained = Retained::default();
    }
}
