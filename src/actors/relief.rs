//! Makes room before an account is full: what is cheapest to lose goes first (`docs/architecture.md §6a`).

use crate::{
    actors::{
        accounts::{Account, Kind},
        broker::Broker,
    },
    limits::NEARLY_FULL,
};

/// From time to time: of an app that is nearly full, windows of channels that nobody is attached to go, then the oldest of its
/// other windows. When the server is, windows that nobody is attached to go, those of the app first that has most, then its
/// oldest messages, then the states of connections gone longest.
pub fn relieve(broker: &Broker) {
    let is_tight = |account: &Account| account.is_nearly_full(Kind::Window, NEARLY_FULL);
    for (app, account) in broker.accounts.apps() {
        while is_tight(&account) && broker.directory.relieve(Some(app), broker) {}
        if is_tight(&account) {
            broker.log.shrink(app, broker.clock.uptime());
        }
    }
    let server = broker.accounts.server();
    while is_tight(server) && broker.directory.relieve(None, broker) {}
    if let Some(largest) = broker.accounts.largest(Kind::Window).filter(|_| is_tight(server)) {
        broker.log.shrink(largest, broker.clock.uptime());
    }
    while server.is_nearly_full(Kind::Connection, NEARLY_FULL) && broker.connections.shed() {}
}
