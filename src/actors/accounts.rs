//! The accounts of one server (`docs/architecture.md §6a`): where the account of an app or of a client is found.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

pub use crate::core::budget::{Account, Charge, Full, Kind};
use crate::{
    core::budget::Level,
    ids::{AppId, Network},
};

/// Bytes that may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub server: usize,
    pub app: usize,
    pub network: usize,
    pub client: usize,
}

/// Bytes that are kept, by the name of their kind.
pub type KeptFigures = [(&'static str, u64); Kind::ALL.len()];

/// The server's account and those of its apps and of the networks that their clients come from.
pub struct Accounts {
    server: Account,
    apps: Mutex<HashMap<AppId, App>>,
    network: AtomicUsize,
    app: AtomicUsize,
    client: AtomicUsize,
}

struct App {
    account: Account,
    networks: HashMap<Network, Account>,
}

impl Accounts {
    pub fn new(shares: Shares) -> Self {
        Self {
            server: Account::server(shares.server),
            apps: Mutex::default(),
            app: AtomicUsize::new(shares.app),
            network: AtomicUsize::new(shares.network),
            client: AtomicUsize::new(shares.client),
        }
    }

    /// Other shares from now on. What is kept beyond them stays, and accounts of clients that are there keep theirs.
    pub fn set_shares(&self, shares: Shares) {
        self.server.set_limit(shares.server);
        self.app.store(shares.app, Ordering::Relaxed);
        self.network.store(shares.network, Ordering::Relaxed);
        self.client.store(shares.client, Ordering::Relaxed);
        for app in self.apps.lock().values() {
            app.account.set_limit(shares.app);
            for network in app.networks.values() {
                network.set_limit(shares.network);
            }
        }
    }

    pub const fn server(&self) -> &Account {
        &self.server
    }

    /// What the server keeps for all clients together.
    pub fn figures(&self) -> KeptFigures {
        Kind::ALL.map(|kind| (kind.name(), self.server.kept_of(kind) as u64))
    }

    pub fn app(&self, id: AppId) -> Account {
        self.open_app(&mut self.apps.lock(), id).account.clone()
    }

    /// An account for a new client of an app. Without a network such clients are bounded by the app's share alone, all together.
    pub fn client(&self, id: AppId, network: Option<Network>) -> Account {
        let share = self.client.load(Ordering::Relaxed);
        let mut apps = self.apps.lock();
        let app = self.open_app(&mut apps, id);
        let above = match network {
            None => &app.account,
            Some(network) => {
                // Whoever adds sweeps, when it pays: the map never holds more than twice what it must.
                if app.networks.len() == app.networks.capacity() {
                    app.networks.retain(|_, account| account.is_used());
                }
                let limit = self.network.load(Ordering::Relaxed);
                app.networks.entry(network).or_insert_with(|| app.account.open(Level::Network, limit))
            }
        };
        above.open(Level::Client, share)
    }

    fn open_app<'a>(&self, apps: &'a mut HashMap<AppId, App>, id: AppId) -> &'a mut App {
        if apps.len() == apps.capacity() {
            apps.retain(|_, app| {
                app.networks.retain(|_, account| account.is_used());
                app.account.is_used()
            });
        }
        apps.entry(id).or_insert_with(|| App {
            account: self.server.open(Level::App, self.app.load(Ordering::Relaxed)),
            networks: HashMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(address: &str) -> Option<Network> {
        Some(Network::of(address.parse::<IpAddr>().unwrap()))
    }

    #[test]
    fn clients_of_one_network_share_and_those_of_others_do_not() {
        let accounts = Accounts::new(Shares { server: 1_000, app: 600, network: 200, client: 150 });
        let app = AppId::random();
        let one = accounts.client(app, network("10.0.0.1"));
        let two = accounts.client(app, network("10.0.0.1"));
        let other = accounts.client(app, network("10.0.0.2"));
        let charges = [one.charge(Kind::Outbox, 150), other.charge(Kind::Outbox, 150)];
        assert!(charges.iter().all(Result::is_ok));
        assert_eq!(one.charge(Kind::Outbox, 1).err().unwrap().level, Level::Client);
        assert_eq!(two.charge(Kind::Outbox, 51).err().unwrap().level, Level::Network);
        assert_eq!((accounts.app(app).kept(), accounts.server().kept()), (300, 300));
        accounts.set_shares(Shares { server: 300, app: 600, network: 400, client: 150 });
        assert_eq!(two.charge(Kind::Outbox, 51).err().unwrap().level, Level::Server);
    }

    #[test]
    fn accounts_that_nobody_uses_are_forgotten() {
        let accounts = Accounts::new(Shares { server: 1_000, app: 600, network: 200, client: 150 });
        let app = AppId::random();
        for number in 0..1_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            drop(accounts.client(app, Some(Network::of(address))));
        }
        let apps = accounts.apps.lock();
        assert!(apps[&app].networks.len() < 20, "{}", apps[&app].networks.len());
    }
}
