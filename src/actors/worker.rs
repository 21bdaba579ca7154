//! What the connections and the hub of one worker thread share. Never leaves its thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use actix::Context;

use crate::{
    actors::{
        broker::Broker,
        hub::{Hub, HubHandle},
        metrics::Counters,
        post::Post,
        session::Session,
    },
    core::{
        channel::{HubId, Seat},
        filter::Filter,
        roster::Roster,
    },
    ids::{ChannelName, ConnectionId},
};

pub struct Worker {
    pub broker: Arc<Broker>,
    pub hub: HubHandle,
    pub(super) sessions: RefCell<HashMap<ConnectionId, Rc<Session>>>,
    pub(super) rosters: RefCell<HashMap<ChannelName, Roster<Rc<Session>>>>,
    counters: RefCell<Counters>,
    pub post: Rc<Post>,
}

thread_local! {
    /// The workers of this thread, one per server: actix builds the app once per listening port, and
    /// all ports of a thread have to share one hub.
    static WORKERS: RefCell<Vec<Rc<Worker>>> = const { RefCell::new(Vec::new()) };
}

impl Worker {
    /// The worker of `broker` on the calling thread; its hub starts with it.
    pub fn on_this_thread(broker: &Arc<Broker>) -> Rc<Self> {
        WORKERS.with_borrow_mut(|workers| {
            let known = workers
                .iter()
                .find(|worker| Arc::ptr_eq(&worker.broker, broker));
            if let Some(worker) = known {
                return Rc::clone(worker);
            }
            let worker = Self::start(Arc::clone(broker));
            workers.push(Rc::clone(&worker));
            worker
        })
    }

    fn start(broker: Arc<Broker>) -> Rc<Self> {
        let context = Context::new();
        let mut hubs = broker.hubs.lock();
        let hub = HubHandle {
            id: HubId(hubs.len() as u32),
            address: actix::AsyncContext::address(&context),
            backlog: Arc::new(AtomicUsize::new(0)),
        };
        hubs.push(hub.clone());
        drop(hubs);
        let worker = Rc::new(Self {
            broker,
            hub,
            sessions: RefCell::default(),
            rosters: RefCell::default(),
            counters: RefCell::default(),
            post: Post::start(),
        });
        context.run(Hub::new(Rc::clone(&worker)));
        worker
    }

    /// Counts something; the hub reports it once a tick.
    pub fn count(&self, what: impl FnOnce(&mut Counters)) {
        what(&mut self.counters.borrow_mut());
    }

    /// What was counted since the last call.
    pub(super) fn take_counters(&self) -> Counters {
        self.counters.take()
    }

    pub(super) fn session(&self, connection: ConnectionId) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&connection).cloned()
    }

    pub(super) fn seat(
        &self,
        channel: &ChannelName,
        seat: Seat,
        filter: Filter,
        session: Rc<Session>,
    ) {
        self.rosters
            .borrow_mut()
            .entry(channel.clone())
            .or_default()
            .seat(seat, filter, session);
    }

    pub(super) fn unseat(&self, channel: &ChannelName, connection: ConnectionId) {
        let mut rosters = self.rosters.borrow_mut();
        if let Some(roster) = rosters.get_mut(channel) {
            roster.unseat(connection);
            if roster.is_empty() {
                rosters.remove(channel);
            }
        }
    }
}
