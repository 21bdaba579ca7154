//! The state of one channel: who is attached, who is present, and the order of what is published.

use std::{collections::hash_map, sync::Arc, time::Duration};

use crate::{
    core::{
        command::{Answer, Attach, Attached, AttachmentId, Detach, Effect, HubId, Leave, Now, Publish, Reseat, Seat},
        dedupe::{Published, Seen},
        filter::Filter,
        hashing::FastMap,
        message::{Body, Entry, EntryId},
        occupancy::Occupancy,
        presence::Members,
        rules::Rules,
        serial::Mint,
    },
    error::Fault,
    ids::{ChannelName, ConnectionId, SessionId},
};

#[derive(Debug)]
struct Attachment {
    hub: HubId,
    connection: ConnectionId,
    filter: Filter,
    counted: bool,
}

/// A channel without its log: who is attached and present, and the next serial.
#[derive(Debug)]
pub struct ChannelState {
    name: ChannelName,
    mint: Mint,
    attachments: FastMap<AttachmentId, Attachment>,
    /// Attachments that hold a counted place.
    counted: usize,
    /// Hubs with attachments, and how many. Few: one per worker thread.
    hubs: Vec<(HubId, usize)>,
    members: Members,
    seen: Seen,
    /// Attachments that want to know the occupancy.
    observers: usize,
}

