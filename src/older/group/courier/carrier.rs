//! To the channels of this server.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use actix_web::rt;
use bytes::Bytes;

use super::{Carry, Parcel};
use crate::{
    actors::{broker::Broker, channels::undone::Command},
    core::command::{AttachmentId, Detach, Publish},
    error::Fault,
    ids::ChannelName,
    limits,
    older::group::roll::Roll,
};

/// Comes back with the detachment of somebody who is no member any more.
pub const REMOVED: Bytes = Bytes::from_static(b"removed");

/// Channels, and who is to come to them or to go.
pub struct ToChannels<'a> {
    pub roll: &'a Roll,
    pub broker: &'a Arc<Broker>,
}

impl Carry for ToChannels<'_> {
    async fn carry(&self, channel: &ChannelName, parcels: &VecDeque<Parcel>) -> usize {
        match parcels.front() {
            None => return 0,
            Some(Parcel::Publish { .. }) => {
                let together = parcels.iter().map_while(Parcel::publish);
                return self.publish(channel, together.collect()).await;
            }
            Some(Parcel::Welcome { user, group }) => {
                for visitor in self.roll.of(user) {
                    visitor.invite(group);
                }
            }
            Some(Parcel::Evict { user, .. }) => self.evict(user, channel),
        }
        1
    }
}

impl ToChannels<'_> {
    /// How many of them are done with. A channel that is too busy is asked again until it has them: nothing of a stored
    /// message is left out, and meanwhile no more is taken in for its group than its queue may have.
    async fn publish(&self, channel: &ChannelName, publishes: Vec<Publish>) -> usize {
        let broker = self.broker;
        let mut rounds = 0_u32;
        loop {
            // No room for another channel: then nobody is on this one.
            if broker.directory.channel(channel, broker).is_err() {
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

    fn evict(&self, user: &str, name: &ChannelName) {
        for visitor in self.roll.of(user) {
            let Ok(channel) = self.broker.directory.channel(name, self.broker) else {
                return;
            };
            let hub = visitor.handle.hub.clone();
            let body = Detach {
                id: AttachmentId { session: visitor.handle.session, alias: 0 },
                connection: visitor.connection,
                hub: hub.id,
                context: REMOVED,
            };
            // Not refused by a full mailbox: somebody who stays although removed would be worse.
            channel.do_send(Command::new(hub, name.clone(), body));
        }
    }
}
