//! The state of one channel: who is attached, who is present, and the order of what is published.

mod nodes;
mod subscriptions;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    core::{
        budget::{Account, Full},
        command::{
            Answer, Attach, Attached, AttachmentId, Detach, Effect, HubId, Leave, Now, Publish, Resubscribe, Start,
            Subscription,
        },
        dedupe::{Content, Known, Published, Seen, Verdict},
        message::{Body, Draft, Entry, EntryId},
        modes::Modes,
        objects::{Action, Changes, Kept, ObjectId, ObjectOperation, Objects, Snapshot},
        occupancy::Occupancy,
        operation::{Annotation, MessageRef},
        presence::{MemberList, Members, PresenceAction},
        rules::Rules,
        serial::{Mint, Serial},
        summaries::{Annotated, Summaries},
        versions::Versions,
        window::Gap,
    },
    error::Fault,
    ids::{ChannelName, ConnectionId},
};

pub use nodes::Lost;
use subscriptions::Subscriptions;

/// A channel without its log: it makes drafts of what is published, and takes the entries that the log makes of them.
#[derive(Debug)]
pub struct ChannelState {
    name: ChannelName,
    order: Order,
    subscriptions: Subscriptions,
    members: Members,
    /// The entries up to here may have enters that no leave follows although the member is gone: those of an earlier run,
    /// and those whose leave the log has refused.
    unsettled: Serial,
    seen: Seen,
    /// Operations on messages that are on their way into the log.
    pub versions: Versions,
    /// None: no message was annotated lately.
    summaries: Option<Box<Summaries>>,
    /// The attachments at other nodes.
    elsewhere: Occupancy,
    /// None: not known yet.
    objects: Option<Box<Objects>>,
    /// Of the app.
    account: Option<Account>,
}

const UNKNOWN: Fault = Fault::NotFound { what: "a message with this serial" };

/// Who gives the entries of a channel their serials.
#[derive(Debug)]
enum Order {
    /// The channel itself: its log has no other writer.
    Own(Mint),
    /// The log, which others write to as well. The newest entry that was taken.
    Given(Serial),
}

impl Order {
    const fn head(&self) -> Serial {
        match self {
            Self::Own(mint) => mint.position(),
            Self::Given(head) => *head,
        }
    }
}

/// What a publish comes to.
#[derive(Clone, Debug)]
pub enum Judged {
    /// It was published before.
    Known(Published),
    New(Draft),
}

impl ChannelState {
    /// `mint` goes on where the channel's log stands.
    pub fn new(name: ChannelName, mint: Mint, members: Members) -> Self {
        Self::ordered(name, Order::Own(mint), members)
    }

    /// A channel whose log gives the serials; `head` is the newest entry that `members` are of.
    pub fn shared(name: ChannelName, head: Serial, members: Members) -> Self {
        Self::ordered(name, Order::Given(head), members)
    }

    fn ordered(name: ChannelName, order: Order, members: Members) -> Self {
        let unsettled = order.head();
        Self {
            name,
            order,
            subscriptions: Subscriptions::default(),
            members,
            unsettled,
            seen: Seen::default(),
            versions: Versions::default(),
            summaries: None,
            elsewhere: Occupancy::default(),
            objects: None,
            account: None,
        }
    }

    /// `account`, that of the app, pays for what is remembered of publishes, members and summaries.
    pub fn charge_to(&mut self, account: &Account) {
        self.seen.charge_to(account.clone());
        self.versions.charge_to(account.clone());
        self.members.charge_to(account);
        self.account = Some(account.clone());
    }

    /// The newest entry; before the first one, a position that all entries follow.
    pub const fn head(&self) -> Serial {
        self.order.head()
    }

    /// Behind this, the presence events of the log come to the members that there are.
    pub const fn unsettled(&self) -> Serial {
        self.unsettled
    }

    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The hubs that an entry has to be sent to.
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

    /// An attachment wants to know the occupancy.
    pub const fn is_observed(&self) -> bool {
        self.subscriptions.is_observed()
    }

    pub fn occupancy(&self) -> Occupancy {
        Occupancy { presence_members: self.members.len(), ..self.subscriptions.occupancy().plus(self.elsewhere) }
    }

