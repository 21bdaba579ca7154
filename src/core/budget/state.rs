//! The counters of one account, and how much they may be.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use super::{Account, Full, Kind, Level, Relief};
use crate::{ids::AppId, limits::NEARLY_FULL};

pub(super) struct State {
    pub level: Level,
    /// Whose it is, of an app's.
    pub app: Option<AppId>,
    pub above: Option<Account>,
    /// Of the server's account, for all below it.
    pub relief: OnceLock<Box<dyn Relief>>,
    pub limit: AtomicUsize,
    pub kept: AtomicUsize,
    pub by_kind: [Tally; Kind::ALL.len()],
}

/// What is kept of one kind, and how much it may be.
pub(super) struct Tally {
    pub kept: AtomicUsize,
    pub bound: AtomicUsize,
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
    pub fn allowance(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        let (Level::App | Level::Network, Some(Account(above))) = (self.level, &self.above) else {
            return limit;
        };
        let others = |kept: fn(&Self) -> usize| kept(above).saturating_sub(kept(self));
        let windows = if self.level == Level::Network { others(|state| state.kept_of(Kind::Window)) } else { 0 };
        let taken = others(|state| state.kept.load(Ordering::Relaxed)).saturating_sub(windows);
        part_of_rest(limit, above.limit.load(Ordering::Relaxed), taken)
    }

    pub fn kept_of(&self, kind: Kind) -> usize {
        self.by_kind[kind as usize].kept.load(Ordering::Relaxed)
    }

    /// What it may keep of one kind. Of what waits for the disk an app has its share of what the others have left, of bodies
    /// whose app is not known yet a network.
    pub fn bound_of(&self, kind: Kind) -> usize {
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
    pub fn reserve(&self, kind: Kind, bytes: usize, limit: usize) -> usize {
        let rest = limit - limit / 100 * NEARLY_FULL;
        if kind == Kind::Window && self.kept_of(kind).saturating_add(bytes) > rest { rest } else { 0 }
    }

    pub fn take(&self, kind: Kind, bytes: usize, freed: usize) -> Result<(), Full> {
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

    pub fn give_back(&self, kind: Kind, bytes: usize) {
        self.by_kind[kind as usize].kept.fetch_sub(bytes, Ordering::Relaxed);
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}
