//! Transfers between users at different nodes of a cluster (`docs/design/cluster.md §3`). The relay of a transfer is at the node of
//! its sender; the node of its receiver has a [`Distant`] one in its place, and what either side says goes from node to node.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    actors::{
        attendants::{Answering, Attendant},
        broker::Broker,
        fanout::hub::{Budget, TransportHandle},
        nodes::Nodes,
    },
    clock::Clock,
    ids::{NodeId, SessionId},
    limits,
    protocols::letshare::transfer::{
        fault::TransferFault,
        letter::{Letter, NAME, Place},
        message,
        peer::{Peer, PeerId, There},
        relay::Event,
        state::Side,
        transfers::{Carrier, Listed, Member, Terms, Transfers},
    },
};

/// Whether this user is in this room; the answer is [`Found`].
#[derive(Serialize, Deserialize)]
struct IsPresent {
    room: String,
    user: String,
}

#[derive(Serialize, Deserialize)]
struct Found {
    node: [u8; 8],
    session: u64,
}

/// A transfer to a user of this server whose relay is at another node.
pub struct Distant {
    nodes: Nodes,
    node: NodeId,
    state: Mutex<DistantState>,
}

struct DistantState {
    /// Who receives it.
    receiver: TransportHandle,
    /// By how many bytes the outbox of the receiver was widened.
    widened: usize,
    /// When its node has said something last (monotonic).
    heard: Duration,
}

impl Distant {
    /// Tells the relay what has happened here.
    pub fn tell(&self, terms: &Terms, event: Event) {
        let transfer_id = terms.transfer_id.clone();
        let letter = match event {
            Event::Signalled { from: Peer::Here(from), signal, frame } => {
                let from = Place::of(&terms.member(Side::Receiver), from.session);
                Letter::Signalled { transfer_id, from, signal, frames: vec![frame] }
            }
            Event::Left { connection, is_closed } => {
                let receiver = self.state.lock().receiver.session;
                if connection != PeerId::here(receiver) {
                    return;
                }
                Letter::Left { transfer_id, session: receiver.number(), is_closed }
            }
            // Its relay hears of these by itself.
            Event::Signalled { .. }
            | Event::Chunk(_)
            | Event::Aborted(_)
            | Event::Refused(_)
            | Event::Entered { .. } => return,
        };
        letter.send(&self.nodes, self.node, drop);
    }

    fn widen(&self, bytes: usize) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.widened, bytes);
        if before > 0 {
            state.receiver.budget(Budget::Narrow(before));
        }
        if bytes > 0 {
            state.receiver.budget(Budget::Widen(bytes));
        }
    }
}

impl Transfers {
    /// The connection of `member` at another node, if there is one.
    pub async fn find_elsewhere(&self, member: &Member, broker: &Broker) -> Option<Peer> {
        let nodes = broker.nodes()?;
        let (room, user) = (member.0.as_str().to_owned(), member.1.clone());
        let found: Vec<Found> = broker.ask_protocol(NAME, &IsPresent { room, user }, |_| true).await;
        let Found { node, session } = found.into_iter().next()?;
        let (node, session) = (NodeId::from_bytes(node), SessionId::from_number(session));
        Some(Peer::There(There { nodes, node, session, member: member.clone() }))
    }

    /// Tells the transfers at other nodes that a page is in a room.
    pub fn entered(&self, member: &Member, session: SessionId, broker: &Broker) {
        let letter = Letter::Entered { place: Place::of(member, session) };
        broker.tell_protocol(NAME, &letter.head(&[]));
    }

    fn here(&self, place: &Place) -> Option<TransportHandle> {
        let present = self.present.registered(&place.member());
        let mut handles = present.iter().filter_map(|transport| transport.handle());
        handles.find(|handle| handle.session.number() == place.session).cloned()
    }

    fn open_distant(
        &self,
        nodes: &Nodes,
        node: NodeId,
        transfer_id: String,
        sender_user: String,
        to: &Place,
        now: Duration,
    ) -> Result<(), TransferFault> {
        let receiver = self.here(to).ok_or(TransferFault::ReceiverGone)?;
        let (room, receiver_user) = to.member();
        let terms = Terms { transfer_id, room, sender: None, sender_user, receiver_user, ring_bytes: 0 };
        // It may have been here before.
        if self.distant(&terms.transfer_id, node).is_some() {
            self.forget(&terms.transfer_id);
        }
        let state = Mutex::new(DistantState { receiver, widened: 0, heard: now });
        let distant = Distant { nodes: nodes.clone(), node, state };
        self.open(terms, None, |_| Carrier::There(distant)).map(drop)
    }

    /// A transfer whose relay is at that node.
    fn distant(&self, transfer_id: &str, node: NodeId) -> Option<Arc<Listed>> {
        let listed = self.transfer(transfer_id)?;
        matches!(&listed.carrier, Carrier::There(distant) if distant.node == node).then_some(listed)
    }

