//! What was committed reaches the channels of this server (`docs/protocols/group.md §6`).

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use actix_web::rt;
use bytes::Bytes;

use super::Groups;
use crate::{
    actors::{broker::Broker, channels::Command},
    core::command::{AttachmentId, Detach, Publish},
    error::Fault,
    ids::ChannelName,
    limits,
    older::group::delivery::Delivery,
};

/// Comes back with the detachment of somebody who is no member any more.
pub const REMOVED: Bytes = Bytes::from_static(b"removed");

impl Groups {
    /// Delivers, for ever, unless another worker thread does.
    pub async fn deliver(&self, broker: &Arc<Broker>) {
        let deliver = async |channel: &ChannelName, all: &VecDeque<Delivery>| {
            match all.front() {
                None => return 0,
                Some(Delivery::Publish(_)) => {
                    let publish = |delivery: &Delivery| match delivery {
                        Delivery::Publish(publish) => Some((**publish).clone()),
                        Delivery::Attach { .. } | Delivery::Detach { .. } => None,
                    };
                    return publish_all(broker, channel, all.iter().map_while(publish).collect()).await;
                }
                Some(Delivery::Attach { user, group }) => {
                    for connection in self.online.registered(&**user) {
                        connection.notify(Arc::clone(group));
                    }
                }
                Some(Delivery::Detach { user }) => self.detach(broker, channel, user),
            }
            1
        };
        self.deliveries.run(deliver).await;
    }

    fn detach(&self, broker: &Arc<Broker>, name: &ChannelName, user: &str) {
        for (handle, connection) in self.connections_of(user) {
            let Ok(channel) = broker.directory.channel(name, broker, None) else {
                return;
            };
            let body = Detach {
                id: AttachmentId { session: handle.session, alias: 0 },
                connection,
                hub: handle.hub.id,
                context: REMOVED,
            };
            // Not refused by a full mailbox: somebody who stays although removed would be worse.
            channel.do_send(Command::new(handle.hub, name.clone(), body));
        }
    }
}

/// How many of them are done with. A channel that is too busy is asked again until it has them: nothing of a stored
/// message is left out, and meanwhile no more is accepted for its group than its queue may have.
async fn publish_all(broker: &Arc<Broker>, channel: &ChannelName, publishes: Vec<Publish>) -> usize {
    let mut rounds = 0_u32;
    loop {
        // No room for another channel: then nobody is on this one.
        if broker.directory.channel(channel, broker, None).is_err() {
            return publishes.len();
        }
        match broker.publish_all(channel, publishes.clone()).await {
            Err(Fault::Busy | Fault::DiskFull) if !broker.closing.load(Ordering::Relaxed) => {
                rounds += 1;
                if rounds.is_multiple_of(limits::GROUP_RETRIES) {
                    tracing::error!("a group's channel is busy for long; who is connected waits for its messages");
                }
                rt::time::sleep(limits::GROUP_RETRY).await;
            }
            Ok(count) => return count,
            Err(fault) => {
                tracing::error!(%fault, "a stored group message is not delivered to who is connected");
                return 1;
            }
        }
    }
}
