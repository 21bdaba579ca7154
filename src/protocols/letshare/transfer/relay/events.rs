//! What reaches the actor of a transfer: messages and frames of its sides, and what becomes of their connections.

use std::{sync::Arc, time::Duration};

use actix::{AsyncContext as _, Context, Handler, Message};
use actix_web::rt;
use bytes::Bytes;

use crate::protocols::letshare::transfer::{
    chunk::Chunk,
    fault::TransferFault,
    letter::Letter,
    message,
    peer::{Peer, PeerId},
    relay::Relay,
    state::{Side, Signal},
    transfers::Terms,
};

#[derive(Message)]
#[rtype(result = "()")]
pub enum Event {
    /// A side sends a control message; `frame` is the finished one for the other side.
    Signalled { from: Peer, signal: Signal, frame: Bytes },
    /// The sender sends a chunk.
    Chunk(Chunk),
    /// It cannot go on: its sender sends faster than its frames are carried, or the server stops.
    Aborted(TransferFault),
    /// The node of its receiver does not take it; the receiver has not heard of it.
    Refused(TransferFault),
    /// A connection is not in the room any more.
    Left {
        connection: PeerId,
        /// Nothing can be sent to it any more.
        is_closed: bool,
    },
    /// The user of a side is in the room, with this connection.
    Entered { side: Side, handle: Peer },
}

impl Handler<Event> for Relay {
    type Result = ();

    fn handle(&mut self, event: Event, ctx: &mut Self::Context) {
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
            Event::Refused(fault) => {
                self.receiver = None;
                let actions = self.state.abort(now, fault);
                self.carry_out(actions, None);
            }
            Event::Left { connection, is_closed } => match self.side_of(connection) {
                Some(Side::Sender) => {
                    self.lose_sender(now, is_closed);
                    self.look_elsewhere(Side::Sender, ctx);
                }
                Some(Side::Receiver) => {
                    self.lose_receiver(now);
                    self.look_elsewhere(Side::Receiver, ctx);
                }
                None => {}
            },
            Event::Entered { side: Side::Sender, handle } => self.tell_sender_the_end(handle),
            Event::Entered { side: Side::Receiver, handle } => match &self.receiver {
                None => self.resume_with(now, handle),
                // The older connection may be dead and not know it. It is probed, not replaced: whoever has the token
                // can call itself by any name.
                Some(older) if self.state.outcome().is_none() && older.id() != handle.id() => older.probe(),
                Some(_) => {}
            },
        }
    }
}

impl Relay {
    fn signalled(&mut self, now: Duration, from: &Peer, signal: &Signal, frame: &Bytes) {
        let Some(side) = self.side_of(from.id()) else {
            // Another connection of the receiving user: the transfer goes on unharmed.
            if self.state.outcome().is_none() || signal.wants_answer() {
                let now = self.worker.broker.clock.now();
                let fault = TransferFault::NotYourTransfer;
                let error = message::error(&self.terms.transfer_id, "", fault, now);
                from.send(&self.terms, Side::Receiver, vec![error], &self.address);
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
            let receiver = self.receiver.as_ref().unwrap_or(&self.sender).id();
            if let Some(sender) = self.transfers.find(&self.terms.member(Side::Sender), receiver) {
                self.tell_sender_the_end(Peer::Here(sender));
            }
        }
    }

    pub fn lose_receiver(&mut self, now: Duration) {
        // A connection that only left the room must not keep what it was given.
        self.narrow_outbox();
        if let Some(Peer::There(there)) = self.receiver.take() {
            there.send(Letter::Forgotten { transfer_id: self.terms.transfer_id.clone() }, None);
        }
        let actions = self.state.lose(now, Side::Receiver);
        self.carry_out(actions, None);
        // The page may have come back before its old connection was missed.
        if let Some(receiver) = self.transfers.find(&self.terms.member(Side::Receiver), self.sender.id()) {
            self.resume_with(now, Peer::Here(receiver));
        }
    }

    fn resume_with(&mut self, now: Duration, receiver: Peer) {
        if !self.open_there(&receiver) {
            return;
        }
        self.receiver = Some(receiver);
        let actions = self.state.resume(now);
        self.widen_outbox();
        self.carry_out(actions, None);
    }

    /// For a sender that was away at the end.
    fn tell_sender_the_end(&mut self, sender: Peer) {
        if let Some(ending) = self.state.take_ending(Side::Sender) {
            self.sender = sender;
            self.carry_out(vec![ending], None);
        }
    }

    /// The page of a side may have come back to another node before its connection was missed.
    pub fn look_elsewhere(&mut self, side: Side, ctx: &mut Context<Self>) {
        let is_away = match side {
            Side::Sender => self.state.outcome().is_some(),
            Side::Receiver => self.receiver.is_none(),
        };
        if !is_away || self.worker.broker.nodes().is_none() {
            return;
        }
        let (transfers, broker) = (Arc::clone(&self.transfers), Arc::clone(&self.worker.broker));
        let (member, relay) = (self.terms.member(side), ctx.address());
        rt::spawn(async move {
            if let Some(handle) = transfers.find_elsewhere(&member, &broker).await {
                relay.do_send(Event::Entered { side, handle });
            }
        });
    }

    /// Where a receiver is at another node, that node learns of the transfer. False: there is no room for one more.
    pub fn open_there(&self, receiver: &Peer) -> bool {
        let Peer::There(there) = receiver else { return true };
        if self.state.outcome().is_some() {
            return true;
        }
        let Terms { transfer_id, sender_user, .. } = &*self.terms;
        if !self.transfers.goes_there(transfer_id) {
            return false;
        }
        let to = there.place();
        let (transfer_id, sender_user) = (transfer_id.clone(), sender_user.clone());
        there.send(Letter::Open { transfer_id, sender_user, to }, Some(&self.address));
        true
    }
}
