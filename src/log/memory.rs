//! The log in memory: everything of the last minutes, bounded per channel and in all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    core::{
        dedupe::Known,
        history::Query,
        message::Entry,
        replay::{Choice, Found, Past, Read, Wanted},
        serial::{Epoch, Mint, Serial},
        window::{Bounds, Window},
    },
    ids::ChannelName,
    log::{ChannelLog, Later, Log, PageRead},
    store::StoreError,
};

/// All windows. They live here and not in the channel actors, so that an actor that dies takes
/// nothing with it.
pub struct MemoryLog {
    windows: Mutex<HashMap<ChannelName, Arc<Mutex<Window>>>>,
    bounds: Bounds,
    budget: Arc<Budget>,
    is_sealed: Arc<AtomicBool>,
}

/// Bytes of all windows together.
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// Room in a [`Budget`] for what is no window; given back when it is dropped.
pub(super) struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// None when there is no room: no window loses anything for it.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let room = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Reserved { budget: Arc::clone(self), bytes })
    }

    /// Changes a window, and accounts for it. When memory is short, the channel that is written to loses its own
    /// oldest entries.
    pub(super) fn charge(&self, window: &mut Window, change: impl FnOnce(&mut Window)) {
        let before = window.bytes();
        change(window);
        // Two's complement: it may have become less.
        let change = window.bytes().wrapping_sub(before);
        let used = self.used.fetch_add(change, Ordering::Relaxed);
        let mut used = used.wrapping_add(change);
        while used > self.limit {
            let before = window.bytes();
            if !window.drop_oldest() {
                break;
            }
            let freed = before - window.bytes();
            used = self.used.fetch_sub(freed, Ordering::Relaxed) - freed;
        }
    }
}

impl MemoryLog {
    /// Each channel keeps what `bounds` allow, all together at most `total_bytes`.
    pub fn new(bounds: Bounds, total_bytes: usize) -> Self {
        Self {
            windows: Mutex::default(),
            bounds,
            budget: Arc::new(Budget { used: AtomicUsize::new(0), limit: total_bytes }),
            is_sealed: Arc::default(),
        }
    }

    /// From now on every append is refused: [`MemoryLog::windows`] has every entry that was acknowledged.
    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::SeqCst);
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// All windows as they are.
    pub(super) fn windows(&self) -> Vec<(ChannelName, Arc<Mutex<Window>>)> {
        let windows = self.windows.lock();
        let shared = |(name, window): (&ChannelName, &Arc<_>)| (name.clone(), Arc::clone(window));
        windows.iter().map(shared).collect()
    }

    /// Puts back a window of an earlier run.
    pub(super) fn restore(&self, name: ChannelName, entries: Vec<(Duration, Arc<Entry>)>, mut window: Window) {
        self.budget.charge(&mut window, |window| {
            for (came, entry) in entries {
                window.append(came, entry, self.bounds);
            }
        });
        self.windows.lock().insert(name, Arc::new(Mutex::new(window)));
    }

    /// Trims windows that no channel has opened, and forgets those that are empty. `now` is monotonic.
    pub(super) fn expire_unopened(&self, now: Duration) {
        self.windows.lock().retain(|_, shared| {
            if Arc::strong_count(shared) > 1 {
                return true;
            }
            let mut window = shared.lock();
            self.budget.charge(&mut window, |window| window.trim(now, self.bounds));
            !window.is_empty()
        });
    }
}

impl Log for MemoryLog {
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        let mut windows = self.windows.lock();
        let window = windows
            .entry(channel.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Window::new(Epoch::new(rand::random())))));
        Box::new(ChannelWindow {
            window: Arc::clone(window),
            bounds: self.bounds,
            budget: Arc::clone(&self.budget),
            is_sealed: Arc::clone(&self.is_sealed),
        })
    }

    fn close(&self, channel: &ChannelName) {
        let mut windows = self.windows.lock();
        if windows.get(channel).is_some_and(|window| window.lock().is_empty()) {
            windows.remove(channel);
        }
    }

    fn bytes(&self) -> usize {
        self.budget.used.load(Ordering::Relaxed)
    }
}

struct ChannelWindow {
    /// Locked for moments: by the channel's actor, and by transports that read a backlog of it.
    window: Arc<Mutex<Window>>,
    bounds: Bounds,
    budget: Arc<Budget>,
    is_sealed: Arc<AtomicBool>,
}

impl ChannelLog for ChannelWindow {
    fn mint(&self) -> Mint {
        let window = self.window.lock();
        match window.last() {
            Some(last) => Mint::resume(last),
            None => Mint::new(window.epoch()),
        }
    }

    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        _: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        let mut window = self.window.lock();
        // Under the lock: a copy of the window that is made after the seal has everything that was acknowledged.
        if self.is_sealed.load(Ordering::SeqCst) {
            return Poll::Ready(Err(StoreError::Closed));
        }
        self.budget.charge(&mut window, |window| window.append(now, entry, self.bounds));
        Poll::Ready(Ok(()))
    }

    fn remembered(&mut self) -> Vec<Known> {
        let window = self.window.lock();
        window.entries().filter_map(|entry| Known::of(entry)).collect()
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.window.lock().entries().cloned().collect()
    }

    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, _: Later<'_, Found>) -> Poll<Found> {
        Poll::Ready(self.window.lock().read(wanted, choice))
    }

    fn past(&self) -> Arc<dyn Past> {
        Arc::<Mutex<Window>>::clone(&self.window)
    }

    fn page(&self, query: &Query, _: Later<'_, PageRead>) -> Poll<PageRead> {
        let window = self.window.lock();
        let is_kept = query.until.is_none_or(|until| window.reaches(until).is_ok());
        Poll::Ready(Ok(is_kept.then(|| window.page(query))))
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut window = self.window.lock();
        self.budget.charge(&mut window, |window| window.trim(now, self.bounds));
        window.is_empty()
    }
}

impl Past for Mutex<Window> {
    fn portion(self: Arc<Self>, after: Serial, upto: Serial, choice: &Arc<Choice>, _: Later<'_, Read>) -> Poll<Read> {
        Poll::Ready(self.lock().portion(after, upto, choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::contract::{self, entry};

    fn log(channel_bytes: usize, total_bytes: usize) -> MemoryLog {
        let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: channel_bytes };
        MemoryLog::new(bounds, total_bytes)
    }

    #[test]
    fn keeps_the_contract() {
        contract::holds(|| log(1 << 20, 1 << 20));
        contract::forgets(|| log(1 << 20, 1 << 20));
    }

    #[test]
    fn the_total_is_bounded_and_accounted() {
        let log = log(1 << 20, 20_000);
        let mut channels: Vec<_> = ["a", "b", "c"].map(|name| log.open(&name.into())).into_iter().collect();
        for round in 0..200 {
            for channel in &mut channels {
                let entry = entry(&mut channel.mint(), 100);
                contract::append(&mut **channel, Duration::from_secs(round), entry);
                assert!(log.bytes() <= 20_000);
            }
        }
        assert!(log.bytes() > 0);
        for channel in &mut channels {
            assert!(channel.expire(Duration::from_secs(1_000)));
        }
        assert_eq!(log.bytes(), 0);
    }
}
