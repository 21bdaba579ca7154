//! Who is present on a channel (`docs/protocols/ably.md §7`).
//!
//! A member is a client on a connection. Members of a connection that lost its transport stay for a
//! while, so that a client that comes back in time was never away.
//!
//! An event that arrives late must not undo a newer one: [`Members::judge`] applies the rule that clients apply
//! themselves, so that reading the members and following the events give the same result.

mod leaves;
mod list;
mod owners;
mod page;
mod position;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    core::budget::{Account, Charge, Kind},
    core::deadlines::Deadlines,
    core::message::{Entry, Extras, Payload, size_of_identity},
    error::Fault,
    ids::{ClientId, ConnectionId, NodeId, Timestamp},
    limits,
};

use leaves::Leaves;

pub use list::{MemberList, MembersStart};
pub use page::{MembersPage, MembersQuery};
pub use position::EventPosition;

/// One change of one member, as a client asked for it or as subscribers get it.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceEvent {
    /// `<connectionId>:<msgSerial>:<index>` of the frame that brought it, or what a client that enters
    /// again claims to have had. None: the server made it, and its id is derived from its entry.
    pub id: Option<ByteString>,
    pub action: PresenceAction,
    pub client_id: ClientId,
    pub payload: Payload,
    pub extras: Option<Box<Extras>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceAction {
    Enter,
    Leave,
    Update,
}

/// A client that is present by a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Of the last enter or update; newness is judged by it, so it never changes in between.
    pub id: ByteString,
    pub connection: ConnectionId,
    pub client_id: ClientId,
    pub payload: Payload,
    pub extras: Option<Box<Extras>>,
    /// Of the last enter or update.
    pub timestamp: Timestamp,
}

/// What the next event of a member is judged by.
struct Standing {
    present: Option<Present>,
    /// The newest leave that its client has asked for.
    left: Option<EventPosition>,
}

/// The last enter or update of a member.
struct Present {
    cost: usize,
    id: Option<ByteString>,
    place: Option<EventPosition>,
    payload: Payload,
}

impl Standing {
    /// Whether an event at `place` is newer than what is known. What has no place was made now, so it is (RTP2b1).
    fn is_before(&self, action: PresenceAction, place: Option<EventPosition>) -> bool {
        let Some(place) = place else {
            return true;
        };
        let present = self.present.as_ref().and_then(|present| present.place);
        // A second leave changes nothing anyway.
        let left = self.left.filter(|_| action != PresenceAction::Leave);
        present.max(left).is_none_or(|known| known < place)
    }
}

/// Clients before connections: members are listed by client (`docs/protocols/ably.md §7.8`).
pub type MemberKey = (ClientId, ConnectionId);

/// The members of a channel.
#[derive(Debug)]
pub struct Members {
    present: BTreeMap<MemberKey, Arc<Member>>,
    /// All of them as one list, until the next change: whoever asks in between shares it.
    listed: OnceLock<Arc<MemberList>>,
    /// What is present of each connection, but for fixtures.
    clients: HashMap<ConnectionId, Clients>,
    /// Of these, how many are owned by other nodes.
    elsewhere: usize,
    /// What all of them cost.
    bytes: usize,
    /// Connections without a transport, and when their members leave.
    lost: Deadlines<ConnectionId>,
    leaves: Leaves,
    /// Of the newest event.
    timestamp: Timestamp,
    limit: usize,
    /// Of the app of the channel.
    account: Option<Account>,
}

/// The members of one connection.
#[derive(Debug, Default)]
struct Clients {
    ids: HashSet<ClientId>,
    /// What they cost.
    bytes: usize,
    /// Pays for them; none where nobody does.
    charge: Option<Charge>,
    /// The other node that owns them; none: this one.
    node: Option<NodeId>,
}

impl Clients {
    /// Gives back what is paid too much.
    fn settle(&mut self) {
        if let Some(charge) = self.charge.as_mut().filter(|charge| charge.bytes() > self.bytes) {
            // Cannot fail: it becomes less.
            let _ = charge.set(self.bytes);
        }
    }
}

impl Member {
    /// How it came to be present.
    pub fn enter(&self) -> PresenceEvent {
        PresenceEvent {
            id: Some(self.id.clone()),
            action: PresenceAction::Enter,
            client_id: self.client_id.clone(),
            payload: self.payload.clone(),
            extras: self.extras.clone(),
        }
    }

    /// Its size as the limits count it.
    pub fn size(&self) -> usize {
        size_of_identity(Some(&self.client_id), self.extras.as_deref()) + self.payload.data.len()
    }

    /// What it costs in memory, about.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.size() + self.payload.encoding.len()
    }
}

impl PresenceEvent {
    /// Its size as the limits count it.
    pub fn size(&self) -> usize {
        size_of_identity(Some(&self.client_id), self.extras.as_deref()) + self.payload.data.len()
    }

    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.size() + self.payload.encoding.len()
    }

    /// What its member costs.
    fn member_cost(&self) -> usize {
        size_of::<Member>() + self.size() + self.payload.encoding.len()
    }
}

