//! The connections as operators see them: a page of them or one, read where they are when it is asked for. Nothing is counted
//! for it while messages are delivered, and a question looks at a bounded number of connections of each worker thread.

use std::{net::IpAddr, sync::Arc};

use actix::{Handler, Message, MessageResult};
use futures_util::future;

use crate::{
    actors::{
        broker::Broker,
        fanout::Hub,
        transport::{Peer, Session},
    },
    error::CloseReason,
    ids::{AppId, ChannelName, ConnectionId, SessionId, Timestamp},
    limits,
};

/// Which connections are wanted: the oldest first, by their transports.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Opened behind this one.
    pub after: Option<SessionId>,
    /// At most so many.
    pub limit: usize,
    pub app: Option<AppId>,
    pub client_id: Option<String>,
    pub connection: Option<ConnectionId>,
    pub protocol: Option<String>,
    pub address: Option<IpAddr>,
}

/// One connection at one moment.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Of its transport: names it on this server.
    pub session: SessionId,
    pub connection: ConnectionId,
    pub peer: Peer,
    pub app: AppId,
    pub client_id: Option<String>,
    pub opened: Timestamp,
    /// What waits for its socket.
    pub bytes_waiting: usize,
    /// Frames that its socket has taken.
    pub frames_sent: u64,
    /// Frames that it has sent lately and that its rate has not earned back; none where it has no rate.
    pub burst_spent: Option<u64>,
    pub attachments: usize,
    /// The first of the channels that it is attached to.
    pub channels: Vec<ChannelName>,
}

/// Some of those that were selected.
#[derive(Debug, Default)]
pub struct Listing {
    pub rows: Vec<Shown>,
    /// How far was looked, if there are more behind it: there may be more rows there, also when this page has none.
    pub next: Option<SessionId>,
}

impl Selection {
    fn wants(&self, session: &Session) -> bool {
        let Self { app, client_id, connection, protocol, address, .. } = self;
        let peer = &session.peer;
        app.is_none_or(|app| app == session.app)
            && connection.is_none_or(|connection| connection == session.connection_id)
            && address.is_none_or(|address| address == peer.address)
            && protocol.as_ref().is_none_or(|protocol| protocol.eq_ignore_ascii_case(peer.protocol))
            && client_id.as_ref().is_none_or(|id| session.client_id().as_ref() == Some(id))
    }
}

/// What one worker thread has of a selection.
#[derive(Message)]
#[rtype(result = "Listing")]
struct List(Selection);

/// One transport, if it is of this worker thread; it is ended if there is a reason for that.
#[derive(Message)]
#[rtype(result = "Option<Shown>")]
struct Find(SessionId, Option<CloseReason>);

impl Handler<List> for Hub {
    type Result = MessageResult<List>;

    fn handle(&mut self, List(selection): List, _: &mut Self::Context) -> Self::Result {
        let (mut listing, mut looked_at) = (Listing::default(), 0);
        self.worker().look_at_sessions(selection.after, |session| {
            if looked_at == limits::LISTED_AT_ONCE || listing.rows.len() == selection.limit {
                return false;
            }
            looked_at += 1;
            listing.next = Some(session.id);
            if selection.wants(session) {
                listing.rows.push(session.show());
            }
            true
        });
        // There is nothing behind the last one.
        if looked_at < limits::LISTED_AT_ONCE && listing.rows.len() < selection.limit {
            listing.next = None;
        }
        MessageResult(listing)
    }
}

impl Handler<Find> for Hub {
    type Result = MessageResult<Find>;

    fn handle(&mut self, Find(id, end): Find, _: &mut Self::Context) -> Self::Result {
        let session = self.worker().session(id);
        if let (Some(session), Some(reason)) = (&session, end) {
            session.close(reason);
        }
        MessageResult(session.map(|session| session.show()))
    }
}

impl Broker {
    /// A page of the connections of this server.
    pub async fn list_connections(self: &Arc<Self>, selection: &Selection) -> Listing {
        let hubs = self.hubs.lock().clone();
        let parts = hubs.iter().map(|hub| hub.address.send(List(selection.clone())));
        let parts: Vec<Listing> = future::join_all(parts).await.into_iter().flatten().collect();
        // Nobody has looked further than that on the thread that is furthest behind.
        let mut next = parts.iter().filter_map(|part| part.next).min();
        let mut rows: Vec<Shown> = parts.into_iter().flat_map(|part| part.rows).collect();
        rows.retain(|row| next.is_none_or(|next| row.session <= next));
        rows.sort_unstable_by_key(|row| row.session);
        if rows.len() > selection.limit {
            rows.truncate(selection.limit);
            next = rows.last().map(|row| row.session);
        }
        Listing { rows, next }
    }

    /// One connection of this server; ended, if there is a reason for that.
    pub async fn find_connection(self: &Arc<Self>, id: SessionId, end: Option<CloseReason>) -> Option<Shown> {
        let hubs = self.hubs.lock().clone();
        let parts = hubs.iter().map(|hub| hub.address.send(Find(id, end)));
        future::join_all(parts).await.into_iter().flatten().flatten().next()
    }

    /// Ends every connection of a client of an app: how many that were.
    pub async fn end_client(self: &Arc<Self>, app: AppId, client_id: &str, reason: CloseReason) -> usize {
        let client_id = Some(client_id.to_owned());
        let mut selection = Selection { app: Some(app), client_id, limit: limits::ADMIN_PAGE, ..Selection::default() };
        let mut ended = 0;
        loop {
            let Listing { rows, next } = self.list_connections(&selection).await;
            for row in rows {
                ended += usize::from(self.find_connection(row.session, Some(reason)).await.is_some());
            }
            selection.after = next;
            if next.is_none() {
                return ended;
            }
        }
    }
}
