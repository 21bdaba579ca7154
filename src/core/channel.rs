//! The state of one channel: who is attached, and the order of what is published.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    core::{
        filter::Filter,
        message::{self, Message},
        rules::Rules,
        serial::{Mint, Serial},
    },
    error::Fault,
    ids::{ChannelName, ConnectionId, Timestamp},
};

/// A worker thread with attachments; its hub delivers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId(pub u32);

/// Asks for an attachment, or changes the one there is.
#[derive(Clone, Debug)]
pub struct Attach {
    pub connection: ConnectionId,
    pub hub: HubId,
    /// The whole filter from now on, not what is added to it.
    pub filter: Filter,
    /// Whoever comes by these rules is counted against their cap.
    pub rules: Option<Arc<Rules>>,
    /// Handed back untouched with the answer.
    pub context: Bytes,
}

/// Ends an attachment.
#[derive(Clone, Debug)]
pub struct Detach {
    pub connection: ConnectionId,
    pub hub: HubId,
    /// Handed back untouched with the answer.
    pub context: Bytes,
}

/// A hub's attachments, handed to the successor of a channel that died.
#[derive(Clone, Debug)]
pub struct Reseat {
    pub hub: HubId,
    pub members: Vec<Seat>,
    /// Up to where the hub has delivered.
    pub delivered: Serial,
}

/// One attachment as its hub knows it.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub connection: ConnectionId,
    /// Holds one of the places that the rules' cap counts.
    pub counted: bool,
}

/// What a connection is told about its own command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Attached, or the attachment changed.
    Attached {
        filter: Filter,
        counted: bool,
        /// Everything after this follows.
        position: Serial,
        context: Bytes,
    },
    /// Nothing of the channel follows this.
    Detached { context: Bytes },
    /// The attachment was refused; there is none.
    AttachRefused { fault: Fault },
    /// The message was refused.
    PublishRefused { fault: Fault },
}

/// What the channel asks its shell to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the log, then deliver to every hub with attachments.
    Append(Arc<message::Entry>),
    /// Tell one connection, through its hub, so that the answer keeps its place among deliveries.
    Answer {
        hub: HubId,
        connection: ConnectionId,
        answer: Answer,
    },
    /// Deliver to this hub alone what the log holds after a position.
    Replay { hub: HubId, after: Serial },
}

#[derive(Debug)]
struct Attachment {
    hub: HubId,
    /// Holds one of the places that the rules' cap counts.
    counted: bool,
}

/// A channel without its log: who is attached, and the next serial.
#[derive(Debug)]
pub struct ChannelState {
    name: ChannelName,
    mint: Mint,
    attachments: HashMap<ConnectionId, Attachment>,
    /// Attachments that hold a counted place.
    counted: usize,
    /// Hubs with attachments, and how many. Few: one per worker thread.
    hubs: Vec<(HubId, usize)>,
}

impl ChannelState {
    /// `mint` goes on where the channel's log stands.
    pub fn new(name: ChannelName, mint: Mint) -> Self {
        Self {
            name,
            mint,
            attachments: HashMap::new(),
            counted: 0,
            hubs: Vec::new(),
        }
    }

    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The hubs that have to be told of an entry.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> + '_ {
        self.hubs.iter().map(|(hub, _)| *hub)
    }

    pub fn is_idle(&self) -> bool {
        self.attachments.is_empty()
    }

    #[cfg(test)]
    fn members(&self) -> usize {
        self.attachments.len()
    }

    /// Attaches, or changes the attachment that the connection has. Who is attached already is not
    /// refused when the channel is full.
    pub fn attach(&mut self, command: Attach) -> Effect {
        let Attach {
            connection,
            hub,
            filter,
            rules,
            context,
        } = command;
        let counted = rules.is_some();
        let answer = match self.admit(connection, rules.as_deref()) {
            Ok(()) => {
                self.seat(
                    hub,
                    Seat {
                        connection,
                        counted,
                    },
                );
                Answer::Attached {
                    filter,
                    counted,
                    position: self.mint.position(),
                    context,
                }
            }
            Err(fault) => Answer::AttachRefused { fault },
        };
        Effect::Answer {
            hub,
            connection,
            answer,
        }
    }

    /// Takes over the attachments of a hub as they are, and delivers what the hub has missed.
    pub fn reseat(&mut self, command: Reseat) -> Effect {
        let Reseat {
            hub,
            members,
            delivered: after,
        } = command;
        for seat in members {
            self.seat(hub, seat);
        }
        Effect::Replay { hub, after }
    }

    fn admit(&self, connection: ConnectionId, rules: Option<&Rules>) -> Result<(), Fault> {
        match rules {
            Some(rules) if !self.attachments.contains_key(&connection) => {
                rules.check_name(self.name.as_str())?;
                rules.check_place(self.counted)
            }
            _ => Ok(()),
        }
    }

    fn seat(&mut self, hub: HubId, seat: Seat) {
        let Entry::Vacant(vacant) = self.attachments.entry(seat.connection) else {
            return;
        };
        let counted = seat.counted;
        vacant.insert(Attachment { hub, counted });
        self.counted += usize::from(counted);
        match self.hubs.iter_mut().find(|(id, _)| *id == hub) {
            Some((_, attachments)) => *attachments += 1,
            None => self.hubs.push((hub, 1)),
        }
    }

    /// Detaches; confirmed also when there was no attachment.
    pub fn detach(&mut self, command: Detach) -> Effect {
        let Detach {
            connection,
            hub,
            context,
        } = command;
        self.forget(connection);
        let answer = Answer::Detached { context };
        Effect::Answer {
            hub,
            connection,
            answer,
        }
    }

    /// The connection is gone: no answer.
    pub fn forget(&mut self, connection: ConnectionId) {
        let Some(attachment) = self.attachments.remove(&connection) else {
            return;
        };
        self.counted -= usize::from(attachment.counted);
        if let Some(at) = self.hubs.iter().position(|(id, _)| *id == attachment.hub) {
            self.hubs[at].1 -= 1;
            if self.hubs[at].1 == 0 {
                self.hubs.swap_remove(at);
            }
        }
    }

    /// Publishes for an attached connection.
    pub fn publish(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        hub: HubId,
        message: Message,
    ) -> Effect {
        if !self.attachments.contains_key(&connection) {
            let answer = Answer::PublishRefused {
                fault: Fault::NotAttached,
            };
            return Effect::Answer {
                hub,
                connection,
                answer,
            };
        }
        let serial = self.mint.mint(now);
        let entry = message::Entry::new(self.name.clone(), serial, now, connection, message);
        Effect::Append(Arc::new(entry))
    }
}

#[cfg(test)]
mod tests;
