//! The actor of one transfer: the shell around [`Transfer`]. It lives on its sender's thread, and all that
//! either side says passes through it, texts and frames alike, so that `end` never overtakes a frame. What comes
//! in stands in `letters`, what goes out here.

mod letters;

use std::{rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context};
use bytes::Bytes;

use crate::{
    actors::{
        fanout::hub::{Budget, TransportHandle},
        worker::Worker,
    },
    core::frame,
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::transfer::{
        board::Board,
        fault::TransferFault,
        message::{self, Progress},
        state::{Action, Outcome, Side, Signal, Transfer},
    },
};

pub use letters::{Abort, Carry, Departure, Lost, Returned, Say};

pub struct Relay {
    transfer_id: String,
    file_name: Option<String>,
    room: ChannelName,
    sender: TransportHandle,
    sender_user: String,
    receiver_user: String,
    /// None while the receiver is away.
    receiver: Option<TransportHandle>,
    /// By how much the receiver's outbox was widened.
    widened: usize,
    state: Transfer,
    board: Arc<Board>,
    worker: Rc<Worker>,
}

/// What a relay begins with.
pub struct Opening {
    pub transfer_id: String,
    pub file_name: Option<String>,
    pub room: ChannelName,
    pub sender: TransportHandle,
    pub sender_user: String,
    pub receiver: TransportHandle,
    pub receiver_user: String,
    pub state: Transfer,
    pub board: Arc<Board>,
}

impl Relay {
    pub fn open(opening: Opening, worker: Rc<Worker>) -> Addr<Self> {
        worker.count(|counters| counters.transfers_started += 1);
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(limits::TRANSFER_MAILBOX);
            Self {
                transfer_id: opening.transfer_id,
                file_name: opening.file_name,
                room: opening.room,
                sender: opening.sender,
                sender_user: opening.sender_user,
                receiver_user: opening.receiver_user,
                receiver: Some(opening.receiver),
                widened: 0,
                state: opening.state,
                board: opening.board,
                worker,
            }
        })
    }

    fn side_of(&self, connection: SessionId) -> Option<Side> {
        if connection == self.sender.session {
            return Some(Side::Sender);
        }
        let receiver = self.receiver.as_ref()?;
        (connection == receiver.session).then_some(Side::Receiver)
    }

    /// Another connection of the receiving user: the transfer goes on unharmed.
    fn refuse(&self, stranger: &TransportHandle, signal: &Signal) {
        if self.state.outcome().is_some() && !signal.wants_answer() {
            return;
        }
        let now = self.worker.broker.clock.now();
        let fault = TransferFault::NotYourTransfer;
        stranger.send(vec![message::error(&self.transfer_id, None, fault, now)]);
    }

    fn carry_out(&mut self, actions: Vec<Action>, said: Option<&Bytes>) {
        for action in actions {
            match action {
                Action::Forward { to } => self.send(to, said.cloned().into_iter().collect()),
                Action::Repeat { to, message } => self.send(to, vec![message]),
                Action::Frame(frame) => {
                    let header = frame::binary_header(frame.len());
                    self.send(Side::Receiver, vec![header, frame]);
                }
                Action::Fail { to, fault } => {
                    let now = self.worker.broker.clock.now();
                    let room = Some(&self.room);
                    let error = message::error(&self.transfer_id, room, fault, now);
                    self.send(to, vec![error]);
                }
                Action::State { to, status } => {
                    let role = match to {
                        Side::Sender => "sender",
                        Side::Receiver => "receiver",
                    };
                    let now = self.worker.broker.clock.now();
                    let state = self.progress(self.state.acknowledged()).resume_state(status, role, now);
                    self.send(to, vec![state]);
                }
                Action::AckForSender { received_chunks } => {
                    let now = self.worker.broker.clock.now();
                    self.send(Side::Sender, vec![self.progress(received_chunks).ack(now)]);
                }
                Action::EndForReceiver => {
                    let now = self.worker.broker.clock.now();
                    let end = self.progress(self.state.acknowledged()).end(now);
                    self.send(Side::Receiver, vec![end]);
                }
                Action::ResendFromSender { chunk_indexes, missing_count } => {
                    let now = self.worker.broker.clock.now();
                    let progress = self.progress(self.state.acknowledged());
                    let resend = progress.resend(&chunk_indexes, missing_count, now);
                    self.send(Side::Sender, vec![resend]);
                }
            }
        }
        self.wind_up();
    }

    fn progress(&self, received_chunks: u64) -> Progress<'_> {
        Progress {
            transfer_id: &self.transfer_id,
            room: &self.room,
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
            handle.send(frames);
        }
    }

    /// Frames on the way must not make the receiver look like a slow reader: while the transfer runs, a
    /// ring more may wait for it.
    fn widen(&mut self) {
        if self.widened == 0
            && self.state.outcome().is_none()
            && let Some(receiver) = &self.receiver
        {
            self.widened = self.state.offer().ring_bytes();
            receiver.budget(Budget::Widen(self.widened));
        }
    }

    fn narrow(&mut self) {
        let widened = std::mem::take(&mut self.widened);
        if let Some(receiver) = self.receiver.as_ref().filter(|_| widened > 0) {
            receiver.budget(Budget::Narrow(widened));
        }
    }

    /// At the end: gives everything back and counts the outcome, once.
    fn wind_up(&mut self) {
        let Some(outcome) = self.state.outcome() else {
            return;
        };
        if !self.board.close(&self.transfer_id) {
            return;
        }
        self.narrow();
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
    }

    /// Also after a panic: what is listed must not stay for ever.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.board.forget(&self.transfer_id);
    }
}
