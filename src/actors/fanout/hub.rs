//! One per worker thread: where messages of other threads come in for its connections (what becomes of them
//! stands in `delivery`). It also looks after these connections: pings, time limits, counters, the drain.

use std::{
    ops::Deref,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use bytes::Bytes;

use crate::{
    actors::{
        channels::Undone,
        fanout::orphans::OrphanWatch,
        metrics::{Counters, Report},
        stats::Counted,
        transport::Session,
        worker::Worker,
    },
    core::{
        command::{Answer, HubId},
        keepalive::Verdict,
        message::Entry,
    },
    error::CloseReason,
    ids::{ChannelName, SessionId},
    limits,
};

pub struct Hub {
    worker: Rc<Worker>,
    orphans: OrphanWatch,
    draining: Option<SpawnHandle>,
}

/// How channels reach a hub. A clone goes with every command, so it is one count and no more.
#[derive(Clone)]
pub struct HubHandle(Arc<HubEnd>);

pub struct HubEnd {
    pub id: HubId,
    pub address: Addr<Hub>,
    /// Messages sent and not yet handled. Mailboxes do not bound what is sent to them, so
    /// channels look here before they publish.
    pub backlog: AtomicUsize,
}

impl Deref for HubHandle {
    type Target = HubEnd;

    fn deref(&self) -> &HubEnd {
        &self.0
    }
}

impl HubHandle {
    pub fn new(id: HubId, address: Addr<Hub>) -> Self {
        let backlog = AtomicUsize::new(0);
        Self(Arc::new(HubEnd { id, address, backlog }))
    }

    pub fn send(&self, message: HubMessage) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.address.do_send(message);
    }
}

/// What a channel sends to a hub.
#[derive(Message)]
#[rtype(result = "()")]
pub enum HubMessage {
    /// For everybody attached who wants it.
    Delivery(Arc<Entry>),
    /// For one connection.
    Answer { channel: ChannelName, session: SessionId, answer: Answer },
    /// A command of one connection that no channel has carried out.
    Undone { channel: ChannelName, command: Undone },
    /// For one transport, past all channels.
    Transport { session: SessionId, message: TransportMessage },
}

/// What other threads send to one transport.
pub enum TransportMessage {
    /// Finished frames, in order.
    Frames(Vec<Bytes>),
    /// More bytes may wait for it than its limit says, or again no more.
    Budget(Budget),
    /// The client has come back by another one.
    Supersede,
    /// Find out whether it is alive.
    Probe,
    /// Something was left for it where its protocol looks.
    Nudge,
    /// What it has missed has been read on.
    Resume,
    Close(CloseReason),
}

/// A change of what may wait in an outbox, in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    Widen(usize),
    Narrow(usize),
}

/// One transport as others reach it, wherever they run.
#[derive(Clone)]
pub struct TransportHandle {
    pub hub: HubHandle,
    pub session: SessionId,
}

impl TransportHandle {
    fn tell(&self, message: TransportMessage) {
        self.hub.send(HubMessage::Transport { session: self.session, message });
    }

    /// Sends finished frames; they are dropped when the connection is gone.
    pub fn send(&self, frames: Vec<Bytes>) {
        self.tell(TransportMessage::Frames(frames));
    }

    pub fn budget(&self, change: Budget) {
        self.tell(TransportMessage::Budget(change));
    }

    /// Ends it; the client goes on by another transport.
    pub fn supersede(&self) {
        self.tell(TransportMessage::Supersede);
    }

    /// Ends it when what was sent to it has left.
    pub fn close(&self, reason: CloseReason) {
        self.tell(TransportMessage::Close(reason));
    }

    /// Has [`ProtocolHandler::nudged`](crate::actors::transport::ProtocolHandler::nudged) called: something was left for it
    /// where its protocol looks.
    pub fn nudge(&self) {
        self.tell(TransportMessage::Nudge);
    }

    /// Goes on with what it has missed: more of it has been read.
    pub fn resume(&self) {
        self.tell(TransportMessage::Resume);
    }

    /// Asks for a sign of life, without which the connection is closed soon, as an idle one.
    pub fn probe(&self) {
        self.tell(TransportMessage::Probe);
    }
}

/// Close every connection, a few at a time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Some credentials are no longer worth what they were; connections look whether it is theirs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CredentialsChanged;

