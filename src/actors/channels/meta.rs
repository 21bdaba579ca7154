//! What happens in an app, told on its metachannels (`docs/protocols/ably.md §5.10`): ordinary messages of ordinary channels,
//! which are published only where somebody has such a channel open. Otherwise it costs one look.

use actix::{Context, Handler, Message};
use serde_json::{Value, json};

use crate::{
    actors::{broker::Broker, channels::channel::Channel, connections::Owner},
    core::{
        command::Publish,
        message::{self, EntryId, Payload},
        occupancy::Occupancy,
        rules::Reach,
        stats::Interval,
    },
    ids::{AppId, ChannelName, ConnectionId},
};

/// How the names of metachannels begin. No client can publish to them.
pub const META: &str = "[meta]";

/// An event for a metachannel.
#[derive(Message)]
#[rtype(result = "()")]
struct Tell(message::Message);

impl Broker {
    /// A channel has an actor from now on, or none any more. Nothing is told of metachannels, nor of channels that belong to
    /// another protocol.
    pub(in crate::actors) fn tell_channel(&self, channel: &ChannelName, is_active: bool) {
        let name = channel.as_str();
        if name.starts_with(META) || Reach::of(channel.app(), name) != Reach::Open {
            return;
        }
        let event = if is_active { "channel.opened" } else { "channel.closed" };
        self.tell(channel.app(), "[meta]channel.lifecycle", event, || {
            let metrics: Value = Occupancy::default().named().into_iter().collect();
            let status = json!({ "isActive": is_active, "occupancy": { "metrics": metrics } });
            json!({ "channelId": name, "name": name, "status": status })
        });
    }

    /// A client has opened a connection, or it has ended: it was closed, or its time to come back is over.
    pub fn tell_connection(&self, connection: ConnectionId, owner: &Owner, is_open: bool) {
        let event = if is_open { "connection.opened" } else { "connection.closed" };
        self.tell(owner.app, "[meta]connection.lifecycle", event, || {
            let client_id = owner.client_id.as_ref().map(|client| ("clientId", Value::from(client.as_str())));
            [("connectionId", connection.to_string().into())].into_iter().chain(client_id).collect()
        });
    }

    /// A minute is over.
    pub(in crate::actors) fn tell_minute(&self, app: AppId, minute: Interval, entries: impl FnOnce() -> Value) {
        self.tell(app, "[meta]stats:minute", "update", || {
            let unit = minute.unit.name();
            json!({ "intervalId": minute.id(), "unit": unit, "schema": Interval::SCHEMA, "entries": entries() })
        });
    }

    fn tell(&self, app: AppId, metachannel: &str, event: &'static str, data: impl FnOnce() -> Value) {
        if let Some(channel) = self.directory.open(&ChannelName::new(app, metachannel)) {
            let payload = Payload::json(data().to_string().into());
            let message = message::Message { name: event.into(), payload, ..message::Message::default() };
            // Nobody waits for a metachannel that has more to do than it can: then those who listen miss something.
            let _ = channel.try_send(Tell(message));
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