    /// Something that was published before this state was made.
    pub fn recall(&mut self, now: Duration, known: Known) {
        self.seen.note(now, known);
    }

    /// The log has refused an entry that this state has made: its publisher may send it again.
    pub fn withdraw(&mut self, entry: &Entry) {
        self.seen.withdraw(&entry.id);
        self.versions.withdrawn(entry);
        match &entry.body {
            Body::Annotations(_) => self.summaries.iter_mut().for_each(|summaries| summaries.withdrawn(entry)),
            Body::Objects(_) => self.objects.iter_mut().for_each(|objects| objects.withdrawn()),
            _ => {}
        }
        if entry.presence().iter().any(|event| event.action == PresenceAction::Leave) {
            self.unsettled = self.head();
        }
    }

    /// Attaches, or changes the attachment there is. Who is attached already is not refused when the
    /// channel is full.
    pub fn attach(&mut self, command: Attach) -> Vec<Effect> {
        let Attach { id, connection, hub, filter, rules, start, evicts, context, .. } = command;
        let evicts = evicts && !filter.modes.has(Modes::PRESENCE);
        let is_change = self.subscriptions.has(id);
        if let Err(fault) = self.admit(is_change, rules.as_deref()) {
            let alias = id.alias;
            let answer = Answer::AttachRefused { alias, fault };
            let session = id.session;
            return vec![Effect::Answer { hub, session, answer }];
        }
        let subscription = Subscription { id, connection, filter, counted: rules.is_some(), since: self.head() };
        self.subscriptions.add(hub, subscription.clone());
        self.members.regain(connection);
        let members = self.members_for(&subscription, &start);
        let attached = Attached {
            subscription,
            is_change,
            head: self.head(),
            position: self.head(),
            resumed: false,
            gap: None,
            backlog: None,
            objects: None,
            members,
            context,
        };
        let attached = Box::new(attached);
        let mut effects = vec![Effect::Attached { hub, start, attached }, Effect::OccupancyChanged];
        effects.extend(self.all_leave(connection).filter(|_| evicts));
        effects
    }

    /// The members that the attachment may learn of: without the mode for presence it gets no sync and no events of other
    /// connections. Most attachments of other protocols need none at all.
    fn members_for(&self, subscription: &Subscription, start: &Start) -> Arc<MemberList> {
        if subscription.filter.modes.has(Modes::PRESENCE_SUBSCRIBE) {
            self.members.all()
        } else if *start == Start::Head {
            Arc::default()
        } else {
            Arc::new(self.members.of(subscription.connection).into_iter().collect())
        }
    }

    /// Takes over the attachments of a hub as they are, and delivers what the hub has missed.
    pub fn resubscribe(&mut self, command: Resubscribe) -> Effect {
        let Resubscribe { hub, subscriptions, delivered: after } = command;
        for subscription in subscriptions {
            self.members.regain(subscription.connection);
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
        effects.push(Effect::Answer {
            hub,
            session: id.session,
            answer: Answer::Detached { alias, context, fault: None },
        });
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
        if due.is_none() { self.all_leave(connection) } else { None }
    }

    /// Lets those leave whose time to come back is over.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        self.seen.forget(now.uptime);
        if let Some(summaries) = &mut self.summaries {
            summaries.expire(now.wall);
        }
        self.summaries.take_if(|summaries| summaries.is_empty());
        let unreachable = self.objects.as_mut().map(|objects| objects.expire(now)).unwrap_or_default();
        let delete = self.deletion(unreachable).map(Effect::Append);
        let due = self.members.take_due(now.uptime);
        let leave = |connection| self.all_leave(connection);
        due.into_iter().filter_map(leave).chain(delete).collect()
    }

    fn deletion(&self, objects: Vec<ObjectId>) -> Option<Draft> {
        let deleted: Vec<_> = objects.into_iter().map(|id| ObjectOperation::new(id, Action::Delete)).collect();
        (!deleted.is_empty()).then(|| self.draft(None, Body::Objects(deleted), false))
    }

    fn all_leave(&self, connection: ConnectionId) -> Option<Effect> {
        self.leave_draft(connection).map(Effect::Append)
    }

