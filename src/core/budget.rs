//! One account for everything that is kept for clients (`docs/architecture.md §6a`).
//!
//! Accounts form a tree: the server's, one of each app, one of each network within it, one of each connection or user. What is
//! kept for an owner is charged in bytes to its account and so to all above, before it is kept. Who is over its share is
//! refused, and nobody else.

mod charge;
mod kinds;
mod state;
mod tab;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::ids::AppId;

use state::State;

pub use {
    charge::Charge,
    kinds::{Full, Kind, Level},
    tab::Tab,
};

/// Makes room in a full account, of what is cheapest to lose.
pub trait Relief: Send + Sync {
    /// In that of an app, or in the server's. Whether it made any.
    fn relieve(&self, app: Option<AppId>) -> bool;
}

/// What an owner may make the server keep, and keeps. Clones are the same account.
#[derive(Clone)]
pub struct Account(Arc<State>);

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

#[cfg(test)]
mod tests;
