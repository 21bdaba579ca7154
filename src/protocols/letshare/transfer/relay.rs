//! The actor of one transfer: the shell around [`Transfer`]. It lives on its sender's thread, and all that either side
//! says passes through it, texts and frames alike, so that `end` never overtakes a frame. What comes in stands in
//! `events`, what goes out here.

mod events;

use std::{rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, WeakAddr};
use bytes::Bytes;

use crate::{
    actors::{fanout::hub::Budget, worker::Worker},
    core::frame,
    limits,
    protocols::letshare::transfer::{
        fault::TransferFault,
        letter::Letter,
        message::{self, Progress},
        peer::{Peer, PeerId},
        state::{Action, Outcome, Side, Transfer},
        transfers::{Terms, Transfers},
    },
};

pub use events::Event;

pub struct Relay {
    pub terms: Arc<Terms>,
    pub file_name: Option<String>,
    pub sender: Peer,
    /// None while the receiver is away.
    pub receiver: Option<Peer>,
    /// Its own.
    pub address: WeakAddr<Self>,
    /// By how many bytes the receiver's outbox was widened.
    pub widened: usize,
    pub state: Transfer,
    /// What the receiver is asked.
    pub request: Bytes,
    pub transfers: Arc<Transfers>,
    pub worker: Rc<Worker>,
}

impl Relay {
    /// `make` is told its address.
    pub fn open(make: impl FnOnce(WeakAddr<Self>) -> Self) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(limits::TRANSFER_MAILBOX);
            let relay = make(ctx.address().downgrade());
            relay.worker.count(|counters| counters.transfers_started += 1);
            relay
        })
    }

    /// Asks the receiver.
    fn begin(&mut self) {
        if self.receiver.as_ref().is_some_and(|receiver| !self.open_there(receiver)) {
            // It has not heard of it.
            self.receiver = None;
            let actions = self.state.abort(self.worker.broker.clock.uptime(), TransferFault::ServerBusy);
            return self.carry_out(actions, None);
        }
        let request = std::mem::take(&mut self.request);
        self.send(Side::Receiver, vec![request]);
    }

    fn side_of(&self, connection: PeerId) -> Option<Side> {
        if connection == self.sender.id() {
            return Some(Side::Sender);
        }
        let receiver = self.receiver.as_ref()?;
        (connection == receiver.id()).then_some(Side::Receiver)
    }

    /// `said` is the frame that an [`Action::Forward`] is about.
    fn carry_out(&mut self, actions: Vec<Action>, said: Option<&Bytes>) {
        let now = self.worker.broker.clock.now();
        let acknowledged = self.progress(self.state.acknowledged());
        for action in actions {
            match action {
                Action::Forward { to } => self.send(to, said.cloned().into_iter().collect()),
                Action::Repeat { to, message } => self.send(to, vec![message]),
                Action::Frame(frame) => self.send(Side::Receiver, vec![frame::binary_header(frame.len()), frame]),
                Action::Fail { to, fault } => {
                    let error = message::error(&self.terms.transfer_id, self.terms.room.as_str(), fault, now);
                    self.send(to, vec![error]);
                }
                Action::State { to, status } => self.send(to, vec![acknowledged.resume_state(status, to, now)]),
                Action::AckForSender { received_chunks } => {
                    self.send(Side::Sender, vec![self.progress(received_chunks).ack(now)]);
                }
                Action::EndForReceiver => self.send(Side::Receiver, vec![acknowledged.end(now)]),
                Action::ResendFromSender { chunk_indexes, missing_count } => {
                    let resend = acknowledged.resend(&chunk_indexes, missing_count, now);
                    self.send(Side::Sender, vec![resend]);
                }
            }
        }
        self.end_if_over();
    }

    fn progress(&self, received_chunks: u64) -> Progress<'_> {
        Progress {
            transfer_id: &self.terms.transfer_id,
            room: &self.terms.room,
            offer: self.state.offer(),
            file_name: self.file_name.as_deref(),
            received_chunks,
        }
    }

    fn send(&self, to: Side, frames: Vec<Bytes>) {
        let handle = match to {
            Side::Sender => Some(&self.sender),
            Side::Receiver => self.receiver.as_ref(),
        };
        if let Some(handle) = handle {
            handle.send(&self.terms, to, frames, &self.address);
        }
    }

    /// Frames on the way must not make the receiver look like a slow reader: while the transfer runs, a ring more may
    /// wait for it.
    fn widen_outbox(&mut self) {
        if self.widened == 0
            && self.state.outcome().is_none()
            && let Some(receiver) = &self.receiver
        {
            self.widened = self.state.offer().ring_bytes();
            receiver.budget(&self.terms, Budget::Widen(self.widened));
        }
    }

    fn narrow_outbox(&mut self) {
        let widened = std::mem::take(&mut self.widened);
        if let Some(receiver) = self.receiver.as_ref().filter(|_| widened > 0) {
            receiver.budget(&self.terms, Budget::Narrow(widened));
        }
    }

    /// At the end: gives everything back and counts the outcome, once.
    fn end_if_over(&mut self) {
        let Some(outcome) = self.state.outcome() else {
            return;
        };
        if !self.transfers.close(&self.terms.transfer_id) {
            return;
        }
        self.narrow_outbox();
        if let Some(Peer::There(there)) = &self.receiver {
            there.send(Letter::Ended { transfer_id: self.terms.transfer_id.clone() }, None);
        }
        self.worker.count(|counters| match outcome {
            Outcome::Completed => counters.transfers_completed += 1,
            Outcome::Cancelled => counters.transfers_cancelled += 1,
            Outcome::Failed(TransferFault::Timeout) => counters.transfers_timed_out += 1,
            Outcome::Failed(TransferFault::SenderGone) => counters.transfers_lost_sender += 1,
            Outcome::Failed(TransferFault::ReceiverGone) => counters.transfers_lost_receiver += 1,
            Outcome::Failed(TransferFault::ServerStops) => {}
            Outcome::Failed(_) => counters.transfers_broken += 1,
        });
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = self.worker.broker.clock.uptime();
        if let Some(Peer::There(there)) = self.receiver.as_ref().filter(|_| self.state.outcome().is_none())
            && !there.nodes.alive().contains(&there.node)
        {
            self.lose_receiver(now);
            self.look_elsewhere(Side::Receiver, ctx);
        }
        let actions = self.state.tick(now);
        self.carry_out(actions, None);
        if self.state.is_forgotten(now) {
            ctx.stop();
        }
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(limits::TRANSFER_TICK, Self::tick);
        self.begin();
    }

    /// Also after a panic: what is listed must not stay for ever.
    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(Peer::There(there)) = &self.receiver {
            there.send(Letter::Forgotten { transfer_id: self.terms.transfer_id.clone() }, None);
        }
        self.transfers.forget(&self.terms.transfer_id);
    }
}
