//! Renews the lease of this node, and lets the members of dead ones leave (`docs/design/cluster.md §3`).
//!
//! The live node that is lowest in order does it at once, the others if that one has not done it by the next time. Twice does no
//! harm: whoever comes second finds nobody.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use actix::{Context, Handler, Message};
use parking_lot::Mutex;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
    time::timeout,
};

use crate::{
    actors::{
        broker::Broker,
        channels::{channel::Channel, operations::Task},
    },
    ids::NodeId,
    limits,
    log::{
        Done, StoreError,
        shared::{Domain, Renewed, SharedLog},
    },
};

/// To be woken [`crate::limits::LEASE_RENEWALS`] times in the time of a lease.
pub struct Reaper {
    broker: Arc<Broker>,
    log: SharedLog,
    /// Who was dead the last time.
    dead: Mutex<HashMap<Domain, HashSet<NodeId>>>,
}

/// The node is dead: what it has in the channel goes.
#[derive(Message)]
#[rtype(result = "()")]
struct Reap(NodeId);

impl Reaper {
    /// None: this server is alone.
    pub fn new(broker: &Arc<Broker>) -> Option<Arc<Self>> {
        let log = broker.log.shared()?;
        // The others know of this node from now on.
        log.renew(drop);
        Some(Arc::new(Self { broker: Arc::clone(broker), log, dead: Mutex::default() }))
    }

    /// Renews the lease in every domain. Nothing that the answers bring along is waited for: the next renewal is due whatever one
    /// master or another node does.
    pub fn wake(self: &Arc<Self>) {
        let (told, renewals) = unbounded_channel();
        self.log.renew(move |renewed| match renewed {
            Ok(renewed) => drop(told.send(renewed)),
            Err(error) => tracing::debug!(%error, "a lease of this node was not renewed"),
        });
        let reaper = Arc::clone(self);
        actix_rt::spawn(async move {
            // Whoever is dead where no answer comes in time is so the next time.
            let _: Result<(), _> = timeout(limits::NODE_ANSWER, reaper.judge_all(renewals)).await;
        });
    }

    async fn judge_all(&self, mut renewals: UnboundedReceiver<Vec<Renewed>>) {
        while let Some(renewed) = renewals.recv().await {
            for renewed in renewed {
                self.judge(renewed).await;
            }
        }
    }

    async fn judge(&self, Renewed { domain, lowest, dead }: Renewed) {
        let before = self.dead.lock().insert(domain, dead.iter().copied().collect()).unwrap_or_default();
        for node in dead {
            if lowest == self.log.node() || before.contains(&node) {
                self.reap(domain, node).await;
            }
        }
    }

    async fn reap(&self, domain: Domain, node: NodeId) {
        let channels = answer(|done| self.log.owned(domain, node, done)).await.unwrap_or_default();
        tracing::warn!(%node, channels = channels.len(), "a node of the cluster is gone; its members leave");
        for name in channels {
            // Where there is no room for the channel now, there may be the next time.
            if let Ok(channel) = self.broker.directory.channel(&name, &self.broker, None) {
                channel.do_send(Reap(node));
            }
        }
    }
}

/// Waits for what the log calls back with.
async fn answer<T: Send + 'static>(ask: impl FnOnce(Done<T>)) -> Result<T, StoreError> {
    let (told, answer) = oneshot::channel();
    ask(Box::new(|outcome| drop(told.send(outcome))));
    answer.await.unwrap_or(Err(StoreError::Closed))
}

impl Handler<Reap> for Channel {
    type Result = ();

    fn handle(&mut self, Reap(node): Reap, ctx: &mut Context<Self>) {
        if !self.retired && !self.operations.reaps(node) {
            self.note_opened(ctx);
            self.line_up(Task::Reap { node, is_read: false }, ctx);
        }
    }
}
