//! What reaches the actor of a transfer: messages and frames of its sides, and what becomes of their connections.

use std::time::Duration;

use actix::{Handler, Message};
use bytes::Bytes;

use crate::{
    actors::fanout::hub::TransportHandle,
    ids::SessionId,
    protocols::letshare::transfer::{
        chunk::Chunk,
        fault::TransferFault,
        message,
        relay::Relay,
        state::{Side, Signal},
    },
};

#[derive(Message)]
#[rtype(result = "()")]
pub enum Event {
    /// A side sends a control message; `frame` is the finished one for the other side.
    Signalled { from: TransportHandle, signal: Signal, frame: Bytes },
    /// The sender sends a chunk.
    Chunk(Chunk),
    /// It cannot go on: its sender sends faster than its frames are carried, or the server stops.
    Aborted(TransferFault),
    /// A connection is not in the room any more.
    Left {
        connection: SessionId,
        /// Nothing can be sent to it any more.
        is_closed: bool,
    },
    /// The user of a side is in the room, with this connection.
    Entered { side: Side, handle: TransportHandle },
}

impl Handler<Event> for Relay {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        let now = self.worker.broker.clock.uptime();
        match event {
            Event::Signalled { from, signal, frame } => self.signalled(now, &from, &signal, &frame),
            Event::Chunk(chunk) => {
                let bytes = chunk.frame.len() as u64;
                self.worker.count(|counters| counters.transfer_bytes += bytes);
                let actions = self.state.chunk(now, chunk);
                self.carry_out(actions, None);
            }
            Event::Aborted(fault) => {
                let actions = self.state.abort(now, fault);
                self.carry_out(actions, None);
            }
            Event::Left { connection, is_closed } => match self.side_of(connection) {
                Some(Side::Sender) => self.lose_sender(now, is_closed),
                Some(Side::Receiver) => self.lose_receiver(now),
                None => {}
            },
            Event::Entered { side: Side::Sender, handle } => self.tell_sender_the_end(handle),
            Event::Entered { side: Side::Receiver, handle } => match &self.receiver {
                None => self.resume_with(now, handle),
                // The older connection may be dead and not know it. It is probed, not replaced: whoever has the token
                // can call itself by any name.
                Some(older) if self.state.outcome().is_none() && older.session != handle.session => older.probe(),
                Some(_) => {}
            },
        }
    }
}

impl Relay {
    fn signalled(&mut self, now: Duration, from: &TransportHandle, signal: &Signal, frame: &Bytes) {
        let Some(side) = self.side_of(from.session) else {
            // Another connection of the receiving user: the transfer goes on unharmed.
            if self.state.outcome().is_none() || signal.wants_answer() {
                let now = self.worker.broker.clock.now();
                let fault = TransferFault::NotYourTransfer;
                from.send(vec![message::error(&self.terms.transfer_id, "", fault, now)]);
            }
            return;
        };
        let actions = self.state.hear(now, side, signal, frame);
        if side == Side::Receiver && *signal == Signal::Accept {
            self.widen_outbox();
        }
        self.carry_out(actions, Some(frame));
    }

    fn lose_sender(&mut self, now: Duration, is_closed: bool) {
        let actions = self.state.lose(now, Side::Sender);
        let is_over = !actions.is_empty();
        self.carry_out(actions, None);
        if !is_closed {
            // It has just been told.
            self.state.take_ending(Side::Sender);
        } else if is_over {
            self.transfers.keep_for_sender(&self.terms.transfer_id);
            // The page may have come back before its old connection was missed.
            let receiver = self.receiver.as_ref().unwrap_or(&self.sender).session;
            if let Some(sender) = self.transfers.find(&self.terms.member(Side::Sender), receiver) {
                self.tell_sender_the_end(sender);
            }
        }
    }

    fn lose_receiver(&mut self, now: Duration) {
        // A connection that only left the room must not keep what it was given.
        self.narrow_outbox();
        self.receiver = None;
        let actions = self.state.lose(now, Side::Receiver);
        self.carry_out(actions, None);
        // The page may have come back before its old connection was missed.
        if let Some(receiver) = self.transfers.find(&self.terms.member(Side::Receiver), self.sender.session) {
            self.resume_with(now, receiver);
        }
    }

    fn resume_with(&mut self, now: Duration, receiver: TransportHandle) {
        self.receiver = Some(receiver);
        let actions = self.state.resume(now);
        self.widen_outbox();
        self.carry_out(actions, None);
    }

    /// For a sender that was away at the end.
    fn tell_sender_the_end(&mut self, sender: TransportHandle) {
        if let Some(ending) = self.state.take_ending(Side::Sender) {
            self.sender = sender;
            self.carry_out(vec![ending], None);
        }
    }
}
