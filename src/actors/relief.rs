//! Makes room: what is cheapest to lose goes first, before an account is full and when somebody finds it full
//! (`docs/architecture.md §6a`).

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    actors::{
        accounts::{Account, Kind, Relief},
        broker::Broker,
    },
    ids::AppId,
    limits::{NEARLY_FULL, RELIEF_PAUSE},
};

/// From time to time: of an app that is nearly full, windows of channels that nobody is attached to go, then the oldest of its
/// other windows. When the server is, windows that nobody is attached to go, those of the app first that has most, then its
/// oldest messages, then the states of connections gone longest.
pub fn relieve(broker: &Broker) {
    let is_tight = |account: &Account| account.is_nearly_full(Kind::Window, NEARLY_FULL);
    for (app, account) in broker.accounts.apps() {
        while is_tight(&account) && broker.directory.relieve(Some(app), broker) {}
        if is_tight(&account) {
            shrink(broker, Some(app));
        }
    }
    let server = broker.accounts.server();
    while is_tight(server) && broker.directory.relieve(None, broker) {}
    if is_tight(server) {
        shrink(broker, None);
    }
    while server.is_nearly_full(Kind::Connection, NEARLY_FULL) && broker.connections.shed() {}
}

/// The oldest messages of an app go, or of the one that has most. Whether any did.
pub(in crate::actors) fn shrink(broker: &Broker, app: Option<AppId>) -> bool {
    let app = app.or_else(|| broker.accounts.largest(Kind::Window));
    app.is_some_and(|app| broker.log.shrink(app, broker.clock.uptime()))
}

/// Has whoever finds no room in the accounts of `broker` make some.
pub fn at_once(broker: &Arc<Broker>) {
    let relief = AtOnce { broker: Arc::downgrade(broker), fruitless: AtomicU64::new(u64::MAX) };
    broker.accounts.server().relieve_by(Box::new(relief));
}

struct AtOnce {
    broker: Weak<Broker>,
    /// When there was nothing to be had of the whole server the last time (monotonic, in milliseconds).
    fruitless: AtomicU64,
}

impl Relief for AtOnce {
    fn relieve(&self, app: Option<AppId>) -> bool {
        let Some(broker) = self.broker.upgrade() else { return false };
        if app.is_some() {
            return broker.directory.relieve(app, &broker) || shrink(&broker, app);
        }
        // All apps are looked at for it.
        let now = broker.clock.uptime().as_millis() as u64;
        if now.abs_diff(self.fruitless.load(Ordering::Relaxed)) < RELIEF_PAUSE.as_millis() as u64 {
            return false;
        }
        let is_any = broker.directory.relieve(None, &broker) || shrink(&broker, None) || broker.connections.shed();
        if !is_any {
            self.fruitless.store(now, Ordering::Relaxed);
        }
        is_any
    }
}
