//! Who is online on this instance: the authenticated connections of each user (`docs/protocols/group.md §6`).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    actors::fanout::hub::TransportHandle,
    ids::{ConnectionId, SessionId},
};

/// An authenticated connection as others see it.
pub struct Visitor {
    pub handle: TransportHandle,
    pub connection: ConnectionId,
    /// Groups that it became a member of and has not attached to yet.
    invitations: Mutex<Vec<Arc<str>>>,
}

impl Visitor {
    pub const fn new(handle: TransportHandle, connection: ConnectionId) -> Self {
        Self { handle, connection, invitations: Mutex::new(Vec::new()) }
    }

    /// Leaves word that it is to attach to a group.
    pub fn invite(&self, group: &Arc<str>) {
        self.invitations.lock().push(Arc::clone(group));
        self.handle.nudge();
    }

    pub fn take_invitations(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut *self.invitations.lock())
    }
}

/// See the module.
#[derive(Default)]
pub struct Roll(Mutex<HashMap<Arc<str>, Present>>);

/// A user who is here.
struct Present {
    /// Unix seconds.
    since: u64,
    visitors: Vec<Arc<Visitor>>,
}

impl Roll {
    /// True: the user was not here before `now`, in Unix seconds.
    pub fn enter(&self, user: &Arc<str>, visitor: Arc<Visitor>, now: u64) -> bool {
        let mut users = self.0.lock();
        let present = users.entry(Arc::clone(user)).or_insert_with(|| Present { since: now, visitors: Vec::new() });
        present.visitors.push(visitor);
        present.visitors.len() == 1
    }

    /// Since when the user was here, when this was its last connection.
    pub fn leave(&self, user: &str, session: SessionId) -> Option<u64> {
        let mut users = self.0.lock();
        let present = users.get_mut(user)?;
        present.visitors.retain(|visitor| visitor.handle.session != session);
        if !present.visitors.is_empty() {
            return None;
        }
        users.remove(user).map(|present| present.since)
    }

    pub fn of(&self, user: &str) -> Vec<Arc<Visitor>> {
        let users = self.0.lock();
        let visitors = users.get(user).map(|present| present.visitors.clone());
        visitors.unwrap_or_default()
    }

    /// Since when the user is here, in Unix seconds.
    pub fn since(&self, user: &str) -> Option<u64> {
        self.0.lock().get(user).map(|present| present.since)
    }

    /// Users.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
