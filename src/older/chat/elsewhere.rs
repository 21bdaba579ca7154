//! Who is online at any node of a cluster (`docs/cluster.md`): this one knows its own connections, the others are asked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix_web::rt::time::timeout;
use bytes::Bytes;
use futures_util::future;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    actors::{
        attendants::{Answering, Attendant},
        broker::Broker,
    },
    error::CloseReason,
    ids::{ChannelName, NodeId, Timestamp},
    limits,
    older::chat::shared::Chat,
};

/// What the chat is called among the nodes.
pub const NAME: &str = "chat";

/// What it asks itself at the other nodes.
#[derive(Serialize, Deserialize)]
enum Asked {
    /// Which of these users are online.
    Among(Vec<u64>),
    /// All that are.
    All,
    /// Those who are online since then.
    Since(u64),
    /// How many.
    Count,
    InRoom {
        user: u64,
        room: String,
    },
    /// Have the connections of these users attach to a channel, and answer when they are.
    Attach {
        users: Vec<u64>,
        channel: String,
    },
}

/// A user has a connection at a node since then; the older ones are closed.
#[derive(Serialize, Deserialize)]
struct HasCome {
    user: u64,
    since: u64,
}

impl HasCome {
    /// Whether that closes the connection that the user has at `own` since then. Of two who come in one moment at two
    /// nodes the one of the greater node stays.
    fn replaces(&self, from: NodeId, since: Timestamp, own: NodeId) -> bool {
        (since.millis(), own.to_bytes()) < (self.since, from.to_bytes())
    }
}

impl Chat {
    /// Hears the other nodes from now on.
    pub fn attend(self: &Arc<Self>, broker: &Broker) {
        broker.attendants.add(NAME, Arc::clone(self) as Arc<_>);
    }

    pub async fn is_online(&self, user: u64, broker: &Broker) -> bool {
        if self.online.is_online(&user) {
            return true;
        }
        let found = |users: &Vec<u64>| !users.is_empty();
        broker.ask_protocol(NAME, &Asked::Among(vec![user]), found).await.iter().any(found)
    }

    /// How many of these users are online.
    pub async fn online_among(&self, users: impl Iterator<Item = u64>, broker: &Broker) -> usize {
        let (here, others): (Vec<u64>, Vec<u64>) = users.partition(|user| self.online.is_online(user));
        let here = here.len();
        let there = match others.is_empty() {
            true => Vec::new(),
            false => broker.ask_protocol(NAME, &Asked::Among(others), |_: &Vec<u64>| false).await,
        };
        here + there.into_iter().flatten().collect::<BTreeSet<u64>>().len()
    }

    /// Everybody online, in order.
    pub async fn all_online(&self, broker: &Broker) -> Vec<u64> {
        let there: Vec<Vec<u64>> = broker.ask_protocol(NAME, &Asked::All, |_| false).await;
        let here = self.online.list(None, usize::MAX);
        if there.is_empty() {
            return here;
        }
        there.into_iter().flatten().chain(here).collect::<BTreeSet<u64>>().into_iter().collect()
    }

    /// Everybody online here, and of the other nodes those who have come since then; without a time everybody. Whether all nodes
    /// have answered.
    pub async fn online_since(&self, since: Option<Timestamp>, broker: &Broker) -> (Vec<u64>, bool) {
        let others = broker.nodes().map_or(0, |nodes| nodes.others().len());
        let asked = since.map_or(Asked::All, |since| Asked::Since(since.millis()));
        let there: Vec<Vec<u64>> = broker.ask_protocol(NAME, &asked, |_| false).await;
        let have_answered = there.len() >= others;
        let here = self.online.list(None, usize::MAX);
        let all: BTreeSet<u64> = there.into_iter().flatten().chain(here).collect();
        (all.into_iter().collect(), have_answered)
    }

    pub async fn count_online(&self, broker: &Broker) -> usize {
        // Then the same user may be at several nodes.
        if self.settings.multi_device && broker.nodes().is_some() {
            return self.all_online(broker).await.len();
        }
        let there: Vec<usize> = broker.ask_protocol(NAME, &Asked::Count, |_| false).await;
        self.online.users() + there.into_iter().sum::<usize>()
    }

