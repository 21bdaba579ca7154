//! A connection that has a side in a transfer: one of this server, or one of another node of its cluster.

use actix::WeakAddr;
use bytes::Bytes;

use crate::{
    actors::{
        fanout::hub::{Budget, TransportHandle},
        nodes::Nodes,
    },
    ids::{NodeId, SessionId},
    protocols::letshare::transfer::{
        fault::TransferFault,
        letter::{Letter, Place},
        relay::{Event, Relay},
        state::Side,
        transfers::{Member, Terms},
    },
};

#[derive(Clone)]
pub enum Peer {
    Here(TransportHandle),
    There(There),
}

/// A connection of another node.
#[derive(Clone)]
pub struct There {
    pub nodes: Nodes,
    pub node: NodeId,
    /// As it is counted there.
    pub session: SessionId,
    pub member: Member,
}

/// Which connection it is, among those of all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerId(Option<NodeId>, SessionId);

impl PeerId {
    pub const fn here(session: SessionId) -> Self {
        Self(None, session)
    }

    pub const fn there(node: NodeId, session: SessionId) -> Self {
        Self(Some(node), session)
    }
}

impl Peer {
    pub fn id(&self) -> PeerId {
        match self {
            Self::Here(handle) => PeerId::here(handle.session),
            Self::There(there) => PeerId::there(there.node, there.session),
        }
    }

    /// Sends finished frames to this side of a transfer; `relay` hears when nobody was there to take them.
    pub fn send(&self, terms: &Terms, side: Side, frames: Vec<Bytes>, relay: &WeakAddr<Relay>) {
        match self {
            Self::Here(handle) => handle.send(frames),
            Self::There(there) => {
                let to = there.place();
                let transfer_id = terms.transfer_id.clone();
                there.send(Letter::Frames { transfer_id, side, to, frames }, Some(relay));
            }
        }
    }

    pub fn budget(&self, terms: &Terms, change: Budget) {
        match self {
            Self::Here(handle) => handle.budget(change),
            Self::There(there) => {
                let bytes = match change {
                    Budget::Widen(bytes) => bytes,
                    Budget::Narrow(_) => 0,
                };
                there.send(Letter::Widened { transfer_id: terms.transfer_id.clone(), to: there.place(), bytes }, None);
            }
        }
    }

    pub fn probe(&self) {
        match self {
            Self::Here(handle) => handle.probe(),
            Self::There(there) => there.send(Letter::Probe { to: there.place() }, None),
        }
    }
}

impl There {
    pub fn place(&self) -> Place {
        Place::of(&self.member, self.session)
    }

    /// `relay` hears what becomes of it, if that is not what it should.
    pub fn send(&self, letter: Letter, relay: Option<&WeakAddr<Relay>>) {
        let (relay, connection) = (relay.cloned(), Peer::There(self.clone()).id());
        letter.send(&self.nodes, self.node, move |heard| {
            let event = match heard {
                Ok(true) => return,
                // Its node is gone.
                Ok(false) => Event::Left { connection, is_closed: true },
                Err(_) => Event::Aborted(TransferFault::ServerBusy),
            };
            if let Some(relay) = relay.and_then(|relay| relay.upgrade()) {
                relay.do_send(event);
            }
        });
    }
}
