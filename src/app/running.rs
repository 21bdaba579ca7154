//! A server that runs, and how it ends.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_web::{dev::ServerHandle, rt};
use futures_util::{FutureExt as _, future};
use parking_lot::Mutex;
use secrecy::SecretString;

use super::{older::Older, reload::Reloader, storage::Storage};
use crate::{
    actors::{
        broker::Broker,
        fanout::hub::{Drain, OpenConnections},
        stats::Flush,
    },
    config::{Listener, Protocol},
    limits,
    protocols::letshare,
};

/// A server that accepts connections.
pub struct Running {
    /// Where plain HTTP and WebSocket listen: the shared port, or the first one where there is none.
    pub address: SocketAddr,
    /// Everything that listens without TLS, and who is served there.
    pub listening: Vec<(SocketAddr, Listener)>,
    /// Where TLS listens, if it does.
    pub tls_address: Option<SocketAddr>,
    pub broker: Arc<Broker>,
    /// The key that the default app has of its own (`ably.local_key`).
    pub local_key: Option<SecretString>,
    pub(super) storage: Mutex<Option<Storage>>,
    pub(super) server: ServerHandle,
    pub(super) letshare: Arc<letshare::Shared>,
    pub(super) older: Older,
    pub(super) reloader: Reloader,
    pub(super) notice: Duration,
    pub(super) grace: Duration,
}

impl Running {
    /// Where a protocol is served; none if it is switched off.
    pub fn address_of(&self, protocol: Protocol) -> Option<SocketAddr> {
        let mut listening = self.listening.iter();
        let found = listening.find(|(_, listener)| listener.serves(protocol));
        found.map(|(address, _)| *address)
    }

    /// Ends the server without losing what waits for its clients: turns `/ready` off, lets nobody in, closes every
    /// connection with 1001, waits for them until the grace time is over.
    ///
    /// From the moment that `hurry` is ready there is no notice and hardly any grace; connections are closed in order
    /// all the same.
    pub async fn drain(&self, hurry: impl Future<Output = ()>) {
        let hurry = hurry.shared();
        self.broker.ready.store(false, Ordering::Relaxed);
        tracing::info!(connections = self.open_connections().await, "draining");
        future::select(pin!(rt::time::sleep(self.notice)), hurry.clone()).await;
        // Listening goes on: newcomers and requests get an answer at once (`/health` 200, an upgrade 503), where
        // connections that nobody accepts would hang until the exit.
        self.broker.closing.store(true, Ordering::Relaxed);
        let ended = self.letshare.end_transfers();
        if rt::time::timeout(limits::DRAIN_LAST_WORDS, ended).await.is_err() {
            tracing::warn!("some file transfers end without a message to their clients");
        }
        for hub in self.broker.hubs.lock().iter() {
            hub.address.do_send(Drain);
        }
        let everybody_gone = async {
            while self.open_connections().await > 0 {
                rt::time::sleep(limits::DRAIN_CHECK).await;
            }
        };
        let out_of_time = async {
            let hurried = async {
                hurry.await;
                rt::time::sleep(limits::DRAIN_HURRIED).await;
            };
            future::select(pin!(rt::time::sleep(self.grace.saturating_sub(self.notice))), pin!(hurried)).await;
        };
        let is_over = tokio::select! {
            () = everybody_gone => false,
            () = out_of_time => true,
        };
        if is_over {
            let connections = self.open_connections().await;
            tracing::warn!(connections, "grace time is over; cutting the rest");
        }
        self.stop().await;
    }

    /// Ends the server at once.
    pub async fn stop(&self) {
        self.broker.ready.store(false, Ordering::Relaxed);
        self.broker.closing.store(true, Ordering::Relaxed);
        self.server.stop(false).await;
        self.older.stop().await;
        if let Some(log) = self.broker.log.shared() {
            log.depart().await;
        }
        self.flush_stats().await;
        // Threads may still serve requests for a moment: the logs refuse what comes too late.
        if let Some(mut storage) = self.storage.lock().take() {
            storage.close();
        }
    }

    /// What worker threads have counted and not reported is lost, as with a kill.
    async fn flush_stats(&self) {
        if let Err(fault) = self.broker.stats.send(Flush).await.unwrap_or(Ok(())) {
            tracing::warn!(%fault, "the statistics of the last seconds could not be written");
        }
    }

    async fn open_connections(&self) -> usize {
        let hubs: Vec<_> = self.broker.hubs.lock().clone();
        let counts = hubs.iter().map(|hub| hub.address.send(OpenConnections));
        let counts = future::join_all(counts).await;
        counts.into_iter().map(Result::unwrap_or_default).sum()
    }
}
