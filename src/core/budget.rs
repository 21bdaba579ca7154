//! One account for everything that is kept for clients (`docs/architecture.md §6a`).
//!
//! Accounts form a tree: the server's, one of each app, one of each network within it, one of each connection or user. What is
//! kept for an owner is charged in bytes to its account and so to all above, before it is kept. Who is over its share is
//! refused, and nobody else.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    error::{CloseReason, Fault},
    ids::AppId,
    limits::NEARLY_FULL,
};

mod tab;

pub use tab::Tab;

/// What is kept; `docs/architecture.md §6a` says which of them are charged by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Frames that wait for their socket, a backlog and a presence sync among them.
    Outbox,
    /// Plain HTTP connections.
    PlainConnection,
    /// Bodies of requests that are read.
    RequestBody,
    /// Answers to requests that the client has not taken yet.
    Answer,
    /// Messages of WebSockets that are not whole yet, and requests that wait for those before them.
    Inbound,
    /// Channels: each that is open, with the first bytes of its window.
    Channel,
    /// The newest entries of channels, beyond those first bytes.
    Window,
    /// Members and their data.
    Presence,
    /// Connections, also those that are gone and may come back, with the names that they know channels by.
    Connection,
    /// Ids of messages that were published, of token requests that were spent.
    SeenIds,
    /// What the annotations of messages come to.
    Summaries,
    Revocations,
    /// What waits for a user who is away, and pushes that are not due yet.
    Mailbox,
    /// Frames of files that their receiver may ask for again, and what is known of transfers.
    Transfer,
    /// Apps that were made by requests.
    App,
    /// Messages that have grown by appends.
    Versions,
    /// What channels have to write, until it is on disk.
    Store,
    /// Objects of channels, and their pages as clients are sent them.
    Objects,
    /// Groups of the group protocol, and their members.
    Membership,
}

impl Kind {
    pub const ALL: [Self; 19] = [
        Self::Outbox,
        Self::PlainConnection,
        Self::RequestBody,
        Self::Answer,
        Self::Inbound,
        Self::Channel,
        Self::Window,
        Self::Presence,
        Self::Connection,
        Self::SeenIds,
        Self::Summaries,
        Self::Revocations,
        Self::Mailbox,
        Self::Transfer,
        Self::App,
        Self::Versions,
        Self::Store,
        Self::Objects,
        Self::Membership,
    ];

    /// As metrics and refusals name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::PlainConnection => "plain_connection",
            Self::RequestBody => "request_body",
            Self::Answer => "answer",
            Self::Inbound => "inbound",
            Self::Channel => "channel",
            Self::Window => "window",
            Self::Presence => "presence",
            Self::Connection => "connection",
            Self::SeenIds => "seen_ids",
            Self::Summaries => "summaries",
            Self::Revocations => "revocations",
            Self::Mailbox => "mailbox",
            Self::Transfer => "transfer",
            Self::App => "app",
            Self::Versions => "versions",
            Self::Store => "store",
            Self::Objects => "objects",
            Self::Membership => "membership",
        }
    }
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Server,
    App,
    /// All whose app is not known yet: plain HTTP connections and what they ask.
    Requests,
    /// An IPv4 address or an IPv6 /64.
    Network,
    /// A connection, or a user of a protocol that has no connections which outlive their socket.
    Client,
    /// All mailboxes of a protocol: what waits in them on disk. It stands beside the tree, which is about memory.
    Mailboxes,
}

impl Level {
    const fn owner(self) -> &'static str {
        match self {
            Self::Server => "the server",
            Self::App => "the app",
            Self::Requests => "the server, for requests whose app is not known yet,",
            Self::Network => "the client's network",
            Self::Client => "the client",
            Self::Mailboxes => "the data folder",
        }
    }
}

/// A charge is refused: this account has no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} keeps all that it may: {} bytes ({}; {})", .level.owner(), .limit, .kind.name(), .setting)]
pub struct Full {
    pub level: Level,
    pub kind: Kind,
    pub limit: usize,
    /// What allows more.
    pub setting: &'static str,
}

impl Level {
    /// What allows more in all.
    const fn setting(self) -> &'static str {
        match self {
            Self::Server | Self::Requests => "limits.memory",
            Self::App => "limits.app_share",
            Self::Network => "limits.network_share",
            Self::Client => "limits.client_memory",
            Self::Mailboxes => "another limit of what waits in mailboxes",
        }
    }
}

