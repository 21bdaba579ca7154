//! Who is present on a channel (`docs/protocols/ably.md §7`).
//!
//! A member is a client on a connection. Members of a connection that lost its transport stay for a
//! while, so that a client that comes back in time was never away.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    core::message::{Entry, Extras, Payload, size_of_identity},
    error::Fault,
    ids::{ClientId, ConnectionId, Timestamp},
};

/// One change of one member, as a client asked for it or as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceEvent {
    /// `<connectionId>:<msgSerial>:<index>` of the frame that brought it, or what a client that enters
    /// again says it had. None: the server made it, and its id is derived from its entry.
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

/// Somebody present.
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

/// What later events of a member are judged by.
#[derive(Clone)]
struct Standing {
    id: Option<ByteString>,
    payload: Payload,
}

impl Standing {
    fn of(member: &Member) -> Self {
        Self { id: Some(member.id.clone()), payload: member.payload.clone() }
    }
}

/// Clients before connections: whoever reads the members gets them by client (`docs/protocols/ably.md §7.8`).
type MemberKey = (ClientId, ConnectionId);

/// The members of a channel.
#[derive(Debug)]
pub struct Members {
    present: BTreeMap<MemberKey, Arc<Member>>,
    /// Connections without a transport, and when (monotonic) their members leave.
    lost: BTreeMap<ConnectionId, Duration>,
    /// How many members each connection has.
    counts: HashMap<ConnectionId, usize>,
    limit: usize,
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
}

impl PresenceEvent {
    /// Its size as the limits count it.
    pub fn size(&self) -> usize {
        size_of_identity(Some(&self.client_id), self.extras.as_deref()) + self.payload.data.len()
    }

    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.size() + self.payload.encoding.len()
    }
}

impl Members {
    /// At most `limit` at a time; those of the app's set-up (`fixtures`) are there for good.
    pub fn new(limit: usize, fixtures: impl IntoIterator<Item = Arc<Member>>) -> Self {
        let with_key = |member: Arc<Member>| ((member.client_id.clone(), member.connection), member);
        Self {
            present: fixtures.into_iter().map(with_key).collect(),
            lost: BTreeMap::new(),
            counts: HashMap::new(),
            limit,
        }
    }

    pub fn len(&self) -> usize {
        self.present.len()
    }

    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Nobody but fixtures.
    pub fn is_idle(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether the connection has members.
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.counts.contains_key(&connection)
    }

    /// Everybody, by client id.
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.present.values().cloned().collect()
    }

    /// What of the events of one frame is to be told: an update of somebody who is not there is an enter;
    /// a leave of somebody who is not there, and an enter that the member already made with the same id,
    /// are nothing. A leave without data tells the member's last. Each event sees what those before it
    /// have changed.
    ///
    /// # Errors
    /// [`Fault::TooManyMembers`]; then nothing has changed.
    pub fn check(&self, connection: ConnectionId, events: Vec<PresenceEvent>) -> Result<Vec<PresenceEvent>, Fault> {
        let mut told = Vec::with_capacity(events.len());
        let mut count = self.present.len();
        // By client, whom the events so far have changed. Most frames have one event.
        let is_single = events.len() == 1;
        let mut changed: HashMap<ClientId, Option<Standing>> = HashMap::new();
        for mut event in events {
            let standing = match changed.get(&event.client_id) {
                Some(changed) => changed.clone(),
                None => {
                    let key = (event.client_id.clone(), connection);
                    self.present.get(&key).map(|member| Standing::of(member))
                }
            };
            match (event.action, standing) {
                (PresenceAction::Leave, None) => continue,
                (PresenceAction::Leave, Some(standing)) => {
                    if event.payload.data.is_empty() {
                        event.payload = standing.payload;
                    }
                    count -= 1;
                }
                // An automatic re-entry of a member that never left (§7.1).
                (PresenceAction::Enter, Some(standing)) if event.id == standing.id => continue,
                (PresenceAction::Enter | PresenceAction::Update, None) => {
                    event.action = PresenceAction::Enter;
                    count += 1;
                    if count > self.limit {
                        return Err(Fault::TooManyMembers { limit: self.limit });
                    }
                }
                (PresenceAction::Enter | PresenceAction::Update, Some(_)) => {}
            }
            if !is_single {
                let is_present = event.action != PresenceAction::Leave;
                let standing = is_present.then(|| Standing { id: event.id.clone(), payload: event.payload.clone() });
                changed.insert(event.client_id.clone(), standing);
            }
            told.push(event);
        }
        Ok(told)
    }

    /// Takes over what an entry says.
    pub fn apply(&mut self, entry: &Entry) {
        // Presence events always come by a connection.
        let Some(connection) = entry.publisher else {
            return;
        };
        for (index, event) in entry.presence().iter().enumerate() {
            let key = (event.client_id.clone(), connection);
            if event.action == PresenceAction::Leave {
                if self.present.remove(&key).is_some() {
                    self.count_out(connection);
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
            if self.present.insert(key, Arc::new(member)).is_none() {
                *self.counts.entry(connection).or_default() += 1;
            }
        }
    }

    fn count_out(&mut self, connection: ConnectionId) {
        if let Some(count) = self.counts.get_mut(&connection) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&connection);
            }
        }
    }

    /// The connection has no transport any more; its members leave at `due` (monotonic).
    pub fn lose(&mut self, connection: ConnectionId, due: Duration) {
        if self.has(connection) {
            self.lost.insert(connection, due);
        }
    }

    /// The connection is back.
    pub fn regain(&mut self, connection: ConnectionId) {
        self.lost.remove(&connection);
    }

    /// When the next members leave, monotonic.
    pub fn next_due(&self) -> Option<Duration> {
        self.lost.values().min().copied()
    }

    /// The connections whose time is over.
    pub fn take_due(&mut self, now: Duration) -> Vec<ConnectionId> {
        let due = self.lost.iter().filter(|(_, due)| **due <= now);
        let due: Vec<ConnectionId> = due.map(|(connection, _)| *connection).collect();
        for connection in &due {
            self.lost.remove(connection);
        }
        due
    }

    /// The events that tell that all members of a connection leave.
    pub fn leaves_of(&self, connection: ConnectionId) -> Vec<PresenceEvent> {
        let leave = |member: &Arc<Member>| PresenceEvent {
            // Not the connection's own: clients know a synthesized leave by that (§7.2).
            id: None,
            action: PresenceAction::Leave,
            client_id: member.client_id.clone(),
            payload: member.payload.clone(),
            extras: member.extras.clone(),
        };
        self.of(connection).map(leave).collect()
    }

    fn of(&self, connection: ConnectionId) -> impl Iterator<Item = &Arc<Member>> {
        let mut members = self.present.values();
        std::iter::from_fn(move || members.find(|member| member.connection == connection))
    }
}
