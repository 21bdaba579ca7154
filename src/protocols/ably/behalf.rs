//! Messages that a frame publishes for a connection of another node (`docs/protocols/ably.md §6.6`): whose that is has to be asked
//! first. Whatever the client sends meanwhile waits behind them, so its order stays.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;

use crate::{
    actors::{
        accounts::{Charge, Kind},
        broker::Broker,
        connections::Owner,
        transport::context::TransportContext,
    },
    auth::ably::{ConnectionKeys, Proven},
    error::Fault,
    ids::{AppId, ConnectionId},
    protocols::ably::{
        connection::AblyConnection,
        wire::{ProtocolMessage, WireMessage},
    },
};

/// Connections of other nodes, with their owners; a fault: that cannot be said now.
pub type Elsewhere = Result<Vec<(ConnectionId, Owner)>, Fault>;

/// Frames that wait, the one first that asks for others' connections.
#[derive(Default)]
pub(super) struct Behalf {
    waiting: VecDeque<(Bytes, Option<Charge>)>,
    answer: Arc<Mutex<Option<Elsewhere>>>,
    /// What is known for the first.
    pub found: Option<Elsewhere>,
}

/// The connections that messages are published for and that this node does not know.
pub(super) fn unknown(
    messages: &[WireMessage],
    app: AppId,
    keys: &ConnectionKeys,
    broker: &Broker,
) -> Vec<ConnectionId> {
    let keyed = messages.iter().filter_map(|message| message.connection_key.as_ref());
    let proven = keyed.filter_map(|key| keys.verify(app, key.expose_secret()).ok());
    let now = broker.clock.uptime();
    let mut unknown: Vec<_> = proven.map(|Proven { connection, .. }| connection).collect();
    unknown.retain(|connection| broker.connections.owner(*connection, now).is_none());
    unknown.sort_unstable_by_key(|connection| connection.to_bytes());
    unknown.dedup();
    unknown
}

/// Those of them that other nodes know.
pub(super) async fn elsewhere(unknown: Vec<ConnectionId>, broker: &Broker) -> Elsewhere {
    let asked = unknown.into_iter().map(|connection| async move {
        match broker.connection_elsewhere(connection).await {
            Ok(owner) => Ok(owner.map(|owner| (connection, owner))),
            // Nothing can be published for it any more.
            Err(Fault::ConnectionExpired) => Ok(None),
            Err(fault) => Err(fault),
        }
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

impl AblyConnection {
    /// Whether a frame has to wait, behind others or until it is known whose the connections are that it publishes for.
    pub(super) fn waits_for_others(&self) -> bool {
        self.behalf.as_ref().is_some_and(|behalf| behalf.found.is_none())
    }

    /// The same of one that was read; then it waits, and the others are asked.
    pub(super) fn asks_others(
        &mut self,
        frame: &[u8],
        message: &ProtocolMessage,
        transport: &mut TransportContext<'_>,
    ) -> bool {
        let is_meant = message.messages.iter().any(|message| message.connection_key.is_some());
        if !is_meant || self.behalf.is_some() {
            return false;
        }
        let broker = Arc::clone(&transport.worker().broker);
        let unknown = unknown(&message.messages, self.access.app.id, &self.shared.connection_keys, &broker);
        if unknown.is_empty() || broker.log.shared().is_none() {
            return false;
        }
        self.behalf = Some(Box::default());
        self.wait(frame, transport);
        let Some(behalf) = &self.behalf else { return true };
        let (answer, handle) = (Arc::clone(&behalf.answer), transport.handle());
        tokio::spawn(async move {
            let found = elsewhere(unknown, &broker).await;
            *answer.lock() = Some(found);
            handle.nudge();
        });
        true
    }

    /// Keeps a frame, for which the client pays.
    pub(super) fn wait(&mut self, frame: &[u8], transport: &mut TransportContext<'_>) {
        match (transport.charge(Kind::Inbound, frame.len()), &mut self.behalf) {
            (Ok(charge), Some(behalf)) => behalf.waiting.push_back((Bytes::copy_from_slice(frame), charge)),
            (Ok(_), None) => {}
            (Err(full), _) => self.disconnect(&full.to_fault(), transport),
        }
    }

    /// The others have answered.
    pub(super) fn go_on_for_others(&mut self, transport: &mut TransportContext<'_>) {
        let Some(behalf) = &mut self.behalf else { return };
        behalf.found = behalf.answer.lock().take();
        // A nudge for something else: they wait on.
        if behalf.found.is_none() {
            return;
        }
        let Some((first, _)) = behalf.waiting.pop_front() else { return };
        let waiting = std::mem::take(&mut behalf.waiting);
        self.receive(&first, transport);
        self.behalf = None;
        for (frame, _) in waiting {
            match self.waits_for_others() {
                true => self.wait(&frame, transport),
                false => self.receive(&frame, transport),
            }
        }
    }
}
