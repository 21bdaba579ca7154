//! What the connections and the hub of one worker thread share. Never leaves its thread.

use std::{cell::RefCell, collections::BTreeSet, ops::Bound, rc::Rc, sync::Arc};

use actix::{Addr, Context};

use crate::{
    actors::{
        accounts::Account,
        broker::Broker,
        channels::Channel,
        channels::Command,
        fanout::Flusher,
        fanout::{Hub, HubHandle},
        metrics::Counters,
        stats::Tally,
        transport::Session,
    },
    core::{
        command::{Attached, AttachmentId, HubId, Resubscribe},
        delta::Deltas,
        filter::Expressions,
        hashing::FastMap,
        stats::Traffic,
        subscribers::Subscribers,
    },
    error::Fault,
    ids::{AppId, ChannelName, SessionId},
};

pub struct Worker {
    pub broker: Arc<Broker>,
    pub hub: HubHandle,
    pub(super) sessions: RefCell<FastMap<SessionId, Rc<Session>>>,
    /// The same in the order in which they were opened: for whoever looks at some of them at a time.
    order: RefCell<BTreeSet<SessionId>>,
    pub(in crate::actors) locals: RefCell<FastMap<ChannelName, Local>>,
    counters: RefCell<Counters>,
    traffic: RefCell<FastMap<AppId, Rc<RefCell<Traffic>>>>,
    pub(super) expressions: RefCell<Expressions>,
    pub deltas: Rc<RefCell<Deltas>>,
    pub flusher: Rc<Flusher>,
}

/// A channel with subscribers on this thread.
pub(super) struct Local {
    /// The actor that knows these subscribers.
    pub channel: Addr<Channel>,
    pub subscribers: Subscribers<Rc<Session>>,
    /// What is counted for its app on this thread: counted at each message, so it is at hand.
    pub traffic: Rc<RefCell<Traffic>>,
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
            let known = workers.iter().find(|worker| Arc::ptr_eq(&worker.broker, broker));
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
        let id = HubId(hubs.len() as u32);
        let hub = HubHandle::new(id, actix::AsyncContext::address(&context));
        hubs.push(hub.clone());
        drop(hubs);
        let worker = Rc::new(Self {
            broker,
            hub,
            sessions: RefCell::default(),
            order: RefCell::default(),
            locals: RefCell::default(),
            counters: RefCell::default(),
            traffic: RefCell::default(),
            expressions: RefCell::default(),
            deltas: Rc::default(),
            flusher: Flusher::start(),
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

    /// Counts something for the statistics of an app; the hub reports it with the rest.
    pub fn count_for(&self, app: AppId, what: impl FnOnce(&mut Traffic)) {
        what(&mut self.traffic(app).borrow_mut());
    }

    /// What is counted for an app, to be kept by those who count for every message.
    pub(super) fn traffic(&self, app: AppId) -> Rc<RefCell<Traffic>> {
        Rc::clone(self.traffic.borrow_mut().entry(app).or_default())
    }

    /// What was counted for apps since the last call.
    pub(super) fn take_tally(&self) -> Tally {
        let mut all = self.traffic.borrow_mut();
        let taken = all.iter().map(|(app, traffic)| (*app, traffic.take()));
        let tally = taken.filter(|(_, traffic)| *traffic != Traffic::default()).collect();
        all.retain(|_, traffic| Rc::strong_count(traffic) > 1);
        tally
    }

    pub(super) fn add(&self, session: Rc<Session>) {
        self.order.borrow_mut().insert(session.id);
        self.sessions.borrow_mut().insert(session.id, session);
    }

    pub(super) fn remove(&self, session: SessionId) {
        self.order.borrow_mut().remove(&session);
        self.sessions.borrow_mut().remove(&session);
    }

    /// Shows the sessions that were opened behind `after`, the oldest first, as long as `look` says true.
    pub(super) fn look_at_sessions(&self, after: Option<SessionId>, mut look: impl FnMut(&Session) -> bool) {
        let (order, sessions) = (self.order.borrow(), self.sessions.borrow());
        let behind = order.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        for session in behind.filter_map(|id| sessions.get(id)) {
            if !look(session) {
                break;
            }
        }
    }

    pub(super) fn session(&self, session: SessionId) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&session).cloned()
    }

    /// The actor in charge of a channel. When it is not the one that knows this thread's subscribers, that one has died:
    /// the successor gets their list, and sends what they missed, before it gets anything else from this thread.
    ///
    /// # Errors
    /// Those of [`Directory::channel`](crate::actors::channels::Directory::channel), which makes `payer` pay for a new one.
    pub(super) fn channel(&self, name: &ChannelName, payer: Option<&Account>) -> Result<Addr<Channel>, Fault> {
        let channel = self.broker.directory.channel(name, &self.broker, payer)?;
        if let Some(local) = self.locals.borrow_mut().get_mut(name)
            && local.channel != channel
        {
            local.channel = channel.clone();
            let resubscribe = Resubscribe {
                hub: self.hub.id,
                subscriptions: local.subscribers.subscriptions().collect(),
                delivered: local.subscribers.delivered(),
            };
            channel.do_send(Command::new(self.hub.clone(), name.clone(), resubscribe));
        }
        Ok(channel)
    }

    /// Whether anybody of this thread is attached.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.locals.borrow().contains_key(channel)
    }

    pub(super) fn subscribe(&self, name: &ChannelName, attached: &Attached, session: &Rc<Session>) {
        let mut subscription = attached.subscription.clone();
        let Some(channel) = session.attachments().address(name, subscription.id.alias).cloned() else {
            return;
        };
        let mut locals = self.locals.borrow_mut();
        let local = locals.entry(name.clone()).or_insert_with(|| Local {
            channel,
            subscribers: Subscribers::new(attached.head),
            traffic: self.traffic(name.app()),
        });
        if attached.is_change && attached.resumed {
            local.subscribers.go_on(&mut subscription);
        }
        local.subscribers.subscribe(subscription, Rc::clone(session));
    }

    pub(super) fn unsubscribe(&self, channel: &ChannelName, id: AttachmentId) {
        let mut locals = self.locals.borrow_mut();
        if let Some(Local { subscribers, .. }) = locals.get_mut(channel) {
            subscribers.unsubscribe(id);
            if subscribers.is_empty() {
                locals.remove(channel);
            }
        }
    }
}
