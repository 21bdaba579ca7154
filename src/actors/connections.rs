//! The connections that a client can come back to: by which transport they are reached, and whose they
//! are. Looked at when a transport opens or ends, never on the way of a message.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    actors::{accounts::Charge, fanout::TransportHandle},
    ids::{AppId, ClientId, ConnectionId, SessionId},
    limits,
};

/// All connections of a server that outlive their transports.
#[derive(Default)]
pub struct Connections(Mutex<All>);

#[derive(Default)]
struct All {
    known: HashMap<ConnectionId, Known>,
    /// When to look whether one is forgotten (monotonic). All wait for the same time, so these are in order.
    ending: VecDeque<(Duration, ConnectionId)>,
}

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
    /// Pays for it until it is forgotten.
    _charge: Option<Charge>,
}

impl Owner {
    /// Bytes that a connection of this client costs for as long as it is known.
    pub fn cost(&self) -> usize {
        limits::CONNECTION_STATE_COST + self.client_id.as_ref().map_or(0, |client| client.as_str().len())
    }
}

impl All {
    /// Whether it was reached by this transport.
    fn end(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        now: Duration,
        reach: fn(Duration) -> Reach,
    ) -> bool {
        let until = now + limits::CONNECTION_STATE_TTL;
        let known = self.known.get_mut(&connection).filter(|known| known.is_by(session));
        let is_its = known.is_some();
        if let Some(known) = known {
            known.reach = reach(until);
            self.ending.push_back((until, connection));
        }
        is_its
    }
}

enum Reach {
    Open(TransportHandle),
    /// Lost; forgotten at this moment (monotonic).
    Lost(Duration),
    /// Ended for good: its key is worth nothing. Forgotten at this moment (monotonic).
    Ended(Duration),
}

impl Connections {
    /// A transport of `connection` is open; an older one of it is closed. `charge` pays for what is known of it. Whether the
    /// connection is a new one.
    pub fn opened(
        &self,
        connection: ConnectionId,
        owner: Owner,
        handle: TransportHandle,
        charge: Option<Charge>,
    ) -> bool {
        let reach = Reach::Open(handle);
        let before = self.0.lock().known.insert(connection, Known { owner, reach, _charge: charge });
        let is_new = before.is_none();
        if let Some(Known { reach: Reach::Open(older), .. }) = before {
            older.supersede();
        }
        is_new
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
        let known = all.known.get_mut(&connection).filter(|known| known.may_be_resumed(now));
        let before = known.as_ref().and_then(|known| known.owner.client_id.as_ref());
        let (client_id, outcome) = next(before)?;
        if let Some(known) = known {
            known.owner.client_id = client_id;
        }
        Ok(outcome)
    }

    /// A transport is gone; the connection can be resumed for a while.
    pub fn lost(&self, connection: ConnectionId, session: SessionId, now: Duration) {
        self.0.lock().end(connection, session, now, Reach::Lost);
    }

    /// The connection has ended for good. That is remembered for as long as one that was lost may be resumed. False: it had
    /// ended already, or goes on by another transport.
    pub fn closed(&self, connection: ConnectionId, session: SessionId, now: Duration) -> bool {
        self.0.lock().end(connection, session, now, Reach::Ended)
    }

    /// Another node has the connection from now on: a transport that it has here ends.
    pub fn moved(&self, connection: ConnectionId) {
        let mut all = self.0.lock();
        let is_its = |known: &Known| !matches!(known.reach, Reach::Ended(_));
        if all.known.get(&connection).is_some_and(is_its)
            && let Some(Known { reach: Reach::Open(handle), .. }) = all.known.remove(&connection)
        {
            drop(all);
            handle.supersede();
        }
    }

    pub fn is_open(&self, connection: ConnectionId) -> bool {
        let all = self.0.lock();
        all.known.get(&connection).is_some_and(|known| matches!(known.reach, Reach::Open(_)))
    }

    /// Those that are open, of one of so many parts.
    pub fn open_of_part(&self, part: u64, parts: u64) -> Vec<(ConnectionId, Owner)> {
        let all = self.0.lock();
        let of_part = |id: &ConnectionId| u64::from(id.to_bytes()[0]) * 256 + u64::from(id.to_bytes()[1]);
        let open =
            all.known.iter().filter(|(id, known)| of_part(id) % parts == part && matches!(known.reach, Reach::Open(_)));
        open.map(|(id, known)| (*id, known.owner.clone())).collect()
    }

    /// Forgets those whose time is over; of these, the ones that were lost.
    pub fn forget(&self, now: Duration) -> Vec<(ConnectionId, Owner)> {
        let All { known, ending } = &mut *self.0.lock();
        let mut lost = Vec::new();
        while let Some((_, connection)) = ending.pop_front_if(|(due, _)| *due <= now) {
            if known.get(&connection).is_some_and(|known| known.is_over(now))
                && let Some(Known { owner, reach: Reach::Lost(_), .. }) = known.remove(&connection)
            {
                lost.push((connection, owner));
            }
        }
        lost
    }

    /// Forgets some of those that are lost, the longest gone first, before their time is over. Who comes back to one is known by
    /// its key alone, as after a restart. Whether there were any.
    pub fn shed(&self) -> bool {
        // Whoever asks may have them locked itself.
        let Some(mut all) = self.0.try_lock_for(limits::RELIEF_WAIT) else { return false };
        let All { known, ending } = &mut *all;
        let mut shed = 0;
        ending.retain(|(_, connection)| {
            let is_shed = shed < limits::STATES_SHED
                && known.get(connection).is_some_and(|known| matches!(known.reach, Reach::Lost(_)));
            if is_shed {
                known.remove(connection);
                shed += 1;
            }
            !is_shed
        });
        shed > 0
    }

    /// Whether a connection has ended for good, as far as that is remembered.
    pub fn has_ended(&self, connection: ConnectionId, now: Duration) -> bool {
        let all = self.0.lock();
        all.known.get(&connection).is_some_and(|known| matches!(known.reach, Reach::Ended(until) if now < until))
    }

    /// Whose a connection is, while it can be resumed.
    pub fn owner(&self, connection: ConnectionId, now: Duration) -> Option<Owner> {
        let all = self.0.lock();
        let known = all.known.get(&connection).filter(|known| known.may_be_resumed(now))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actors::tests::stage::Stage, ids::ClientId};

    /// findings B6: when there is no memory, those that are lost go first that are gone longest; who ended for good stays so.
    #[actix::test]
    async fn the_longest_gone_are_shed_first() {
        let (stage, connections) = (Stage::set(), Connections::default());
        let handle = TransportHandle { hub: stage.hub_here(), session: SessionId::next() };
        let owner = Owner { app: AppId::DEFAULT, client_id: ClientId::new("a") };
        let count = limits::STATES_SHED + 2;
        let ids: Vec<ConnectionId> = (0..count).map(|_| ConnectionId::random()).collect();
        for (second, id) in ids.iter().enumerate() {
            let now = Duration::from_millis(second as u64);
            connections.opened(*id, owner.clone(), handle.clone(), None);
            match second {
                0 => assert!(connections.closed(*id, handle.session, now)),
                _ => connections.lost(*id, handle.session, now),
            }
        }
        let now = Duration::from_secs(10);
        assert!(connections.shed());
        assert!(connections.has_ended(ids[0], now));
        assert_eq!(ids[1..].iter().filter(|id| connections.owner(**id, now).is_some()).count(), 1);
        assert!(connections.owner(ids[count - 1], now).is_some());
        assert!(connections.shed() && !connections.shed());
    }
}