/// How many connections are open on this thread?
#[derive(Message)]
#[rtype(result = "usize")]
pub struct OpenConnections;

impl Hub {
    pub fn new(worker: Rc<Worker>) -> Self {
        Self { worker, orphans: OrphanWatch::default(), draining: None }
    }

    pub(in crate::actors) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Looks after the connections once in every period, however late. Where the thread was held up, ticks that follow each
    /// other at once would take readers for slow that nothing was written to in between.
    fn tick_later(&self, ctx: &mut Context<Self>) {
        let period = self.worker.broker.settings.get().timeouts.tick();
        ctx.run_later(period, |hub, ctx| {
            hub.tick();
            hub.tick_later(ctx);
        });
    }

    fn tick(&mut self) {
        let sessions: Vec<Rc<Session>> = self.worker.sessions.borrow().values().cloned().collect();
        for session in sessions.iter().filter(|session| session.outbox.is_open() && !session.ends_overdrawn()) {
            match session.check_keepalive() {
                Verdict::Fine => {}
                Verdict::SendPing if session.has_departed() => {}
                Verdict::SendPing => session.push(session.ping.clone()),
                Verdict::Idle => session.close(CloseReason::Idle),
                Verdict::Stalled => session.close(CloseReason::TooSlow),
            }
        }
        self.resubscribe_orphans();
        let broker = &self.worker.broker;
        for (connection, owner) in broker.connections.forget(broker.clock.uptime()) {
            broker.tell_connection(connection, &owner, false);
        }
        self.report();
    }

    /// Finds channels that died, or were made anew by another thread, while no connection here published.
    fn resubscribe_orphans(&mut self) {
        let broker = &self.worker.broker;
        if !self.orphans.is_due(broker.directory.ended()) {
            return;
        }
        let orphans: Vec<ChannelName> = self
            .worker
            .locals
            .borrow()
            .iter()
            .filter(|(name, local)| !broker.directory.is_in_charge(name, &local.channel))
            .map(|(name, _)| name.clone())
            .collect();
        for channel in orphans {
            if let Err(fault) = self.worker.channel(&channel, None) {
                tracing::error!(%fault, "a channel that died cannot be made anew yet");
                self.orphans.look_again();
            }
        }
    }

    fn report(&self) {
        let counters = self.worker.take_counters();
        if counters != Counters::default() {
            self.worker.broker.metrics.do_send(Report(counters));
        }
        let tally = self.worker.take_tally();
        if !tally.is_empty() {
            self.worker.broker.stats.do_send(Counted(tally));
        }
    }

    fn drain_some(&mut self, _: &mut Context<Self>) {
        let sessions = self.worker.sessions.borrow();
        let open = sessions.values().filter(|session| session.outbox.is_open());
        for session in open.take(limits::DRAIN_BATCH) {
            session.close(CloseReason::GoingAway);
        }
    }
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tick_later(ctx);
    }
}

impl Handler<HubMessage> for Hub {
    type Result = ();

    fn handle(&mut self, message: HubMessage, _: &mut Self::Context) {
        self.worker.hub.backlog.fetch_sub(1, Ordering::Relaxed);
        self.worker.receive(message);
    }
}

impl Handler<Drain> for Hub {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        if self.draining.is_none() {
            self.drain_some(ctx);
            self.draining = Some(ctx.run_interval(limits::DRAIN_PAUSE, Self::drain_some));
        }
    }
}

/// Answered at once: how long that takes is what whoever publishes waits for the thread.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Probe;

impl Handler<Probe> for Hub {
    type Result = ();

    fn handle(&mut self, _: Probe, _: &mut Self::Context) {}
}

impl Handler<OpenConnections> for Hub {
    type Result = usize;

    fn handle(&mut self, _: OpenConnections, _: &mut Self::Context) -> usize {
        self.report();
        self.worker.sessions.borrow().len()
    }
}

impl Handler<CredentialsChanged> for Hub {
    type Result = ();

    fn handle(&mut self, _: CredentialsChanged, _: &mut Self::Context) {
        let sessions: Vec<Rc<Session>> = self.worker.sessions.borrow().values().cloned().collect();
        for session in sessions.iter().filter(|session| session.outbox.is_open()) {
            session.with_handler(|handler, transport| handler.credentials_changed(transport));
        }
    }
}