impl Kind {
    /// What allows more of this kind, where it has a bound of its own.
    const fn setting(self) -> &'static str {
        match self {
            Self::Window => "history.total_bytes",
            Self::Store => "data.dir on a faster disk",
            _ => "limits.memory",
        }
    }
}

impl Full {
    /// Whether other kinds can make room: it is the account that is full, not the part that this kind may have of it.
    fn is_of_all(self) -> bool {
        self.setting == self.level.setting() && self.kind != Kind::Window
    }

    /// What a client is told of it.
    pub const fn to_fault(self) -> Fault {
        let Self { level, kind, limit, setting } = self;
        Fault::MemoryFull { whose: level.owner(), kind: kind.name(), limit, setting }
    }

    /// How a connection ends that cannot go on without it.
    pub const fn to_close_reason(self) -> CloseReason {
        let Self { level, kind, limit, setting } = self;
        CloseReason::NoMemory { whose: level.owner(), kind: kind.name(), limit, setting }
    }
}

/// Makes room in a full account, of what is cheapest to lose.
pub trait Relief: Send + Sync {
    /// In that of an app, or in the server's. Whether it made any.
    fn relieve(&self, app: Option<AppId>) -> bool;
}

/// What an owner may make the server keep, and keeps. Clones are the same account.
#[derive(Clone)]
pub struct Account(Arc<State>);

struct State {
    level: Level,
    /// Whose it is, of an app's.
    app: Option<AppId>,
    above: Option<Account>,
    /// Of the server's account, for all below it.
    relief: OnceLock<Box<dyn Relief>>,
    limit: AtomicUsize,
    kept: AtomicUsize,
    by_kind: [Tally; Kind::ALL.len()],
}

/// What is kept of one kind, and how much it may be.
struct Tally {
    kept: AtomicUsize,
    bound: AtomicUsize,
}

impl Default for Tally {
    fn default() -> Self {
        Self { kept: AtomicUsize::new(0), bound: AtomicUsize::new(usize::MAX) }
    }
}

/// Adds, unless it would be more than `limit` without the `freed` bytes that are given back next.
fn add_within(kept: &AtomicUsize, bytes: usize, freed: usize, limit: usize) -> bool {
    let room = |kept: usize| kept.checked_add(bytes).filter(|kept| kept.saturating_sub(freed) <= limit);
    kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
}

/// Of `part` of `all` what is left when others have taken so much.
fn part_of_rest(part: usize, all: usize, taken: usize) -> usize {
    let left = part as u128 * all.saturating_sub(taken) as u128 / all.max(1) as u128;
    usize::try_from(left).unwrap_or(part)
}

impl State {
    /// What it may keep now. An app has its share of what the other apps have left of the server's memory, a network of what
    /// the others have left of its app's: however many take all that they may, there is something for the next. Windows of an
    /// app take nothing from its networks: they give way.
    fn allowance(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        let (Level::App | Level::Network, Some(Account(above))) = (self.level, &self.above) else { return limit };
        let others = |kept: fn(&Self) -> usize| kept(above).saturating_sub(kept(self));
        let windows = if self.level == Level::Network { others(|state| state.kept_of(Kind::Window)) } else { 0 };
        let taken = others(|state| state.kept.load(Ordering::Relaxed)).saturating_sub(windows);
        part_of_rest(limit, above.limit.load(Ordering::Relaxed), taken)
    }

    fn kept_of(&self, kind: Kind) -> usize {
        self.by_kind[kind as usize].kept.load(Ordering::Relaxed)
    }

    /// What it may keep of one kind. Of what waits for the disk an app has its share of what the others have left, of bodies
    /// whose app is not known yet a network.
    fn bound_of(&self, kind: Kind) -> usize {
        let bound = |state: &Self| state.by_kind[kind as usize].bound.load(Ordering::Relaxed);
        match (kind, self.level, &self.above) {
            (Kind::Store, Level::App, Some(Account(above)))
            | (Kind::RequestBody, Level::Network, Some(Account(above))) => {
                part_of_rest(bound(self), bound(above), above.kept_of(kind).saturating_sub(self.kept_of(kind)))
            }
            _ => bound(self),
        }
    }