    /// What another node tells.
    fn take_in(&self, broker: &Broker, nodes: Nodes, from: NodeId, letter: Letter) {
        let now = broker.clock.uptime();
        let tell = |transfer_id: &str, event| {
            if let Some(listed) = self.transfer(transfer_id)
                && matches!(listed.carrier, Carrier::Here(_))
            {
                listed.tell(event);
            }
        };
        let there = |place: &Place| {
            let session = SessionId::from_number(place.session);
            Peer::There(There { nodes: nodes.clone(), node: from, session, member: place.member() })
        };
        match letter {
            Letter::Open { transfer_id, sender_user, to } => {
                if let Err(fault) = self.open_distant(&nodes, from, transfer_id.clone(), sender_user, &to, now) {
                    Letter::Refused { transfer_id, fault }.send(&nodes, from, drop);
                }
            }
            Letter::Frames { transfer_id, side, to, frames } => {
                let listed = self.distant(&transfer_id, from);
                if let Some(Carrier::There(distant)) = listed.as_ref().map(|listed| &listed.carrier) {
                    distant.state.lock().heard = now;
                } else if side == Side::Receiver {
                    // It was refused, or another one has its id here.
                    return;
                }
                if let Some(handle) = self.here(&to) {
                    handle.send(frames);
                }
            }
            Letter::Widened { transfer_id, to: _, bytes } => {
                let listed = self.distant(&transfer_id, from);
                if let Some(Carrier::There(distant)) = listed.as_ref().map(|listed| &listed.carrier) {
                    distant.widen(bytes);
                }
            }
            Letter::Probe { to } => {
                if let Some(handle) = self.here(&to) {
                    handle.probe();
                }
            }
            Letter::Ended { transfer_id } => self.end_distant(&transfer_id, from),
            Letter::Forgotten { transfer_id } => {
                self.end_distant(&transfer_id, from);
                if self.distant(&transfer_id, from).is_some() {
                    self.forget(&transfer_id);
                }
            }
            Letter::Signalled { transfer_id, from: place, signal, mut frames } => {
                if let Some(frame) = frames.pop() {
                    tell(&transfer_id, Event::Signalled { from: there(&place), signal, frame });
                }
            }
            Letter::Left { transfer_id, session, is_closed } => {
                let connection = PeerId::there(from, SessionId::from_number(session));
                tell(&transfer_id, Event::Left { connection, is_closed });
            }
            Letter::Refused { transfer_id, fault } => tell(&transfer_id, Event::Refused(fault)),
            Letter::Entered { place } => {
                let member = place.member();
                // What it was sending with an older connection ends with that one, which may be dead.
                self.senders(&member, None).iter().for_each(TransportHandle::probe);
                for (side, listed) in self.concerning(&member) {
                    listed.tell(Event::Entered { side, handle: there(&place) });
                }
            }
        }
    }

    fn end_distant(&self, transfer_id: &str, node: NodeId) {
        let listed = self.distant(transfer_id, node);
        if let Some(Carrier::There(distant)) = listed.as_ref().map(|listed| &listed.carrier) {
            distant.widen(0);
            self.close(transfer_id);
        }
    }

    /// Ends the transfers whose node has died, as one has that was silent for longer than its `lease`, and forgets those that nobody
    /// has spoken of for long. To be called once a second.
    pub fn sweep(&self, nodes: &Nodes, lease: Duration, clock: &Clock) {
        let (alive, now) = (nodes.alive(), clock.uptime());
        for listed in self.all() {
            let Carrier::There(distant) = &listed.carrier else { continue };
            let transfer_id = &listed.terms.transfer_id;
            let silent = now.saturating_sub(distant.state.lock().heard);
            if !alive.contains(&distant.node) && silent >= lease {
                if listed.is_live() {
                    let (room, fault) = (listed.terms.room.as_str(), TransferFault::SenderGone);
                    let error = message::error(transfer_id, room, fault, clock.now());
                    distant.state.lock().receiver.send(vec![error]);
                }
            } else if silent < limits::TRANSFER_IDLE + limits::TRANSFER_ENDING_KEPT {
                continue;
            }
            self.end_distant(transfer_id, distant.node);
            self.forget(transfer_id);
        }
    }
}

impl Attendant for Transfers {
    fn answer(self: Arc<Self>, broker: Arc<Broker>, question: Box<RawValue>) -> Answering {
        Box::pin(async move {
            let IsPresent { room, user } = serde_json::from_str(question.get()).ok()?;
            let present = self.present.registered(&(room.as_str().into(), user));
            let session = present.iter().rev().find_map(|transport| transport.handle())?.session.number();
            serde_json::to_vec(&Found { node: broker.nodes()?.own().to_bytes(), session }).ok()
        })
    }

    fn hear(self: Arc<Self>, broker: &Arc<Broker>, from: NodeId, letter: Bytes) {
        if let (Some(nodes), Some(letter)) = (broker.nodes(), Letter::read(letter)) {
            self.take_in(broker, nodes, from, letter);
        }
    }
}
