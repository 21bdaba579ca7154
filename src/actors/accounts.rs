//! The accounts of one server (`docs/architecture.md §6a`): where the account of an app or of a client is found.

use std::collections::HashMap;

use parking_lot::Mutex;

pub use crate::core::budget::{Account, AppAccounts, Charge, Full, Kind, Relief, Tab};
use crate::{
    core::budget::Level,
    ids::{AppId, Network},
    limits,
    live::Live,
};

/// Bytes that may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub server: usize,
    pub app: usize,
    pub network: usize,
    pub client: usize,
    /// Of these, windows of channels: of all apps, and of one.
    pub windows: [usize; 2],
    /// Bodies of requests that are read: of one app, and of all whose app is not known yet.
    pub bodies: usize,
}

/// Bytes that are kept, by the name of their kind.
pub type KeptFigures = [(&'static str, u64); Kind::ALL.len()];

/// The server's account and those of its apps and of the networks that their clients come from.
#[derive(Debug)]
pub struct Accounts {
    server: Account,
    /// Of plain HTTP connections, and of requests whose app is not known yet.
    requests: Mutex<App>,
    apps: Mutex<HashMap<AppId, App>>,
    shares: Live<Shares>,
}

#[derive(Debug)]
struct App {
    account: Account,
    networks: HashMap<Network, Account>,
}

impl App {
    fn new(account: Account) -> Self {
        Self { account, networks: HashMap::new() }
    }

    /// The account of one of its networks; its own without one.
    fn network(&mut self, network: Option<Network>, limit: usize, bound: impl FnOnce(&Account)) -> &Account {
        let Some(network) = network else { return &self.account };
        // Whoever adds sweeps, when it pays: the map never holds more than twice what it must.
        if self.networks.len() == self.networks.capacity() {
            self.networks.retain(|_, account| account.is_used());
        }
        self.networks.entry(network).or_insert_with(|| {
            let account = self.account.open(Level::Network, limit);
            bound(&account);
            account
        })
    }
}

impl Shares {
    fn bound_server(&self, account: &Account) {
        account.set_limit(self.server);
        account.bound(Kind::Window, self.windows[0]);
        account.bound(Kind::Store, limits::STORE_CHANNELS_BYTES);
    }

    fn bound_app(&self, account: &Account) {
        account.set_limit(self.app);
        account.bound(Kind::Window, self.windows[1]);
        account.bound(Kind::Store, limits::STORE_CHANNELS_BYTES / 2);
        account.bound(Kind::RequestBody, self.bodies);
    }

    /// For requests whose app is not known yet.
    fn bound_network(&self, account: &Account) {
        account.set_limit(self.network);
        account.bound(Kind::RequestBody, self.bodies / 2);
    }
}

impl Accounts {
    pub fn new(shares: Shares) -> Self {
        let server = Account::server(shares.server);
        let requests = App::new(server.open(Level::Requests, shares.app));
        let accounts =
            Self { server, requests: Mutex::new(requests), apps: Mutex::default(), shares: Live::new(shares) };
        accounts.set_shares(shares);
        accounts
    }

    /// Other shares from now on. What is kept beyond them stays, and accounts of clients that are there keep theirs.
    pub fn set_shares(&self, shares: Shares) {
        self.shares.set(shares);
        shares.bound_server(&self.server);
        let requests = self.requests.lock();
        shares.bound_app(&requests.account);
        requests.networks.values().for_each(|network| shares.bound_network(network));
        drop(requests);
        for app in self.apps.lock().values() {
            shares.bound_app(&app.account);
            app.networks.values().for_each(|network| network.set_limit(shares.network));
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

    /// The apps that have an account.
    pub fn apps(&self) -> Vec<(AppId, Account)> {
        self.apps.lock().iter().map(|(id, app)| (*id, app.account.clone())).collect()
    }

    /// The app that keeps most of a kind.
    pub fn largest(&self, kind: Kind) -> Option<AppId> {
        let apps = self.apps.lock();
        apps.iter().max_by_key(|(_, app)| app.account.kept_of(kind)).map(|(id, _)| *id)
    }

    /// An account for a new client of an app. Without a network such clients are bounded by the app's share alone, all together.
    pub fn client(&self, id: AppId, network: Option<Network>) -> Account {
        let shares = self.shares.get();
        let mut apps = self.apps.lock();
        let app = self.open_app(&mut apps, id);
        app.network(network, shares.network, |_| {}).open(Level::Client, shares.client)
    }

    /// The account of a network for requests whose app is not known yet; without a network, that of all of them.
    pub fn requests(&self, network: Option<Network>) -> Account {
        let shares = self.shares.get();
        self.requests.lock().network(network, shares.network, |account| shares.bound_network(account)).clone()
    }

    fn open_app<'a>(&self, apps: &'a mut HashMap<AppId, App>, id: AppId) -> &'a mut App {
        if apps.len() == apps.capacity() {
            apps.retain(|_, app| {
                app.networks.retain(|_, account| account.is_used());
                app.account.is_used()
            });
        }
        apps.entry(id).or_insert_with(|| {
            let shares = self.shares.get();
            let account = self.server.open_app(id, shares.app);
            shares.bound_app(&account);
            App::new(account)
        })
    }
}

impl AppAccounts for Accounts {
    fn of_app(&self, id: AppId) -> Account {
        self.app(id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const SHARES: Shares =
        Shares { server: 1_000, app: 600, network: 200, client: 150, windows: [500, 400], bodies: 100 };

    fn network(address: &str) -> Option<Network> {
        Some(Network::of(address.parse::<IpAddr>().unwrap()))
    }

    #[test]
    fn clients_of_one_network_share_and_those_of_others_do_not() {
        let accounts = Accounts::new(SHARES);
        let app = AppId::random();
        let one = accounts.client(app, network("10.0.0.1"));
        let two = accounts.client(app, network("10.0.0.1"));
        let other = accounts.client(app, network("10.0.0.2"));
        let charges = [one.charge(Kind::Outbox, 150), other.charge(Kind::Outbox, 150)];
        assert!(charges.iter().all(Result::is_ok));
        assert_eq!(one.charge(Kind::Outbox, 1).err().unwrap().level, Level::Client);
        assert_eq!(two.charge(Kind::Outbox, 51).err().unwrap().level, Level::Network);
        assert_eq!((accounts.app(app).kept(), accounts.server().kept()), (300, 300));
        accounts.set_shares(Shares { server: 300, network: 400, ..SHARES });
        assert_eq!(two.charge(Kind::Outbox, 51).err().unwrap().level, Level::Server);
    }

    /// Before an app is known its place is taken by one account for all, with bounds of its own for what is read; however many
    /// networks take all that they may, the next one finds something.
    #[test]
    fn requests_of_one_network_share_and_leave_the_apps_alone() {
        let accounts = Accounts::new(SHARES);
        let (one, other) = (accounts.requests(network("10.0.0.1")), accounts.requests(network("10.0.0.2")));
        let kept = one.charge(Kind::RequestBody, 50);
        assert_eq!(one.charge(Kind::RequestBody, 1).err().unwrap().level, Level::Network);
        assert!(one.charge(Kind::PlainConnection, 150).is_ok());
        let more = other.charge(Kind::RequestBody, 25);
        assert_eq!(other.charge(Kind::RequestBody, 1).err().unwrap().level, Level::Network);
        assert!(more.is_ok() && accounts.requests(network("10.0.0.3")).charge(Kind::RequestBody, 12).is_ok());
        let app = AppId::random();
        assert!(accounts.app(app).charge(Kind::RequestBody, 100).is_ok());
        let window = accounts.app(app).charge(Kind::Window, 1);
        assert_eq!(accounts.largest(Kind::Window), Some(app));
        drop((kept, more, window));
        assert_eq!(accounts.server().kept(), 0);
    }

    #[test]
    fn accounts_that_nobody_uses_are_forgotten() {
        let accounts = Accounts::new(SHARES);
        let app = AppId::random();
        for number in 0..1_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            drop(accounts.client(app, Some(Network::of(address))));
        }
        let apps = accounts.apps.lock();
        assert!(apps[&app].networks.len() < 20, "{}", apps[&app].networks.len());
    }
}