    /// Windows leave a tenth of it to everything else; when that takes all, they may have a tenth themselves.
    fn reserve(&self, kind: Kind, bytes: usize, limit: usize) -> usize {
        let rest = limit - limit / 100 * NEARLY_FULL;
        if kind == Kind::Window && self.kept_of(kind).saturating_add(bytes) > rest { rest } else { 0 }
    }

    fn take(&self, kind: Kind, bytes: usize, freed: usize) -> Result<(), Full> {
        let tally = &self.by_kind[kind as usize];
        let (limit, bound) = (self.allowance(), self.bound_of(kind));
        let level = self.level;
        if !add_within(&self.kept, bytes, freed, limit - self.reserve(kind, bytes, limit)) {
            return Err(Full { level, kind, limit, setting: level.setting() });
        }
        if !add_within(&tally.kept, bytes, freed, bound) {
            self.kept.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full { level, kind, limit: bound, setting: kind.setting() });
        }
        Ok(())
    }

    fn give_back(&self, kind: Kind, bytes: usize) {
        self.by_kind[kind as usize].kept.fetch_sub(bytes, Ordering::Relaxed);
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where the account of an app is found.
pub trait AppAccounts: fmt::Debug + Send + Sync {
    fn of_app(&self, id: AppId) -> Account;
}

/// One for all apps.
impl AppAccounts for Account {
    fn of_app(&self, _: AppId) -> Account {
        self.clone()
    }
}

/// Pays for what lies beside it; given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Charge {
    account: Account,
    kind: Kind,
    bytes: usize,
}

impl Account {
    /// The server's.
    pub fn server(limit: usize) -> Self {
        Self::make(Level::Server, None, limit, None)
    }

    /// What waits in all mailboxes of a protocol.
    pub fn mailboxes(limit: usize) -> Self {
        Self::make(Level::Mailboxes, None, limit, None)
    }

    /// One below this one.
    pub fn open(&self, level: Level, limit: usize) -> Self {
        Self::make(level, None, limit, Some(self.clone()))
    }

    /// That of an app.
    pub fn open_app(&self, app: AppId, limit: usize) -> Self {
        Self::make(Level::App, Some(app), limit, Some(self.clone()))
    }

    fn make(level: Level, app: Option<AppId>, limit: usize, above: Option<Self>) -> Self {
        let (limit, kept, relief) = (AtomicUsize::new(limit), AtomicUsize::new(0), OnceLock::new());
        Self(Arc::new(State { level, app, above, relief, limit, kept, by_kind: Default::default() }))
    }

    /// Who makes room from now on, in this account and those below it, when a charge of another kind than windows finds none.
    /// So such a charge is made where neither the channels that have an actor nor a window are locked.
    pub fn relieve_by(&self, relief: Box<dyn Relief>) {
        // The first one stays.
        let _ = self.0.relief.set(relief);
    }

    /// From now on; what is kept beyond it stays.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// The same for one kind alone.
    pub fn bound(&self, kind: Kind, bytes: usize) {
        self.0.by_kind[kind as usize].bound.store(bytes, Ordering::Relaxed);
    }

    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// The account above, of a client; otherwise this one.
    pub fn above_client(&self) -> Self {
        match &self.0.above {
            Some(above) if self.0.level == Level::Client => above.clone(),
            _ => self.clone(),
        }
    }

    /// What it may keep while the accounts beside it keep what they do.
    pub fn allowance(&self) -> usize {
        self.0.allowance()
    }

    /// Whether it keeps more than so many hundredths of what it may, in all or of a kind.
    pub fn is_nearly_full(&self, kind: Kind, hundredths: usize) -> bool {
        let bound = self.0.by_kind[kind as usize].bound.load(Ordering::Relaxed);
        let is_over = |kept: usize, limit: usize| kept > limit / 100 * hundredths;
        is_over(self.kept(), self.allowance()) || is_over(self.kept_of(kind), bound)
    }

    /// Bytes of all kinds, those of the accounts below included.
    pub fn kept(&self) -> usize {
        self.0.kept.load(Ordering::Relaxed)
    }

    pub fn kept_of(&self, kind: Kind) -> usize {
        self.0.kept_of(kind)
    }

    /// Whether anything is kept, or anybody else holds this account.
    pub fn is_used(&self) -> bool {
        self.kept() > 0 || Arc::strong_count(&self.0) > 1
    }

    /// Pays for `bytes` that are about to be kept.
    ///
    /// # Errors
    /// [`Full`]: whose account has no room for them. Nothing is charged then.
    pub fn charge(&self, kind: Kind, bytes: usize) -> Result<Charge, Full> {
        self.charge_instead(kind, bytes, 0)
    }

