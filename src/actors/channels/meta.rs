//! What happens in an app, told on its metachannels (`docs/protocols/ably.md §5.10`): ordinary messages of ordinary channels,
//! which are published only where somebody has such a channel open, here or at another node. Otherwise it costs one look.

use std::sync::Arc;

use actix::{Context, Handler, Message};
use serde_json::{Value, json};

use crate::{
    actors::{broker::Broker, channels::channel::Channel, connections::Owner, nodes::Nodes, stats::Wanted},
    core::{
        command::Publish,
        message::{self, EntryId, Payload},
        occupancy::Occupancy,
        rules::Reach,
        stats::{Interval, Record},
    },
    ids::{AppId, ChannelName, ConnectionId, NodeId},
    limits,
    log::shared::SharedLog,
};

/// How the names of metachannels begin. No client can publish to them.
pub const META: &str = "[meta]";
const CHANNELS: &str = "[meta]channel.lifecycle";
const CONNECTIONS: &str = "[meta]connection.lifecycle";
const MINUTES: &str = "[meta]stats:minute";

/// An event for a metachannel.
#[derive(Message)]
#[rtype(result = "()")]
struct Tell(message::Message);

impl Broker {
    /// A channel has an actor from now on, or none any more, at whichever node. Nothing is told of metachannels, nor of channels that
    /// belong to another protocol.
    pub(in crate::actors) fn tell_channel(&self, channel: &ChannelName, is_active: bool) {
        let name = channel.as_str();
        if name.starts_with(META) || Reach::of(channel.app(), name) != Reach::Open {
            return;
        }
        let event = if is_active { "channel.opened" } else { "channel.closed" };
        self.tell(channel.app(), CHANNELS, event, || {
            let metrics: Value = Occupancy::default().named().into_iter().collect();
            let status = json!({ "isActive": is_active, "occupancy": { "metrics": metrics } });
            json!({ "channelId": name, "name": name, "status": status })
        });
    }

    /// A client has opened a connection, or it has ended: it was closed, or its time to come back is over.
    pub fn tell_connection(&self, connection: ConnectionId, owner: &Owner, is_open: bool) {
        let event = if is_open { "connection.opened" } else { "connection.closed" };
        self.tell(owner.app, CONNECTIONS, event, || {
            let client_id = owner.client_id.as_ref().map(|client| ("clientId", Value::from(client.as_str())));
            [("connectionId", connection.to_string().into())].into_iter().chain(client_id).collect()
        });
    }

    /// A minute is over.
    pub(in crate::actors) fn tell_minute(&self, app: AppId, minute: Interval, record: &Record) {
        self.tell(app, MINUTES, "update", || {
            let entries: Value = record.entries().into_iter().collect();
            json!({ "intervalId": minute.id(), "unit": minute.unit.name(), "schema": Interval::SCHEMA, "entries": entries })
        });
    }

    /// A minute is over at all nodes: the one that is lowest in order asks the others, and tells what all of them have counted.
    pub(in crate::actors) fn tell_minute_of_all(self: &Arc<Self>, nodes: &Nodes, minute: Interval) {
        if nodes.alive().into_iter().min() != Some(nodes.own()) {
            return;
        }
        let broker = Arc::clone(self);
        actix_rt::spawn(async move {
            // The clocks of the others may be a little behind, and so may what their threads have reported.
            actix_rt::time::sleep(limits::STATS_OF_ALL).await;
            let (start, limit) = (minute.start.millis(), 1);
            for app in broker.listening.apps(MINUTES, broker.clock.uptime()) {
                let wanted = Wanted { app, unit: minute.unit, range: start..=start, forwards: true, limit };
                match broker.statistics(wanted).await {
                    Ok(page) => page.intervals.iter().for_each(|(minute, all)| broker.tell_minute(app, *minute, all)),
                    Err(fault) => {
                        tracing::warn!(%fault, "a minute of statistics is not told: a server does not answer")
                    }
                }
            }
        });
    }

    fn tell(&self, app: AppId, metachannel: &str, event: &'static str, data: impl FnOnce() -> Value) {
        let name = ChannelName::new(app, metachannel);
        let here = self.directory.open(&name);
        if here.is_none() && !self.listening.is_elsewhere(&name, self.clock.uptime()) {
            return;
        }
        let payload = Payload::json(data().to_string().into());
        let message = message::Message { name: event.into(), payload, ..message::Message::default() };
        match (here, self.log.shared_by(&name)) {
            // Nobody waits for a metachannel that has more to do than it can: then those who listen miss something.
            (Some(channel), _) => drop(channel.try_send(Tell(message))),
            // As above, when Redis does not take it.
            (None, Some(log)) => self.put_asleep(&log, &name, Publish::message(EntryId::Serial, message)),
            (None, None) => {}
        }
    }

    /// A channel is about to be open here, or is not any more: whoever listens to a metachannel here hears of all nodes.
    pub(super) async fn listen(&self, name: &ChannelName, is_open: bool) {
        if self.notes_listening(name, is_open) {
            self.tell_listening().await;
        }
    }

    /// Whether it is a metachannel that something is told on.
    fn notes_listening(&self, name: &ChannelName, is_open: bool) -> bool {
        let is_told = matches!(name.as_str(), CHANNELS | CONNECTIONS | MINUTES);
        if is_told {
            self.listening.note(name, is_open);
        }
        is_told
    }

    /// A channel of a log that nodes share was joined; `nodes` have it open, or had it when they died.
    pub(super) fn has_joined(&self, log: &SharedLog, name: &ChannelName, nodes: &[NodeId]) {
        // This one had it open already: its actor has died, and was made anew.
        if !nodes.contains(&log.node()) && !log.nodes().are_any_alive(nodes) {
            self.tell_channel(name, true);
        }
    }

    /// This node leaves such a channel.
    pub(super) fn leave(self: &Arc<Self>, log: &SharedLog, name: &ChannelName) {
        let (broker, channel, nodes) = (Arc::downgrade(self), name.clone(), log.nodes().clone());
        let left = move |others: Result<Vec<NodeId>, _>| {
            if let (Ok(others), Some(broker)) = (others, broker.upgrade())
                && !nodes.are_any_alive(&others)
            {
                broker.tell_channel(&channel, false);
            }
        };
        log.leave(name, log.node(), Box::new(left));
        if self.notes_listening(name, false) {
            let broker = Arc::clone(self);
            actix_rt::spawn(async move { broker.tell_listening().await });
        }
    }
}

impl Handler<Tell> for Channel {
    type Result = ();

    fn handle(&mut self, Tell(message): Tell, ctx: &mut Context<Self>) {
        if !self.retired {
            // As above, where there is no memory for it.
            let _ = self.try_publish(Publish::message(EntryId::Serial, message), ctx);
        }
    }
}
