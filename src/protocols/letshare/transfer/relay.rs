//! The actor of one transfer: the shell around [`Transfer`]. It lives on its sender's thread, and all that
//! either side says passes through it, texts and frames alike, so that `end` never overtakes a frame.

use std::{rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use bytes::Bytes;

use crate::{
    actors::{
        hub::{Budget, Peer},
        worker::Worker,
    },
    core::frame,
    ids::{ChannelName, ConnectionId},
    limits,
    protocols::letshare::transfer::{
        board::Board,
        chunk::Chunk,
        fault::TransferFault,
        message::{self, Progress},
        state::{Action, Outcome, Side, Signal, Transfer},
    },
};

pub struct Relay {
    transfer_id: String,
    file_name: Option<String>,
    room: ChannelName,
    sender: Peer,
    sender_user: String,
    receiver_user: String,
    /// None while the receiver is away.
    receiver: Option<Peer>,
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
    pub sender: Peer,
    pub sender_user: String,
    pub receiver: Peer,
    pub receiver_user: String,
    pub state: Transfer,
    pub board: Arc<Board>,
}

/// A side says something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Say {
    pub from: Peer,
    pub signal: Signal,
    /// The finished frame for the other side.
    pub frame: Bytes,
}

/// The sender sends a frame.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Carry {
    pub chunk: Chunk,
}

/// The transfer cannot go on: its sender sends faster than its frames are carried, or the server stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Abort {
    pub fault: TransferFault,
}

/// A connection is not in the room any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Lost {
    pub connection: ConnectionId,
    pub departure: Departure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It can still be told something.
    FromRoom,
    FromServer,
}

/// The user of a side is in the room, with this connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Returned {
    pub side: Side,
    pub peer: Peer,
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

    fn side_of(&self, connection: ConnectionId) -> Option<Side> {
        if connection == self.sender.connection {
            return Some(Side::Sender);
        }
        let receiver = self.receiver.as_ref()?;
        (connection == receiver.connection).then_some(Side::Receiver)
    }

    /// Another connection of the receiving user: the transfer goes on unharmed.
    fn refuse(&self, stranger: &Peer, signal: &Signal) {
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
                    let state = self
                        .progress(self.state.acknowledged())
                        .resume_state(status, role, now);
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
                Action::ResendFromSender {
                    chunk_indexes,
                    missing_count,
                } => {
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
        let peer = match to {
            Side::Sender => Some(&self.sender),
            Side::Receiver => self.receiver.as_ref(),
        };
        if let Some(peer) = peer {
            peer.send(frames);
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

impl Handler<Say> for Relay {
    type Result = ();

    fn handle(
        &mut self,
        Say {
            from,
            signal,
            frame,
        }: Say,
        _: &mut Self::Context,
    ) {
        let Some(side) = self.side_of(from.connection) else {
            return self.refuse(&from, &signal);
        };
        let now = self.worker.broker.clock.uptime();
        let actions = self.state.hear(now, side, &signal, &frame);
        if side == Side::Receiver && signal == Signal::Accept {
            self.widen();
        }
        self.carry_out(actions, Some(&frame));
    }
}

impl Handler<Carry> for Relay {
    type Result = ();

    fn handle(&mut self, Carry { chunk }: Carry, _: &mut Self::Context) {
        let bytes = chunk.frame.len() as u64;
        self.worker
            .count(|counters| counters.transfer_bytes += bytes);
        let actions = self.state.chunk(self.worker.broker.clock.uptime(), chunk);
        self.carry_out(actions, None);
    }
}

impl Handler<Abort> for Relay {
    type Result = ();

    fn handle(&mut self, Abort { fault }: Abort, _: &mut Self::Context) {
        let now = self.worker.broker.clock.uptime();
        let actions = self.state.abort(now, fault);
        self.carry_out(actions, None);
    }
}

impl Handler<Lost> for Relay {
    type Result = ();

    fn handle(
        &mut self,
        Lost {
            connection,
            departure,
        }: Lost,
        _: &mut Self::Context,
    ) {
        match self.side_of(connection) {
            Some(Side::Sender) => self.lose_sender(departure),
            Some(Side::Receiver) => self.lose_receiver(),
            None => {}
        }
    }
}

impl Handler<Returned> for Relay {
    type Result = ();

    fn handle(&mut self, Returned { side, peer }: Returned, _: &mut Self::Context) {
        match side {
            Side::Sender => self.part_from(peer),
            Side::Receiver => match &self.receiver {
                None => self.give_back(peer),
                // The older connection may be dead and not know it. It is asked, not robbed: whoever has the
                // token can call itself by any name.
                Some(older) if self.state.outcome().is_none() => {
                    if older.connection != peer.connection {
                        older.probe();
                    }
                }
                Some(_) => {}
            },
        }
    }
}

impl Relay {
    fn lose_sender(&mut self, departure: Departure) {
        let now = self.worker.broker.clock.uptime();
        let actions = self.state.lose(now, Side::Sender);
        let is_over = !actions.is_empty();
        self.carry_out(actions, None);
        if departure == Departure::FromRoom {
            // It has just been told.
            self.state.part(Side::Sender);
        } else if is_over {
            self.board.owe(&self.transfer_id);
            // The page may have come back before its old connection was missed.
            let receiver = self.receiver.as_ref().unwrap_or(&self.sender).connection;
            if let Some(sender) = self.board.find(&self.room, &self.sender_user, receiver) {
                self.part_from(sender);
            }
        }
    }

    fn lose_receiver(&mut self) {
        // A connection that only left the room must not keep what it was given.
        self.narrow();
        self.receiver = None;
        let actions = self
            .state
            .lose(self.worker.broker.clock.uptime(), Side::Receiver);
        self.carry_out(actions, None);
        // The page may have come back before its old connection was missed.
        let sender = self.sender.connection;
        if let Some(receiver) = self.board.find(&self.room, &self.receiver_user, sender) {
            self.give_back(receiver);
        }
    }

    fn give_back(&mut self, receiver: Peer) {
        self.receiver = Some(receiver);
        let now = self.worker.broker.clock.uptime();
        let actions = self.state.resume(now);
        self.widen();
        self.carry_out(actions, None);
    }

    /// Tells a sender that was away at the end how it ended.
    fn part_from(&mut self, sender: Peer) {
        if let Some(parting) = self.state.part(Side::Sender) {
            self.sender = sender;
            self.carry_out(vec![parting], None);
        }
    }
}