    /// The same for what takes the place of something whose charge, of `freed` bytes in this account, is dropped next.
    ///
    /// # Errors
    /// [`Full`], as if that had been given back already.
    pub fn charge_instead(&self, kind: Kind, bytes: usize, freed: usize) -> Result<Charge, Full> {
        self.take_or_relieve(kind, bytes, freed)?;
        Ok(Charge { account: self.clone(), kind, bytes })
    }

    /// Pays for what is there already, whatever the limit: a lower one loses nothing, and what comes next is refused.
    pub fn charge_anyway(&self, kind: Kind, bytes: usize) -> Charge {
        self.take_anyway(kind, bytes);
        Charge { account: self.clone(), kind, bytes }
    }

    fn line(&self) -> impl Iterator<Item = &State> {
        std::iter::successors(Some(&*self.0), |state| state.above.as_ref().map(|above| &*above.0))
    }

    /// Nobody is refused before what is cheapest to lose has gone.
    fn take_or_relieve(&self, kind: Kind, bytes: usize, freed: usize) -> Result<(), Full> {
        loop {
            match self.take(kind, bytes, freed) {
                Err(full) if full.is_of_all() && self.makes_room(full.level) => {}
                outcome => return outcome,
            }
        }
    }

    fn makes_room(&self, level: Level) -> bool {
        let app = match level {
            Level::Server => None,
            Level::App => match self.line().find_map(|state| state.app) {
                None => return false,
                app => app,
            },
            Level::Requests | Level::Network | Level::Client | Level::Mailboxes => return false,
        };
        self.line().last().and_then(|server| server.relief.get()).is_some_and(|relief| relief.relieve(app))
    }

    fn take(&self, kind: Kind, bytes: usize, freed: usize) -> Result<(), Full> {
        for (depth, state) in self.line().enumerate() {
            if let Err(full) = state.take(kind, bytes, freed) {
                self.line().take(depth).for_each(|below| below.give_back(kind, bytes));
                return Err(full);
            }
        }
        Ok(())
    }

    fn take_anyway(&self, kind: Kind, bytes: usize) {
        // Cannot fail: without all that there is nothing is over its limit.
        let _ = self.take(kind, bytes, usize::MAX);
    }

    fn give_back(&self, kind: Kind, bytes: usize) {
        self.line().for_each(|state| state.give_back(kind, bytes));
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} keeps {} of {}", self.0.level, self.kept(), self.limit())
    }
}

