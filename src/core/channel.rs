//! The state of one channel: who is attached, who is present, and the order of what is published.

mod subscriptions;

use std::{sync::Arc, time::Duration};

use crate::{
    core::{
        command::{
            Answer, Attach, Attached, AttachmentId, Detach, Effect, HubId, Leave, Now, Publish, Resubscribe, Start,
            Subscription,
        },
        dedupe::{Content, Known, Published, Seen, Verdict},
        message::{Body, Entry, EntryId},
        modes::Modes,
        occupancy::Occupancy,
        presence::{Member, Members},
        rules::Rules,
        serial::Mint,
    },
    error::Fault,
    ids::{ChannelName, ConnectionId},
};

use subscriptions::Seats;

/// A channel without its log: who is attached and present, and the next serial.
#[derive(Debug)]
pub struct ChannelState {
    name: ChannelName,
    mint: Mint,
    subscriptions: Seats,
    members: Members,
    seen: Seen,
}

impl ChannelState {
    /// `mint` goes on where the channel's log stands.
    pub fn new(name: ChannelName, mint: Mint, members: Members) -> Self {
        Self { name, mint, subscriptions: Seats::default(), members, seen: Seen::default() }
    }

    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The hubs that have to be told of an entry.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> + '_ {
        self.subscriptions.hubs()
    }

    /// Nobody is attached or present.
    pub fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.members.is_idle()
    }

    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// Somebody wants to know the occupancy.
    pub const fn is_observed(&self) -> bool {
        self.subscriptions.is_observed()
    }

    pub fn occupancy(&self) -> Occupancy {
        Occupancy { presence_members: self.members.len(), ..self.subscriptions.occupancy() }
    }

    /// Something that was published before this state was made.
    pub fn recall(&mut self, now: Duration, known: Known) {
        self.seen.note(now, known);
    }

    /// The log has refused an entry that this state has made: its publisher may send it again.
    pub fn withdraw(&mut self, entry: &Entry) {
        self.seen.withdraw(&entry.id);
    }

    /// Attaches, or changes the attachment there is. Who is attached already is not refused when the
    /// channel is full.
    pub fn attach(&mut self, command: Attach) -> Vec<Effect> {
        let Attach { id, connection, hub, filter, rules, start, context } = command;
        let is_change = self.subscriptions.has(id);
        if let Err(fault) = self.admit(is_change, rules.as_deref()) {
            let alias = id.alias;
            let answer = Answer::AttachRefused { alias, fault };
            let session = id.session;
            return vec![Effect::Answer { hub, session, answer }];
        }
        let subscription = Subscription { id, connection, filter, counted: rules.is_some() };
        self.subscriptions.add(hub, subscription.clone());
        self.members.regain(connection);
        let members = self.members_for(&subscription, &start);
        let attached = Attached {
            subscription,
            is_change,
            head: self.mint.position(),
            position: self.mint.position(),
            resumed: false,
            gap: None,
            backlog: Vec::new(),
            members,
            occupancy: self.occupancy_if_observed(),
            context,
        };
        let attached = Box::new(attached);
        let attached = Effect::Attached { hub, start, attached };
        vec![attached, Effect::OccupancyChanged]
    }

    /// Who is present, as far as the attachment is concerned: of others' members it gets neither a sync nor events
    /// without the mode for them, and most attachments of other protocols concern nobody.
    fn members_for(&self, subscription: &Subscription, start: &Start) -> Vec<Arc<Member>> {
        if subscription.filter.modes.has(Modes::PRESENCE_SUBSCRIBE) {
            self.members.all()
        } else if *start == Start::Head {
            Vec::new()
        } else {
            self.members.of(subscription.connection)
        }
    }

    fn occupancy_if_observed(&self) -> Occupancy {
        if self.is_observed() { self.occupancy() } else { Occupancy::default() }
    }

    /// Takes over the attachments of a hub as they are, and delivers what the hub has missed.
    pub fn resubscribe(&mut self, command: Resubscribe) -> Effect {
        let Resubscribe { hub, subscriptions, delivered: after } = command;
        for subscription in subscriptions {
            self.subscriptions.add(hub, subscription);
        }
        Effect::Replay { hub, after }
    }

    fn admit(&self, is_change: bool, rules: Option<&Rules>) -> Result<(), Fault> {
        match rules {
            Some(rules) if !is_change => {
                rules.check_name(self.name.as_str())?;
                rules.check_place(self.subscriptions.counted())
            }
            _ => Ok(()),
        }
    }

    /// Detaches; confirmed also when there was no attachment. With the connection's last attachment its
    /// members leave.
    pub fn detach(&mut self, now: Now, command: Detach) -> Vec<Effect> {
        let Detach { id, connection, hub, context } = command;
        let mut effects = Vec::with_capacity(3);
        effects.extend(self.unsubscribe(now, id, connection, Duration::ZERO));
        let alias = id.alias;
        effects.push(Effect::Answer { hub, session: id.session, answer: Answer::Detached { alias, context } });
        effects.push(Effect::OccupancyChanged);
        effects
    }

    /// The transport is gone: no answer. Its connection's members leave later, unless the connection is
    /// attached by another transport already.
    pub fn leave(&mut self, now: Now, command: Leave) -> Vec<Effect> {
        let Leave { id, connection, hold } = command;
        let left = self.unsubscribe(now, id, connection, hold);
        [Effect::OccupancyChanged].into_iter().chain(left).collect()
    }

    /// Ends an attachment. With the connection's last one its members leave, at once or after `hold`.
    fn unsubscribe(&mut self, now: Now, id: AttachmentId, connection: ConnectionId, hold: Duration) -> Option<Effect> {
        self.subscriptions.remove(id);
        if self.subscriptions.has_connection(connection) {
            return None;
        }
        let due = (!hold.is_zero()).then(|| now.uptime + hold);
        self.members.lose(connection, now.uptime, due);
        if due.is_none() { self.all_leave(now, connection) } else { None }
    }

    /// Lets those leave whose time to come back is over.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        self.seen.forget(now.uptime);
        let due = self.members.take_due(now.uptime);
        let leave = |connection| self.all_leave(now, connection);
        due.into_iter().filter_map(leave).collect()
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
        let Publish { attached, publisher, mut id, body, is_ephemeral, refusal, .. } = command;
        self.seen.forget(now.uptime);
        let content = Content::of(&id, &body);
        // Before anything else: what was acknowledged is acknowledged again, whatever has changed since.
        match self.seen.judge(&id, content) {
            Verdict::New => {}
            Verdict::Known(published) => return Ok((published, None)),
            // Events are known by their frame's number, so those of another frame with the same cannot be told.
            Verdict::Other if matches!(body, Body::Presence(_)) => return Err(Fault::SerialReused),
            Verdict::Other => {
                id = content.id(&id);
                if let Verdict::Known(published) = self.seen.judge(&id, content) {
                    return Ok((published, None));
                }
            }
        }
        if let Some(fault) = refusal {
            return Err(fault);
        }
        if attached.is_some_and(|session| !self.subscriptions.has_session(session)) {
            return Err(Fault::NotAttached);
        }
        let body = match (body, publisher) {
            (Body::Presence(events), Some(connection)) => Body::Presence(self.members.judge(connection, events)?),
            (body, _) => body,
        };
        let entry = self.entry(now, publisher, id, body, is_ephemeral);
        let published = Published::of(&entry);
        self.seen.note(now.uptime, Known { id: entry.id.clone(), content, published });
        if entry.is_empty() {
            return Ok((published, None));
        }
        self.members.apply(&entry);
        Ok((published, Some(entry)))
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
        let timestamp = match body {
            Body::Presence(_) => self.members.timestamp(now.wall),
            Body::Messages(_) | Body::Occupancy(_) => now.wall,
        };
        let name = self.name.clone();
        let mut entry = Entry::new(name, serial, timestamp, publisher, id, body);
        entry.is_ephemeral = is_ephemeral;
        Arc::new(entry)
    }
}

#[cfg(test)]
mod tests;
