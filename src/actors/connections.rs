//! The connections that a client can come back to: by which transport they are reached, and whose they
//! are. Looked at when a transport opens or ends, never on the way of a message.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use crate::{
    actors::fanout::TransportHandle,
    ids::{AppId, ClientId, ConnectionId, SessionId},
    limits,
};

/// All connections of a server that outlive their transports.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<ConnectionId, Known>>);

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub app: AppId,
    /// None: anonymous, or any.
    pub client_id: Option<ClientId>,
}

struct Known {
    owner: Owner,
    reach: Reach,
}

enum Reach {
    Open(TransportHandle),
    /// Lost; forgotten at this moment (monotonic).
    Lost(Duration),
    /// Ended for good: its key is worth nothing. Forgotten at this moment (monotonic).
    Ended(Duration),
}

impl Connections {
    /// A transport of `connection` is open; an older one of it is closed.
    pub fn opened(&self, connection: ConnectionId, owner: Owner, handle: TransportHandle, now: Duration) {
        let reach = Reach::Open(handle);
        let mut known = self.0.lock();
        // Whoever adds sweeps, when it pays: the map never holds more than twice what it must.
        if known.len() == known.capacity() {
            known.retain(|_, known| !known.is_over(now));
        }
        let before = known.insert(connection, Known { owner, reach });
        drop(known);
        if let Some(Known { reach: Reach::Open(older), .. }) = before {
            older.supersede();
        }
    }

    /// `next` says, from the client that `connection` has, which one it has from now on. That is decided and noted under
    /// one lock: of two who come to an anonymous connection together, the second sees the client of the first.
    ///
    /// # Errors
    /// That of `next`; then nothing has changed.
    pub fn succeed<T, E>(
        &self,
        connection: ConnectionId,
        now: Duration,
        next: impl FnOnce(Option<&ClientId>) -> Result<(Option<ClientId>, T), E>,
    ) -> Result<T, E> {
        let mut all = self.0.lock();
        let known = all.get_mut(&connection).filter(|known| known.may_be_resumed(now));
        let before = known.as_ref().and_then(|known| known.owner.client_id.as_ref());
        let (client_id, outcome) = next(before)?;
        if let Some(known) = known {
            known.owner.client_id = client_id;
        }
        Ok(outcome)
    }

    /// A transport is gone; the connection can be resumed for a while.
    pub fn lost(&self, connection: ConnectionId, session: SessionId, now: Duration) {
        let mut known = self.0.lock();
        if let Some(known) = known.get_mut(&connection)
            && known.is_by(session)
        {
            known.reach = Reach::Lost(now + limits::CONNECTION_STATE_TTL);
        }
    }

    /// The connection has ended for good. That is remembered for as long as one that was lost may be resumed.
    pub fn closed(&self, connection: ConnectionId, session: SessionId, now: Duration) {
        let mut all = self.0.lock();
        if let Some(known) = all.get_mut(&connection)
            && known.is_by(session)
        {
            known.reach = Reach::Ended(now + limits::CONNECTION_STATE_TTL);
        }
    }

    /// Whether a connection has ended for good, as far as that is remembered.
    pub fn has_ended(&self, connection: ConnectionId, now: Duration) -> bool {
        let all = self.0.lock();
        all.get(&connection).is_some_and(|known| matches!(known.reach, Reach::Ended(until) if now < until))
    }

    /// Whose a connection is, while it can be resumed.
    pub fn owner(&self, connection: ConnectionId, now: Duration) -> Option<Owner> {
        let all = self.0.lock();
        let known = all.get(&connection).filter(|known| known.may_be_resumed(now))?;
        Some(known.owner.clone())
    }
}

impl Known {
    fn is_by(&self, session: SessionId) -> bool {
        matches!(&self.reach, Reach::Open(handle) if handle.session == session)
    }

    fn is_over(&self, now: Duration) -> bool {
        matches!(self.reach, Reach::Lost(until) | Reach::Ended(until) if until <= now)
    }

    fn may_be_resumed(&self, now: Duration) -> bool {
        !matches!(self.reach, Reach::Ended(_)) && !self.is_over(now)
    }
}