impl ChannelState {
    /// `mint` goes on where the channel's log stands.
    pub fn new(name: ChannelName, mint: Mint, members: Members) -> Self {
        Self {
            name,
            mint,
            attachments: FastMap::default(),
            counted: 0,
            hubs: Vec::new(),
            members,
            seen: Seen::default(),
            observers: 0,
        }
    }

    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The hubs that have to be told of an entry.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> + '_ {
        self.hubs.iter().map(|(hub, _)| *hub)
    }

    /// Nobody is attached or present.
    pub fn is_idle(&self) -> bool {
        self.attachments.is_empty() && self.members.is_idle()
    }

    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// Somebody wants to know the occupancy.
    pub const fn is_observed(&self) -> bool {
        self.observers > 0
    }

    pub fn occupancy(&self) -> Occupancy {
        let mut occupancy = Occupancy { presence_members: self.members.len(), ..Occupancy::default() };
        for attachment in self.attachments.values() {
            occupancy.add(attachment.filter.modes);
        }
        occupancy
    }

    /// Something that was published before this state was made.
    pub fn recall(&mut self, now: Duration, id: &EntryId, published: Published) {
        self.seen.note(now, id, published);
    }

    /// The log has refused an entry that this state has made: its publisher may send it again.
    pub fn withdraw(&mut self, entry: &Entry) {
        self.seen.withdraw(&entry.id);
    }

    fn note(&mut self, now: Duration, entry: &Entry) {
        let published = Published::of(entry);
        self.seen.note(now, &entry.id, published);
    }

    /// Attaches, or changes the attachment there is. Who is attached already is not refused when the
    /// channel is full.
    pub fn attach(&mut self, command: Attach) -> Vec<Effect> {
        let Attach { id, connection, hub, filter, rules, start, context } = command;
        let is_change = self.attachments.contains_key(&id);
        if let Err(fault) = self.admit(is_change, rules.as_deref()) {
            let alias = id.alias;
            let answer = Answer::AttachRefused { alias, fault };
            let session = id.session;
            return vec![Effect::Answer { hub, session, answer }];
        }
        let seat = Seat { id, connection, filter, counted: rules.is_some() };
        self.seat(hub, seat.clone());
        self.members.regain(connection);
        let attached = Attached {
            seat,
            is_change,
            head: self.mint.position(),
            position: self.mint.position(),
            resumed: false,
            gap: None,
            backlog: Vec::new(),
            members: self.members.all(),
            occupancy: self.occupancy_if_observed(),
            context,
        };
        let attached = Box::new(attached);
        let attached = Effect::Attached { hub, start, attached };
        vec![attached, Effect::OccupancyChanged]
    }

    fn occupancy_if_observed(&self) -> Occupancy {
        if self.is_observed() { self.occupancy() } else { Occupancy::default() }
    }

    /// Takes over the attachments of a hub as they are, and delivers what the hub has missed.
    pub fn reseat(&mut self, command: Reseat) -> Effect {
        let Reseat { hub, seats, delivered: after } = command;
        for seat in seats {
            self.seat(hub, seat);
        }
        Effect::Replay { hub, after }
    }

    fn admit(&self, is_change: bool, rules: Option<&Rules>) -> Result<(), Fault> {
        match rules {
            Some(rules) if !is_change => {
                rules.check_name(self.name.as_str())?;
                rules.check_place(self.counted)
            }
            _ => Ok(()),
        }
    }

    fn seat(&mut self, hub: HubId, seat: Seat) {
        let Seat { id, connection, filter, counted } = seat;
        let wants_occupancy = usize::from(filter.occupancy);
        match self.attachments.entry(id) {
            hash_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                self.observers -= usize::from(known.filter.occupancy);
                known.filter = filter;
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Attachment { hub, connection, filter, counted });
                self.counted += usize::from(counted);
                match self.hubs.iter_mut().find(|(id, _)| *id == hub) {
                    Some((_, attachments)) => *attachments += 1,
                    None => self.hubs.push((hub, 1)),
                }
            }
        }
        self.observers += wants_occupancy;
    }

    /// Detaches; confirmed also when there was no attachment. With the connection's last attachment its
    /// members leave.
    pub fn detach(&mut self, now: Now, command: Detach) -> Vec<Effect> {
        let Detach { id, connection, hub, context } = command;
        self.unseat(id);
        let mut effects = Vec::with_capacity(3);
        if self.is_absent(connection) {
            effects.extend(self.all_leave(now, connection));
        }
        let alias = id.alias;
        effects.push(Effect::Answer { hub, session: id.session, answer: Answer::Detached { alias, context } });
        effects.push(Effect::OccupancyChanged);
        effects
    }

    /// The transport is gone: no answer. Its connection's members leave later, unless the connection is
    /// attached by another transport already.
    pub fn leave(&mut self, now: Now, command: Leave) -> Vec<Effect> {
        let Leave { id, connection, hold } = command;
        self.unseat(id);
        let mut effects = vec![Effect::OccupancyChanged];
        if !self.is_absent(connection) {
            return effects;
        }
        if hold.is_zero() {
            effects.extend(self.all_leave(now, connection));
        } else {
            self.members.lose(connection, now.uptime + hold);
        }
        effects
    }

    /// Lets those leave whose time to come back is over.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        self.seen.forget(now.uptime);
        let due = self.members.take_due(now.uptime);
        let leave = |connection| self.all_leave(now, connection);
        due.into_iter().filter_map(leave).collect()
    }

    /// It has members, and nothing is attached that would keep them.
    fn is_absent(&self, connection: ConnectionId) -> bool {
        let mut attachments = self.attachments.values();
        self.members.has(connection) && !attachments.any(|attachment| attachment.connection == connection)
    }

    fn unseat(&mut self, id: AttachmentId) {
        let Some(attachment) = self.attachments.remove(&id) else {
            return;
        };
        self.counted -= usize::from(attachment.counted);
        self.observers -= usize::from(attachment.filter.occupancy);
        if let Some(at) = self.hubs.iter().position(|(id, _)| *id == attachment.hub) {
            self.hubs[at].1 -= 1;
            if self.hubs[at].1 == 0 {
                self.hubs.swap_remove(at);
            }
        }
    }

    fn all_leave(&mut self, now: Now, connection: ConnectionId) -> Option<Effect> {
        let leaves = self.members.leaves_of(connection);
        if leaves.is_empty() {
            return None;
        }
        let body = Body::Presence(leaves);
        let entry = self.entry(now, Some(connection), EntryId::Serial, body, false);
        self.members.apply(&entry);
        Some(Effect::Append(entry))
    }

    /// Publishes messages or presence events, once: what comes again with the same id is answered like
    /// the first time.
    pub fn publish(&mut self, now: Now, command: Publish) -> impl Iterator<Item = Effect> + use<> {
        let reply = command.reply;
        let (entry, answer) = match self.append(now, command) {
            Ok((published, entry)) => {
                let answer = reply.and_then(|reply| {
                    let token = reply.token?;
                    Some(reply.answer(Answer::Published { token, published }))
                });
                (entry, answer)
            }
            Err(fault) => (None, reply.map(|reply| reply.refuse(fault))),
        };
        entry.map(Effect::Append).into_iter().chain(answer)
    }

    /// The same for who waits for the outcome: what came of it, and the entry that it made.
    ///
    /// # Errors
    /// Why nothing was published.
    pub fn append(&mut self, now: Now, command: Publish) -> Result<(Published, Option<Arc<Entry>>), Fault> {
        let Publish { attached, publisher, id, body, is_ephemeral, .. } = command;
        if attached.is_some_and(|session| !self.has_session(session)) {
            return Err(Fault::NotAttached);
        }
        self.seen.forget(now.uptime);
        if let Some(published) = self.seen.find(&id) {
            return Ok((published, None));
        }
        let body = match (body, publisher) {
            (Body::Presence(events), Some(connection)) => Body::Presence(self.members.check(connection, events)?),
            (body, _) => body,
        };
        let entry = self.entry(now, publisher, id, body, is_ephemeral);
        let published = Published::of(&entry);
        if entry.is_empty() {
            return Ok((published, None));
        }
        self.members.apply(&entry);
        self.note(now.uptime, &entry);
        Ok((published, Some(entry)))
    }

    fn has_session(&self, session: SessionId) -> bool {
        let plain = AttachmentId { session, alias: 0 };
        // The plain name first: it is nearly always that.
        self.attachments.contains_key(&plain) || self.attachments.keys().any(|id| id.session == session)
    }

    /// The occupancy as an entry to deliver.
    pub fn occupancy_entry(&mut self, now: Now) -> Arc<Entry> {
        let body = Body::Occupancy(self.occupancy());
        self.entry(now, None, EntryId::Serial, body, true)
    }

    fn entry(
        &mut self,
        now: Now,
        publisher: Option<ConnectionId>,
        id: EntryId,
        body: Body,
        is_ephemeral: bool,
    ) -> Arc<Entry> {
        let serial = self.mint.mint(now.wall);
        let name = self.name.clone();
        let mut entry = Entry::new(name, serial, now.wall, publisher, id, body);
        entry.is_ephemeral = is_ephemeral;
        Arc::new(entry)
    }
}

#[cfg(test)]
mod tests;
