//! Who is online on this instance: the authenticated connections of each user (`protocols/group.md §6`).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    actors::hub::Peer,
    ids::{ConnectionId, SessionId},
};

/// An authenticated connection as others see it.
pub struct Visitor {
    pub peer: Peer,
    pub connection: ConnectionId,
    /// Groups that it became a member of and has not attached to yet.
    invitations: Mutex<Vec<Arc<str>>>,
}

impl Visitor {
    pub const fn new(peer: Peer, connection: ConnectionId) -> Self {
        Self {
            peer,
            connection,
            invitations: Mutex::new(Vec::new()),
        }
    }

    /// Leaves word that it is to attach to a group.
    pub fn invite(&self, group: &Arc<str>) {
        self.invitations.lock().push(Arc::clone(group));
        self.peer.nudge();
    }

    pub fn take_invitations(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut *self.invitations.lock())
    }
}

/// See the module.
#[derive(Default)]
pub struct Roll(Mutex<HashMap<Arc<str>, Vec<Arc<Visitor>>>>);

impl Roll {
    /// True: the user was not here before.
    pub fn enter(&self, user: &Arc<str>, visitor: Arc<Visitor>) -> bool {
        let mut users = self.0.lock();
        let visitors = users.entry(Arc::clone(user)).or_default();
        visitors.push(visitor);
        visitors.len() == 1
    }

    /// True: it was the last one of the user.
    pub fn leave(&self, user: &str, session: SessionId) -> bool {
        let mut users = self.0.lock();
        let Some(visitors) = users.get_mut(user) else {
            return false;
        };
        visitors.retain(|visitor| visitor.peer.session != session);
        let is_last = visitors.is_empty();
        if is_last {
            users.remove(user);
        }
        is_last
    }

    pub fn of(&self, user: &str) -> Vec<Arc<Visitor>> {
        self.0.lock().get(user).cloned().unwrap_or_default()
    }

    pub fn is_online(&self, user: &str) -> bool {
        self.0.lock().contains_key(user)
    }

    /// Users.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
