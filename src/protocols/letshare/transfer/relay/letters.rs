//! What reaches the actor of a transfer: words and frames of its sides, and what becomes of their connections.

use actix::{Handler, Message};
use bytes::Bytes;

use crate::{
    actors::fanout::hub::TransportHandle,
    ids::SessionId,
    protocols::letshare::transfer::{
        chunk::Chunk,
        fault::TransferFault,
        relay::Relay,
        state::{Side, Signal},
    },
};

/// A side says something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Say {
    pub from: TransportHandle,
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
    pub connection: SessionId,
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
    pub handle: TransportHandle,
}

impl Handler<Say> for Relay {
    type Result = ();

    fn handle(&mut self, Say { from, signal, frame }: Say, _: &mut Self::Context) {
        let Some(side) = self.side_of(from.session) else {
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
        self.worker.count(|counters| counters.transfer_bytes += bytes);
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

    fn handle(&mut self, Lost { connection, departure }: Lost, _: &mut Self::Context) {
        match self.side_of(connection) {
            Some(Side::Sender) => self.lose_sender(departure),
            Some(Side::Receiver) => self.lose_receiver(),
            None => {}
        }
    }
}

impl Handler<Returned> for Relay {
    type Result = ();

    fn handle(&mut self, Returned { side, handle }: Returned, _: &mut Self::Context) {
        match side {
            Side::Sender => self.part_from(handle),
            Side::Receiver => match &self.receiver {
                None => self.give_back(handle),
                // The older connection may be dead and not know it. It is asked, not robbed: whoever has the
                // token can call itself by any name.
                Some(older) if self.state.outcome().is_none() => {
                    if older.session != handle.session {
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
            let receiver = self.receiver.as_ref().unwrap_or(&self.sender).session;
            if let Some(sender) = self.board.find(&self.room, &self.sender_user, receiver) {
                self.part_from(sender);
            }
        }
    }

    fn lose_receiver(&mut self) {
        // A connection that only left the room must not keep what it was given.
        self.narrow();
        self.receiver = None;
        let actions = self.state.lose(self.worker.broker.clock.uptime(), Side::Receiver);
        self.carry_out(actions, None);
        // The page may have come back before its old connection was missed.
        let sender = self.sender.session;
        if let Some(receiver) = self.board.find(&self.room, &self.receiver_user, sender) {
            self.give_back(receiver);
        }
    }

    fn give_back(&mut self, receiver: TransportHandle) {
        self.receiver = Some(receiver);
        let now = self.worker.broker.clock.uptime();
        let actions = self.state.resume(now);
        self.widen();
        self.carry_out(actions, None);
    }

    /// Tells a sender that was away at the end how it ended.
    fn part_from(&mut self, sender: TransportHandle) {
        if let Some(parting) = self.state.part(Side::Sender) {
            self.sender = sender;
            self.carry_out(vec![parting], None);
        }
    }
}