impl Members {
    /// At most `limit` at a time; those of the app's set-up (`fixtures`) are there for good.
    pub fn new(limit: usize, fixtures: impl IntoIterator<Item = Arc<Member>>) -> Self {
        let with_key = |member: Arc<Member>| ((member.client_id.clone(), member.connection), member);
        Self {
            present: fixtures.into_iter().map(with_key).collect(),
            listed: OnceLock::new(),
            clients: HashMap::new(),
            elsewhere: 0,
            bytes: 0,
            lost: Deadlines::default(),
            leaves: Leaves::default(),
            timestamp: Timestamp::from_millis(0),
            limit,
            account: None,
        }
    }

    /// `account` pays for what is made of all members together, and for what is remembered of those who left.
    pub fn charge_to(&mut self, account: &Account) {
        self.account = Some(account.clone());
        self.leaves.charge_to(account.clone());
    }

    pub fn len(&self) -> usize {
        self.present.len()
    }

    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// There are no members but fixtures and those that other nodes own, and no leave is remembered.
    pub fn is_idle(&self) -> bool {
        self.clients.len() == self.elsewhere && self.leaves.is_empty()
    }

    /// Whether the connection has members.
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.clients.contains_key(&connection)
    }

    /// Everybody.
    pub fn all(&self) -> Arc<MemberList> {
        let list = || MemberList::new(self.present.values().cloned(), self.account.clone());
        Arc::clone(self.listed.get_or_init(|| Arc::new(list())))
    }

    /// Those of one connection, by client id.
    pub fn of(&self, connection: ConnectionId) -> Vec<Arc<Member>> {
        let clients = self.clients.get(&connection).into_iter().flat_map(|clients| &clients.ids);
        let member = |client: &ClientId| self.present.get(&(client.clone(), connection)).cloned();
        let mut members: Vec<_> = clients.filter_map(member).collect();
        members.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
        members
    }

    /// The time of an event that happens now: not before those of earlier events, so that clients that compare times
    /// (RTP2b1) take it for newer although the clock was set back.
    pub fn timestamp(&self, now: Timestamp) -> Timestamp {
        self.timestamp.max(now)
    }

    /// The events of one frame that have an effect. None has: an event that is older than what is known of its member
    /// (RTP2b), which includes an enter that the member already made with the same id; and a leave of a client that is not
    /// present, which is remembered all the same. An update of a client that is not present becomes an enter. A leave
    /// without data gets the member's last data. Each event sees what those before it have changed.
    ///
    /// # Errors
    /// [`Fault::TooManyMembers`], [`Fault::PresenceTooLarge`], or `account` has no room; then nothing has
    /// changed.
    pub fn judge(
        &mut self,
        connection: ConnectionId,
        events: Vec<PresenceEvent>,
        account: Option<&Account>,
    ) -> Result<Vec<PresenceEvent>, Fault> {
        let mut told = Vec::with_capacity(events.len());
        let mut left = Vec::new();
        let mut count = self.present.len();
        let own_before = self.clients.get(&connection).map_or(0, |clients| clients.bytes);
        let others = self.bytes - own_before;
        let mut own = own_before;
        // By client, how those stand whom the events so far have changed.
        let mut changed: HashMap<ClientId, Standing> = HashMap::new();
        for mut event in events {
            let standing = changed.entry(event.client_id.clone());
            let standing = standing.or_insert_with_key(|client| self.standing(client, connection));
            let place = event.id.as_deref().and_then(|id| EventPosition::of(connection, id));
            if !standing.is_before(event.action, place) {
                continue;
            }
            match (event.action, &standing.present) {
                (PresenceAction::Leave, present) => {
                    if let Some(place) = place {
                        left.push((event.client_id.clone(), place));
                        standing.left = standing.left.max(Some(place));
                    }
                    let Some(present) = present else {
                        continue;
                    };
                    if event.payload.data.is_empty() {
                        event.payload = present.payload.clone();
                    }
                    own -= present.cost;
                    standing.present = None;
                    count -= 1;
                    told.push(event);
                    continue;
                }
                // An automatic re-entry of a member that never left (§7.1).
                (PresenceAction::Enter, Some(present)) if event.id == present.id => continue,
                (PresenceAction::Enter | PresenceAction::Update, None) => {
                    event.action = PresenceAction::Enter;
                    count += 1;
                    if count > self.limit {
                        return Err(Fault::TooManyMembers { limit: self.limit });
                    }
                }
                (PresenceAction::Enter | PresenceAction::Update, Some(_)) => {}
            }
            let cost = event.member_cost();
            own = own + cost - standing.present.as_ref().map_or(0, |present| present.cost);
            let limit = limits::PRESENCE_BYTES.max(self.limit.saturating_mul(limits::PRESENCE_MEMBER_BYTES));
            if others + own > limit && own > own_before {
                return Err(Fault::PresenceTooLarge { limit });
            }
            standing.present = Some(Present { cost, id: event.id.clone(), place, payload: event.payload.clone() });
            told.push(event);
        }
        self.pay(connection, own, account)?;
        for (client, place) in left {
            self.leaves.note(connection, client, place);
        }
        Ok(told)
    }

    /// Pays for `bytes` of members of a connection, before they are there.
    fn pay(&mut self, connection: ConnectionId, bytes: usize, account: Option<&Account>) -> Result<(), Fault> {
        let Some(account) = account.filter(|_| bytes > 0) else {
            return Ok(());
        };
        let clients = self.clients.get_mut(&connection);
        match clients.and_then(|clients| clients.charge.as_mut()) {
            Some(charge) if charge.bytes() >= bytes => Ok(()),
            Some(charge) => charge.set(bytes).map_err(|full| full.to_fault()),
            None => {
                let charge = account.charge(Kind::Presence, bytes).map_err(|full| full.to_fault())?;
                self.clients.entry(connection).or_default().charge = Some(charge);
                Ok(())
            }
        }
    }

    fn standing(&self, client: &ClientId, connection: ConnectionId) -> Standing {
        let member = self.present.get(&(client.clone(), connection));
        let present = member.map(|member| Present {
            cost: member.cost(),
            id: Some(member.id.clone()),
            place: EventPosition::of(connection, &member.id),
            payload: member.payload.clone(),
        });
        Standing { present, left: self.leaves.last(connection, client) }
    }

    /// Applies the events of an entry.
    pub fn apply(&mut self, entry: &Entry) {
        // Presence events always come by a connection.
        let Some(connection) = entry.publisher else {
            return;
        };
        for (index, event) in entry.presence().iter().enumerate() {
            self.timestamp = self.timestamp(entry.timestamp);
            self.listed.take();
            let key = (event.client_id.clone(), connection);
            if event.action == PresenceAction::Leave {
                if let Some(member) = self.present.remove(&key) {
                    self.strike(connection, &member);
                }
                continue;
            }
            let derived = || entry.item_id(index).to_string().into();
            let member = Member {
                id: event.id.clone().unwrap_or_else(derived),
                connection,
                client_id: event.client_id.clone(),
                payload: event.payload.clone(),
                extras: event.extras.clone(),
                timestamp: entry.timestamp,
            };
            let cost = member.cost();
            let before = self.present.insert(key, Arc::new(member)).map_or(0, |before| before.cost());
            self.bytes = self.bytes + cost - before;
            let clients = self.clients.entry(connection).or_default();
            clients.bytes = clients.bytes + cost - before;
            clients.ids.insert(event.client_id.clone());
        }
        if let Some(clients) = self.clients.get_mut(&connection) {
            clients.settle();
        }
    }

    fn strike(&mut self, connection: ConnectionId, member: &Member) {
        if let Some(clients) = self.clients.get_mut(&connection) {
            self.bytes -= member.cost();
            clients.bytes -= member.cost();
            clients.ids.remove(&member.client_id);
            if clients.ids.is_empty() {
                self.elsewhere -= usize::from(clients.node.is_some());
                self.clients.remove(&connection);
                self.lost.clear(connection);
            }
        }
    }

    /// The connection is not attached any more; its members leave at `due` (monotonic), unless they leave now: none.
    /// Its leaves are remembered as long as it may come back and repeat older events.
    pub fn lose(&mut self, connection: ConnectionId, now: Duration, due: Option<Duration>) {
        self.leaves.lose(connection, now + limits::PRESENCE_REENTRY);
        if let Some(due) = due.filter(|_| self.has(connection)) {
            self.lost.set(connection, due);
        }
    }

    /// The connection is back.
    pub fn regain(&mut self, connection: ConnectionId) {
        self.lost.clear(connection);
        self.leaves.regain(connection);
    }

    /// When the next members leave, monotonic.
    pub fn next_due(&self) -> Option<Duration> {
        self.lost.next()
    }

    /// The connections whose time is over.
    pub fn take_due(&mut self, now: Duration) -> Vec<ConnectionId> {
        self.leaves.forget(now);
        self.lost.take_due(now)
    }

    /// Leave events of all members of a connection.
    pub fn leaves_of(&self, connection: ConnectionId) -> Vec<PresenceEvent> {
        let leave = |member: Arc<Member>| PresenceEvent {
            // Not the connection's own: clients know a synthesized leave by that (§7.2).
            id: None,
            action: PresenceAction::Leave,
            client_id: member.client_id.clone(),
            payload: member.payload.clone(),
            extras: member.extras.clone(),
        };
        self.of(connection).into_iter().map(leave).collect()
    }
}
