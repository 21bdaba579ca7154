//! The relays of several nodes (`docs/cluster.md`): each knows its own connections, and asks the others for theirs.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    actors::{
        attendants::{Answering, Attendant},
        broker::Broker,
    },
    ids::NodeId,
    older::relay::{delivery::Delivery, endpoint::Shared, push::Push},
};

/// What the relay is called among the nodes.
pub const NAME: &str = "relay";

/// What it asks itself at the other nodes.
#[derive(Serialize, Deserialize)]
enum Asked {
    /// How many connections a push to this user reaches; none: one to everybody.
    Recipients(Option<String>),
    Counts,
}

/// Who is connected.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counts {
    pub connections: usize,
    pub identified: usize,
    /// One who is at several nodes counts at each.
    pub users: usize,
}

impl Delivery {
    /// How many connections at other nodes a push reaches now.
    pub async fn recipients_elsewhere(&self, push: &Push, broker: &Broker) -> usize {
        if !self.inboxes.is_shared() {
            return 0;
        }
        let counts: Vec<usize> = broker.ask_protocol(NAME, &Asked::Recipients(push.user.clone()), |_| false).await;
        counts.iter().sum()
    }

    fn counts_here(&self) -> Counts {
        let online = &self.inboxes.online;
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            identified: online.transports(),
            users: online.users(),
        }
    }

    /// Of all nodes.
    pub async fn counts(&self, broker: &Broker) -> Counts {
        let elsewhere = match self.inboxes.is_shared() {
            true => broker.ask_protocol(NAME, &Asked::Counts, |_| false).await,
            false => Vec::new(),
        };
        elsewhere.iter().fold(self.counts_here(), |sum, one: &Counts| Counts {
            connections: sum.connections + one.connections,
            identified: sum.identified + one.identified,
            users: sum.users + one.users,
        })
    }
}

impl Shared {
    /// Tells the other nodes, and hears them, from now on.
    pub fn attend(self: &Arc<Self>, broker: &Arc<Broker>) {
        if self.delivery.inboxes.is_shared() {
            let telling = Arc::downgrade(broker);
            self.delivery.inboxes.tell_by(move |user| {
                if let Some(broker) = telling.upgrade() {
                    broker.tell_protocol(NAME, user.as_bytes());
                }
            });
            broker.attendants.add(NAME, Arc::clone(self) as Arc<_>);
        }
    }
}

impl Attendant for Shared {
    fn answer(self: Arc<Self>, _: Arc<Broker>, question: Box<RawValue>) -> Answering {
        let delivery = &self.delivery;
        let answer = match serde_json::from_str(question.get()) {
            Ok(Asked::Recipients(user)) => serde_json::to_vec(&delivery.recipients_of(user.as_deref())).ok(),
            Ok(Asked::Counts) => serde_json::to_vec(&delivery.counts_here()).ok(),
            Err(_) => None,
        };
        Box::pin(std::future::ready(answer))
    }

    /// Something waits for this user.
    fn hear(self: Arc<Self>, _: &Arc<Broker>, _: NodeId, letter: Bytes) {
        if let Ok(user) = str::from_utf8(&letter) {
            self.delivery.inboxes.fetch(user);
        }
    }
}