    /// Whether a connection of the user has joined the room.
    pub async fn is_in_room(&self, user: u64, room: &str, broker: &Broker) -> bool {
        if self.online.is_in(user, room) {
            return true;
        }
        let asked = Asked::InRoom { user, room: room.to_owned() };
        broker.ask_protocol(NAME, &asked, |is_in: &bool| *is_in).await.contains(&true)
    }

    /// Has every connection of these users attach to a channel, and waits until those that are online are, for a while.
    pub async fn attach(&self, users: &[u64], channel: &ChannelName, broker: &Broker) {
        let asked = Asked::Attach { users: users.to_owned(), channel: channel.as_str().to_owned() };
        let there = broker.ask_protocol(NAME, &asked, |_: &bool| false);
        let (is_done, there) = future::join(self.attach_here(users, channel, limits::CHAT_GROUP_WAIT), there).await;
        if !is_done || there.contains(&false) {
            tracing::warn!("some members of a new chat group do not get its messages yet");
        }
    }

    /// Whether all are attached, after so long at most.
    async fn attach_here(&self, users: &[u64], channel: &ChannelName, patience: Duration) -> bool {
        timeout(patience, future::join_all(self.online.attach(users, channel))).await.is_ok()
    }

    /// The user has one connection, and that is here since this moment.
    pub fn is_here_now(&self, user: u64, since: Timestamp, broker: &Broker) {
        // Cannot fail: it is written into memory.
        let letter = serde_json::to_vec(&HasCome { user, since: since.millis() }).unwrap_or_default();
        broker.tell_protocol(NAME, &letter);
    }
}

impl Attendant for Chat {
    fn answer(self: Arc<Self>, _: Arc<Broker>, question: Box<RawValue>) -> Answering {
        Box::pin(async move {
            let answer = match serde_json::from_str(question.get()).ok()? {
                Asked::Among(mut users) => {
                    users.retain(|user| self.online.is_online(user));
                    serde_json::to_vec(&users)
                }
                Asked::All => serde_json::to_vec(&self.online.list(None, usize::MAX)),
                Asked::Since(since) => {
                    let mut users = self.online.list(None, usize::MAX);
                    users.retain(|user| self.online.since(user).is_some_and(|came| came.millis() >= since));
                    serde_json::to_vec(&users)
                }
                Asked::Count => serde_json::to_vec(&self.online.users()),
                Asked::InRoom { user, room } => serde_json::to_vec(&self.online.is_in(user, &room)),
                Asked::Attach { users, channel } => {
                    let patience = limits::CHAT_GROUP_WAIT_ELSEWHERE;
                    serde_json::to_vec(&self.attach_here(&users, &channel.as_str().into(), patience).await)
                }
            };
            answer.ok()
        })
    }

    /// A user has come to another node, and goes on there alone (`docs/protocols/chat.md §7`).
    fn hear(self: Arc<Self>, broker: &Arc<Broker>, from: NodeId, letter: Bytes) {
        let (Ok(come), Some(nodes)) = (serde_json::from_slice::<HasCome>(&letter), broker.nodes()) else { return };
        for connection in self.online.registered(&come.user) {
            if let Some((handle, since)) = connection.entered()
                && come.replaces(from, *since, nodes.own())
            {
                handle.close(CloseReason::TakenOver);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another node says of members who are not there yet still comes in time.
    #[test]
    fn a_node_that_is_asked_waits_less_than_who_asks() {
        assert!(limits::CHAT_GROUP_WAIT_ELSEWHERE + Duration::from_millis(250) < limits::NODE_ANSWER);
    }

    /// Of two connections of a user one stays, whichever letter comes first, and a late one closes nothing that is
    /// newer.
    #[test]
    fn of_two_connections_at_two_nodes_one_stays() {
        let [here, there] = [NodeId::random(), NodeId::random()];
        for (own, other) in [(1, 2), (2, 1), (5, 5)] {
            let letter = |since| HasCome { user: 7, since };
            let closes_own = letter(other).replaces(there, Timestamp::from_millis(own), here);
            let closes_other = letter(own).replaces(here, Timestamp::from_millis(other), there);
            assert_ne!(closes_own, closes_other, "{own} and {other}");
            if own != other {
                assert_eq!(closes_own, own < other, "{own} and {other}");
            }
        }
    }
}
