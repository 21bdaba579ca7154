//! Hands a push over to the connections of its recipients (`docs/protocols/relay.md §5`).

use std::sync::Arc;

use crate::{
    actors::broker::Broker,
    core::{command::Publish, message::EntryId},
    error::Fault,
    older::relay::{
        away::{Away, Outcome, Wait},
        groups::Groups,
        push::Push,
        reply,
    },
};

/// Who is there, and what waits for who is not.
pub struct Delivery {
    pub groups: Groups,
    pub away: Away,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Relay connections that it was handed to.
    pub connections: usize,
    /// It waits for its user.
    pub is_kept: bool,
}

impl Delivery {
    /// Publishes the push, for others than its user also when it is kept. Nobody there is no fault. Published again with
    /// the same `id` within two minutes, it is not sent again.
    ///
    /// # Errors
    /// [`Fault::Busy`], [`Fault::DiskFull`]: it was not published; a back end has to push it again.
    pub async fn hand_over(&self, push: &Push, id: &str, wait: Wait, broker: &Arc<Broker>) -> Result<Handed, Fault> {
        let channel = push.channel();
        let is_there = || self.groups.count(&channel) > 0;
        let is_kept = self.away.keep(id, push, wait, is_there).await? == Outcome::Kept;
        let connections = match is_kept {
            true => 0,
            false => self.groups.count(&channel),
        };
        let handed = Handed { connections, is_kept };
        // No room for another channel, so nobody is on this one.
        if connections == 0 && broker.directory.channel(&channel, broker).is_err() {
            return Ok(handed);
        }
        let publish = Publish::message(EntryId::Base(id.into()), reply::message(push, is_kept));
        broker.publish(&channel, publish).await?;
        Ok(handed)
    }
}