    /// What is to be published, once: what comes again with the same id is answered like the first time.
    ///
    /// # Errors
    /// Why nothing is published.
    pub fn judge(&mut self, now: Now, command: Publish) -> Result<Judged, Fault> {
        let Publish { attached, publisher, mut id, body, is_ephemeral, account, own_only, refusal, .. } = command;
        self.seen.forget(now.uptime);
        let content = Content::of(&id, &body);
        // Before anything else: what was acknowledged is acknowledged again, whatever has changed since.
        match self.seen.judge(&id, content) {
            Verdict::New => {}
            Verdict::Known(published) => return Ok(Judged::Known(published)),
            // Clients know events by the number of their frame: other events under the same number would not be new to them.
            Verdict::Other if matches!(body, Body::Presence(_)) => return Err(Fault::SerialReused),
            Verdict::Other => {
                id = content.id(&id);
                if let Verdict::Known(published) = self.seen.judge(&id, content) {
                    return Ok(Judged::Known(published));
                }
            }
        }
        if let Some(fault) = refusal {
            return Err(*fault);
        }
        if attached.is_some_and(|session| !self.subscriptions.has_session(session)) {
            return Err(Fault::NotAttached);
        }
        let body = match (body, publisher) {
            (Body::Presence(events), Some(connection)) => {
                Body::Presence(self.members.judge(connection, events, account.as_ref())?)
            }
            (Body::Operation(mut operation), _) => {
                self.versions.judge(&mut operation, own_only)?;
                Body::Operation(operation)
            }
            (Body::Annotations(annotations), _) => {
                self.summaries.as_mut().map_or(Err(UNKNOWN), |summaries| summaries.judge(&annotations))?;
                Body::Annotations(annotations)
            }
            (Body::Objects(operations), _) => {
                self.objects.as_mut().map_or(Err(Fault::Internal), |objects| objects.judge(&operations))?;
                Body::Objects(operations)
            }
            (body, _) => body,
        };
        // Those of presence are few, and who leaves is not refused.
        if !matches!(body, Body::Presence(_)) {
            self.seen.make_room(&id)?;
        }
        let channel = self.name.clone();
        Ok(Judged::New(Draft { channel, publisher, id, body, is_ephemeral, content }))
    }

    /// Makes a draft an entry, which counts from now on although the log may not have it yet: the next publish is judged
    /// by it. When the log refuses it, it is to be [withdrawn](Self::withdraw); but who is present stays so without a log.
    ///
    /// Where the log gives the serials, only what is not kept is stamped here, at the place of the newest entry.
    pub fn stamp(&mut self, now: Now, mut draft: Draft) -> Arc<Entry> {
        let content = draft.content;
        let serial = match &mut self.order {
            Order::Own(mint) => mint.mint(now.wall),
            Order::Given(head) => {
                draft.is_ephemeral = true;
                *head
            }
        };
        let timestamp = match &draft.body {
            Body::Presence(_) => self.members.timestamp(now.wall),
            Body::Operation(operation) => self.versions.timestamp(operation, now.wall),
            _ => now.wall,
        };
        let entry = Arc::new(Entry::of(draft, serial, timestamp));
        self.seen.note(now.uptime, Known { id: entry.id.clone(), content, published: Published::of(&entry) });
        self.members.apply(&entry);
        match &entry.body {
            Body::Operation(_) => self.versions.stamped(&entry),
            Body::Annotations(_) => self.summaries.iter_mut().for_each(|summaries| summaries.stamped(&entry)),
            Body::Objects(operations) => self.objects.iter_mut().for_each(|objects| objects.stamped(operations)),
            _ => {}
        }
        entry
    }

    /// The log has `entry`. Entries are taken in the log's order, each once.
    pub fn take(&mut self, now: Now, entry: &Entry) {
        match &entry.body {
            Body::Annotations(_) => self.summaries.iter_mut().for_each(|summaries| summaries.take(now.uptime, entry)),
            Body::Objects(_) => self.objects.iter_mut().for_each(|objects| objects.take(entry)),
            _ => {}
        }
    }

