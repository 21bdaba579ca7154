//! Hands a push over to the connections of its recipients (`protocols/relay.md §5`).

use std::sync::Arc;

use crate::{
    actors::{
        broker::Broker,
        questions::{Append, ask},
    },
    core::{
        command::Publish,
        message::{Body, EntryId},
    },
    error::Fault,
    protocols::relay::{groups::Groups, push::Push, reply},
};

/// Publishes the push; how many relay connections it was handed to. Nobody there is no fault. Published again
/// with the same `id` within two minutes, it is not sent again.
///
/// # Errors
/// [`Fault::Busy`], [`Fault::DiskFull`]: nobody has got it.
pub async fn hand_over(
    push: &Push,
    id: &str,
    groups: &Groups,
    broker: &Arc<Broker>,
) -> Result<usize, Fault> {
    let channel = push.channel();
    let connections = groups.count(&channel);
    let publish = Publish {
        reply: None,
        attached: None,
        publisher: None,
        id: EntryId::Base(id.into()),
        body: Body::Messages(vec![reply::message(push)]),
        is_ephemeral: false,
    };
    match broker.directory.channel(&channel, broker) {
        Ok(address) => ask(Ok(address.recipient()), Append(publish)).await?,
        // No room for another channel, so nobody is on this one.
        Err(_) if connections == 0 => return Ok(0),
        Err(fault) => return Err(fault),
    };
    Ok(connections)
}
