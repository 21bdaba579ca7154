//! Delivers a push to the connections of its recipients (`docs/protocols/relay.md §5`).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    actors::{broker::Broker, online::Online},
    core::{command::Publish, message::EntryId},
    error::Fault,
    older::relay::{
        away::{Away, Wait},
        commands::Push,
        wire,
    },
};

pub struct Delivery {
    /// The connections by the user whose pushes they get.
    pub online: Arc<Online<String>>,
    /// Those that get pushes to everybody.
    pub connections: AtomicUsize,
    /// What waits for users who are not there.
    pub away: Away,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Relay connections that it was delivered to.
    pub connections: usize,
    /// It waits for its user.
    pub is_kept: bool,
}

impl Delivery {
    /// How many connections a push reaches now.
    pub fn recipients(&self, push: &Push) -> usize {
        match &push.user {
            Some(user) => self.online.transports_of(user),
            None => self.connections.load(Ordering::Relaxed),
        }
    }

    /// Publishes the push, for others than its user also when it is kept. Nobody there is no fault. Published again with
    /// the same `id` within two minutes, it is not sent again.
    ///
    /// # Errors
    /// [`Fault::Busy`], [`Fault::DiskFull`]: it was not published; a back end has to push it again.
    pub async fn deliver(&self, push: &Push, id: &str, wait: Wait, broker: &Arc<Broker>) -> Result<Delivered, Fault> {
        let is_kept = self.away.keep(id, push, wait).await?;
        let connections = if is_kept { 0 } else { self.recipients(push) };
        let channel = push.channel();
        let publish = Publish::message(EntryId::Base(id.into()), wire::message(push, is_kept));
        match broker.publish(&channel, publish).await {
            // There is no room for another channel, so nobody is on this one.
            Err(_) if connections == 0 && broker.directory.channel(&channel, broker, None).is_err() => {}
            published => drop(published?),
        }
        Ok(Delivered { connections, is_kept })
    }
}