    /// A log whose entries could not be followed is taken up again at `head`: what every attachment is told, which goes on after
    /// `position`.
    pub fn restart(&mut self, head: Serial, position: Serial, gap: Gap) -> Vec<Effect> {
        self.order = Order::Given(head);
        let broken = |(hub, subscription): (HubId, Subscription)| {
            let session = subscription.id.session;
            let attached = Attached {
                is_change: true,
                head,
                position,
                resumed: false,
                gap: Some(gap),
                backlog: None,
                objects: None,
                members: self.members_for(&subscription, &Start::After(None)),
                context: Bytes::new(),
                subscription,
            };
            Effect::Answer { hub, session, answer: Answer::Broken(Box::new(attached)) }
        };
        self.subscriptions.all(head).map(broken).collect()
    }

    /// A message that is to be [learned](Self::learn) before its annotations can be judged; none: all are known.
    pub fn unknown_message(&self, annotations: &[Annotation]) -> Option<MessageRef> {
        match &self.summaries {
            Some(summaries) => summaries.unknown(annotations),
            None => annotations.first().map(|annotation| annotation.target),
        }
    }

    /// What the log has of a message and its annotations.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::MemoryFull`]
    pub fn learn(&mut self, message: MessageRef, read: Option<Annotated>) -> Result<(), Fault> {
        let read = read.ok_or(UNKNOWN)?;
        let summaries = self.summaries.get_or_insert_with(|| Box::new(Summaries::new(self.account.clone())));
        summaries.learn(message, read).map_err(Full::to_fault)
    }

    pub fn annotated(&self, message: MessageRef) -> Option<&Annotated> {
        self.summaries.as_ref()?.get(message)
    }

    /// What the log is to keep of a message now, if it is.
    pub fn summary_to_keep(&mut self, message: MessageRef) -> Option<&Annotated> {
        self.summaries.as_mut()?.to_keep(message)
    }

    /// When the next summary is due.
    pub fn summaries_due(&self) -> Option<Duration> {
        self.summaries.as_ref()?.next_due()
    }

    /// The summaries that are to be delivered now, and not kept.
    pub fn take_summaries(&mut self, now: Now) -> Vec<Draft> {
        let due = self.summaries.as_mut().map(|summaries| summaries.take_due(now.uptime)).unwrap_or_default();
        due.into_iter().map(|summary| self.draft(None, summary, true)).collect()
    }

    /// The summary of a message is to be delivered soon.
    pub fn tell_summary(&mut self, now: Now, message: MessageRef) {
        if let Some(summaries) = &mut self.summaries {
            summaries.tell(now.uptime, message);
        }
    }

    /// Somebody comes back who has missed what came after `position`, summaries among it.
    pub fn tell_summaries_again(&mut self, now: Now, position: Serial) {
        if let Some(summaries) = &mut self.summaries {
            summaries.tell_again(now.uptime, position.place());
        }
    }

    pub const fn knows_objects(&self) -> bool {
        self.objects.is_some()
    }

    /// The objects as they were kept, and what the log has behind that. What is known already stays.
    pub fn learn_objects(&mut self, kept: Kept) {
        let account = self.account.clone();
        let objects = self.objects.get_or_insert_with(|| Box::new(Objects::restored(kept, account)));
        if let (Order::Own(mint), Some(upto)) = (&mut self.order, objects.upto()) {
            mint.follow(upto.place());
        }
    }

    /// The log has begun another life: what the objects are in that is to be learned anew.
    pub fn forget_objects(&mut self) {
        self.objects = None;
    }

    /// The objects as they are; none: they are not known.
    pub fn objects(&mut self) -> Option<Arc<Snapshot>> {
        self.objects.as_mut().map(|objects| objects.snapshot())
    }

    /// What of the objects is to be kept ([`Objects::changes`]).
    pub fn object_changes(&mut self, all: bool) -> Option<Changes> {
        self.objects.as_mut()?.changes(all)
    }

    /// The occupancy, to be delivered and not kept.
    pub fn occupancy_draft(&self) -> Draft {
        self.draft(None, Body::Occupancy(Box::new(self.occupancy())), true)
    }

    fn draft(&self, publisher: Option<ConnectionId>, body: Body, is_ephemeral: bool) -> Draft {
        let id = EntryId::Serial;
        Draft { channel: self.name.clone(), publisher, content: Content::of(&id, &body), id, body, is_ephemeral }
    }
}

#[cfg(test)]
mod tests;