impl Charge {
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pays for `bytes` in all from now on.
    ///
    /// # Errors
    /// [`Full`] when there is no room for more; the charge stays as it is.
    pub fn set(&mut self, bytes: usize) -> Result<(), Full> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.take_or_relieve(self.kind, more, 0)?,
            None => self.account.give_back(self.kind, self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Pays for more ahead of its need: nothing has to go for that.
    pub(super) fn set_ahead(&mut self, bytes: usize) -> Result<(), Full> {
        self.account.take(self.kind, bytes.saturating_sub(self.bytes), 0)?;
        self.bytes = self.bytes.max(bytes);
        Ok(())
    }

    /// The same whatever the limit, for what is there already.
    pub fn set_anyway(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.take_anyway(self.kind, more),
            None => self.account.give_back(self.kind, self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.kind, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Charge { client: usize, kind: usize, bytes: usize },
        Set { charge: usize, bytes: usize },
        GiveBack { charge: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = 0..120_usize;
        let step = prop_oneof![
            3 => (0..4_usize, 0..Kind::ALL.len(), bytes.clone())
                .prop_map(|(client, kind, bytes)| Step::Charge { client, kind, bytes }),
            1 => (0..20_usize, bytes).prop_map(|(charge, bytes)| Step::Set { charge, bytes }),
            2 => (0..20_usize).prop_map(|charge| Step::GiveBack { charge }),
        ];
        proptest::collection::vec(step, 1..80)
    }

    /// What `account` must keep by the charges that are held: those of the clients below it.
    fn held(charges: &[(usize, Charge)], clients: &[usize], kind: Option<Kind>) -> usize {
        let of_account = charges
            .iter()
            .filter(|(client, charge)| clients.contains(client) && kind.is_none_or(|kind| kind == charge.kind));
        of_account.map(|(_, charge)| charge.bytes()).sum()
    }

    proptest! {
        /// Two apps of two clients each. The sum of what is held is what each account keeps; none is ever over its limit;
        /// who is refused is told an account of its own line that has no room.
        #[test]
        fn charges_are_exact_and_shares_hold(steps in steps()) {
            let server = Account::server(300);
            let apps = [server.open(Level::App, 200), server.open(Level::App, 250)];
            let clients: Vec<Account> = (0..4).map(|n| apps[n / 2].open(Level::Client, 100 + 20 * n)).collect();
            let mut charges: Vec<(usize, Charge)> = Vec::new();
            for step in steps {
                let refused = match step {
                    Step::Charge { client, kind, bytes } => match clients[client].charge(Kind::ALL[kind], bytes) {
                        Ok(charge) => { charges.push((client, charge)); None }
                        Err(full) => Some((client, bytes, full)),
                    },
                    Step::Set { charge, bytes } => charges.get_mut(charge).and_then(|(client, charge)| {
                        let more = bytes.saturating_sub(charge.bytes());
                        charge.set(bytes).err().map(|full| (*client, more, full))
                    }),
                    Step::GiveBack { charge } => {
                        if charge < charges.len() {
                            drop(charges.swap_remove(charge));
                        }
                        None
                    }
                };
                let accounts = [(&server, vec![0, 1, 2, 3]), (&apps[0], vec![0, 1]), (&apps[1], vec![2, 3])];
                let own = clients.iter().enumerate().map(|(n, client)| (client, vec![n]));
                for (account, below) in accounts.into_iter().chain(own) {
                    prop_assert_eq!(account.kept(), held(&charges, &below, None));
                    prop_assert!(account.kept() <= account.limit());
                    for kind in Kind::ALL {
                        prop_assert_eq!(account.kept_of(kind), held(&charges, &below, Some(kind)));
                    }
                }
                if let Some((client, bytes, full)) = refused {
                    let whose = match full.level {
                        Level::Server => &server,
                        Level::App => &apps[client / 2],
                        _ => &clients[client],
                    };
                    // Windows leave some of it to the others.
                    let reserve = whose.0.reserve(full.kind, bytes, whose.allowance());
                    prop_assert!(whose.kept() + bytes + reserve > whose.allowance(), "{full}: {whose:?}");
                }
            }
            drop(charges);
            prop_assert_eq!(server.kept(), 0);
        }
    }

    /// However many apps take all that they may, the next one finds something, and so does the next network of an app.
    #[test]
    fn the_next_one_finds_something() {
        for levels in [[Level::App, Level::Network], [Level::Network, Level::App]] {
            let above = Account::server(64 << 20);
            let mut held = Vec::new();
            for _ in 0..5 {
                let one = above.open(levels[0], 48 << 20).open(levels[1], 48 << 20);
                held.extend(std::iter::from_fn(|| one.charge(Kind::Inbound, 10_000).ok()));
            }
            let next = above.open(levels[0], 48 << 20);
            assert!(next.charge(Kind::Connection, 20_000).is_ok(), "{above:?}");
            drop(held);
            assert!(next.charge(Kind::Connection, 48 << 20).is_ok());
        }
    }

    /// Threads that charge the same account at once never take it over its limit, and leave nothing behind.
    #[test]
    fn threads_share_an_account() {
        let server = Account::server(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let client = server.open(Level::Client, 600);
                    for bytes in (0..400).cycle().take(20_000) {
                        let charge = client.charge(Kind::Outbox, bytes);
                        assert!(server.kept() <= server.limit());
                        drop(charge);
                    }
                });
            }
        });
        assert_eq!((server.kept(), server.kept_of(Kind::Outbox)), (0, 0));
    }

    /// What makes room for something else counts as gone; what is there already is never refused.
    #[test]
    fn what_takes_a_place_and_what_is_there_already() {
        let account = Account::mailboxes(100);
        let old = account.charge(Kind::Mailbox, 80).expect("room");
        assert_eq!(account.charge(Kind::Mailbox, 30).expect_err("no room").level, Level::Mailboxes);
        assert!(account.charge_instead(Kind::Mailbox, 101, old.bytes()).is_err());
        let new = account.charge_instead(Kind::Mailbox, 100, old.bytes()).expect("room");
        drop(old);
        assert_eq!(account.kept(), 100);
        let found = account.charge_anyway(Kind::Mailbox, 50);
        assert!(account.charge(Kind::Mailbox, 0).is_err(), "over its limit");
        drop((new, found));
        assert_eq!((account.kept(), account.kept_of(Kind::Mailbox)), (0, 0));
    }

    #[test]
    fn a_refusal_names_whose_limit_it_is() {
        let server = Account::server(100);
        let app = server.open(Level::App, 60);
        let kept = app.charge(Kind::Window, 50).expect("room");
        let full = app.charge(Kind::Presence, 20).expect_err("no room");
        let text = "the app keeps all that it may: 60 bytes (presence; limits.app_share)";
        assert_eq!((full.level, full.to_string()), (Level::App, text.to_owned()));
        app.set_limit(120);
        let full = app.charge(Kind::Presence, 60).expect_err("no room");
        assert_eq!((full.level, app.kept()), (Level::Server, 50));
        drop(kept);
        assert_eq!(server.kept(), 0);
    }

    /// A charge that finds an account full has somebody make room there, as often as that helps, and not where none can be made.
    #[test]
    fn who_finds_no_room_has_it_made() {
        struct Windows(Mutex<Vec<Charge>>, Option<AppId>);
        impl Relief for Windows {
            fn relieve(&self, app: Option<AppId>) -> bool {
                assert_eq!(app, self.1);
                self.0.lock().pop().is_some()
            }
        }
        for is_server in [false, true] {
            let (app, limits) = (AppId::random(), if is_server { [100, 1_000] } else { [1_000, 100] });
            let server = Account::server(limits[0]);
            let account = server.open_app(app, limits[1]);
            let client = account.open(Level::Client, 90);
            // Windows leave a tenth of it.
            let windows: Vec<Charge> = std::iter::from_fn(|| account.charge(Kind::Window, 9).ok()).collect();
            assert_eq!((windows.len(), account.kept()), (10, 90));
            server.relieve_by(Box::new(Windows(Mutex::new(windows), (!is_server).then_some(app))));
            let charge = client.charge(Kind::Outbox, 60).expect("room is made");
            assert_eq!((account.kept_of(Kind::Window), account.kept()), (36, 96));
            assert_eq!(client.charge(Kind::Outbox, 31).expect_err("its own limit").level, Level::Client);
            assert!(account.charge(Kind::Window, 9).is_err());
            assert_eq!(account.kept_of(Kind::Window), 36);
            let rest = account.charge(Kind::Presence, 40).expect("room is made");
            assert!(account.charge(Kind::Presence, 1).is_err() && account.kept_of(Kind::Window) == 0);
            drop((charge, rest));
        }
    }

    /// Of what waits for the disk each app has its share of what the others have left, and windows take nothing from networks.
    #[test]
    fn what_one_app_takes_leaves_something_to_the_others() {
        let server = Account::server(10_000);
        server.bound(Kind::Store, 100);
        let apps = [0, 1].map(|_| server.open(Level::App, 5_000));
        apps.iter().for_each(|app| app.bound(Kind::Store, 50));
        let mut held: Vec<Charge> = std::iter::from_fn(|| apps[0].charge(Kind::Store, 5).ok()).collect();
        assert_eq!(apps[0].kept(), 50);
        held.extend(std::iter::from_fn(|| apps[1].charge(Kind::Store, 5).ok()));
        assert_eq!(apps[1].kept(), 25);
        let window = apps[1].charge(Kind::Window, 4_000).expect("room");
        let network = apps[1].open(Level::Network, 1_000);
        assert!(network.charge(Kind::Connection, 900).is_ok());
        drop(window);
    }

    /// A kind that has a bound of its own leaves the rest of the account to the others.
    #[test]
    fn a_kind_may_have_a_bound_of_its_own() {
        let server = Account::server(100);
        let app = server.open(Level::App, 60);
        app.bound(Kind::Window, 20);
        let kept = app.charge(Kind::Window, 15).expect("room");
        let full = app.charge(Kind::Window, 6).expect_err("no room");
        let text = "the app keeps all that it may: 20 bytes (window; history.total_bytes)";
        assert_eq!((full.level, full.to_string(), server.kept()), (Level::App, text.to_owned(), 15));
        assert!(app.charge(Kind::Presence, 45).is_ok());
        drop(kept);
        assert_eq!((server.kept(), app.kept_of(Kind::Window)), (0, 0));
    }
}
