//! The log in memory: everything of the last minutes, bounded per channel and by the account of its app.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    core::{
        budget::{Account, AppAccounts, Kind},
        dedupe::Known,
        history::Query,
        message::Entry,
        operation::MessageRef,
        replay::{Choice, Found, Past, Read, Wanted},
        serial::{Epoch, Mint, Serial},
        window::{Bounds, Window},
    },
    ids::{AppId, ChannelName},
    limits,
    log::{AnnotatedRead, ChannelLog, Later, Log, MessageRead, PageRead, kept::KeptWindow},
    store::StoreError,
};

/// Windows that have more than this to pay shrink first.
const SHRINK_ABOVE: [usize; 2] = [limits::WINDOW_STEP, 0];

/// All windows. They live here and not in the channel actors, so that an actor that dies takes
/// nothing with it.
pub struct MemoryLog {
    windows: Mutex<HashMap<ChannelName, Arc<Mutex<KeptWindow>>>>,
    bounds: Bounds,
    accounts: Arc<dyn AppAccounts>,
    /// When the windows of an app were shrunk (monotonic).
    shrunk: Mutex<HashMap<AppId, Duration>>,
    is_sealed: Arc<AtomicBool>,
}

impl MemoryLog {
    /// Each channel keeps what `bounds` allow, as far as the account of its app has room for it.
    pub fn new(bounds: Bounds, accounts: Arc<dyn AppAccounts>) -> Self {
        Self { windows: Mutex::default(), bounds, accounts, shrunk: Mutex::default(), is_sealed: Arc::default() }
    }

    /// From now on every append is refused: [`MemoryLog::windows`] has every entry that was acknowledged.
    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::SeqCst);
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Who pays for what is in memory of an app's channels.
    pub(super) fn account(&self, app: AppId) -> Account {
        self.accounts.of_app(app)
    }

    /// A window that its app pays for.
    pub(super) fn kept(&self, app: AppId, window: Window) -> KeptWindow {
        KeptWindow::new(window, self.account(app))
    }

    /// Has `shrink` shrink the windows of an app that have more to pay than it is told, first those that have much. Not when that
    /// was done in this second and was not worth it, for so many windows as it looks at beside these.
    pub(super) fn shrink_by(
        &self,
        app: AppId,
        now: Duration,
        others: usize,
        shrink: impl FnMut(usize) -> bool,
    ) -> bool {
        let mut shrunk = self.shrunk.lock();
        shrunk.retain(|_, last| now.saturating_sub(*last) < limits::RELIEF_CHECK);
        if shrunk.insert(app, now).is_some() {
            return false;
        }
        drop(shrunk);
        let account = self.account(app);
        let before = account.kept_of(Kind::Window);
        let is_any = SHRINK_ABOVE.into_iter().any(shrink);
        let freed = before.saturating_sub(account.kept_of(Kind::Window));
        if freed >= limits::SHRINK_WORTH * (self.windows.lock().len() + others) {
            self.shrunk.lock().remove(&app);
        }
        is_any
    }

    /// All windows as they are.
    pub(super) fn windows(&self) -> Vec<(ChannelName, Arc<Mutex<KeptWindow>>)> {
        let windows = self.windows.lock();
        let shared = |(name, window): (&ChannelName, &Arc<_>)| (name.clone(), Arc::clone(window));
        windows.iter().map(shared).collect()
    }

    /// The window of a channel, made at the first call.
    pub(super) fn window(&self, channel: &ChannelName) -> Arc<Mutex<KeptWindow>> {
        let mut windows = self.windows.lock();
        let window = windows.entry(channel.clone()).or_insert_with(|| {
            let window = Window::new(Epoch::new(rand::random()));
            Arc::new(Mutex::new(self.kept(channel.app(), window)))
        });
        Arc::clone(window)
    }

    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.windows.lock().contains_key(channel)
    }

    /// Puts back a window of an earlier run.
    pub(super) fn restore(&self, name: ChannelName, entries: Vec<(Duration, Arc<Entry>)>, window: Window) {
        let mut window = self.kept(name.app(), window);
        for (came, entry) in entries {
            window.append_copy(came, entry, self.bounds);
        }
        self.windows.lock().insert(name, Arc::new(Mutex::new(window)));
    }

    /// Trims windows that no channel has opened, and forgets those that are empty. `now` is monotonic.
    pub(super) fn expire_unopened(&self, now: Duration) {
        self.windows.lock().retain(|_, shared| {
            if Arc::strong_count(shared) > 1 {
                return true;
            }
            let mut window = shared.lock();
            window.trim(now, self.bounds);
            !window.is_empty()
        });
    }

    /// Shrinks the windows of an app that have more than `least` to pay; whether anything went.
    pub(super) fn shrink_windows(&self, app: AppId, least: usize) -> bool {
        let windows = self.windows.lock();
        let of_app: Vec<_> =
            windows.iter().filter(|(name, _)| name.app() == app).map(|(_, window)| window.clone()).collect();
        drop(windows);
        // All of them, not up to the first; but those that are in use just now.
        of_app.iter().filter(|window| window.try_lock().is_some_and(|mut window| window.shrink(least))).count() > 0
    }
}

impl Log for MemoryLog {
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        let window = self.window(channel);
        window.lock().complete(&self.account(channel.app()), |_| None);
        Box::new(ChannelWindow { window, bounds: self.bounds, is_sealed: Arc::clone(&self.is_sealed) })
    }

    fn close(&self, channel: &ChannelName) {
        let mut windows = self.windows.lock();
        if windows.get(channel).is_some_and(|window| window.lock().is_empty()) {
            windows.remove(channel);
        }
    }

    fn forget(&self, channel: &ChannelName) {
        let window = self.windows.lock().get(channel).cloned();
        if let Some(window) = window {
            window.lock().give_up(usize::MAX);
        }
    }

    fn shrink(&self, app: AppId, now: Duration) -> bool {
        self.shrink_by(app, now, 0, |least| self.shrink_windows(app, least))
    }
}

struct ChannelWindow {
    /// Locked for moments: by the channel's actor, by transports that read a backlog of it, and by who makes room.
    window: Arc<Mutex<KeptWindow>>,
    bounds: Bounds,
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
        Poll::Ready(window.append(now, entry, self.bounds).map_err(StoreError::Memory))
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
        Arc::<Mutex<KeptWindow>>::clone(&self.window)
    }

    fn page(&self, query: &Query, _: Later<'_, PageRead>) -> Poll<PageRead> {
        let window = self.window.lock();
        let is_kept = query.until.is_none_or(|until| window.reaches(until).is_ok());
        Poll::Ready(Ok(is_kept.then(|| window.page(query))))
    }

    fn newest(&self, target: MessageRef, _: Later<'_, MessageRead>) -> Poll<MessageRead> {
        Poll::Ready(Ok(self.window.lock().newest(target)))
    }

    fn annotated_lately(&self) -> Vec<MessageRef> {
        self.window.lock().annotated_lately()
    }

    fn annotated(&self, target: MessageRef, _: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead> {
        Poll::Ready(Ok(self.window.lock().annotated(target)))
    }

    fn give_up(&mut self, bytes: usize) -> bool {
        self.window.lock().give_up(bytes)
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut window = self.window.lock();
        window.trim(now, self.bounds);
        window.is_empty()
    }
}

impl Past for Mutex<KeptWindow> {
    fn portion(self: Arc<Self>, after: Serial, upto: Serial, choice: &Arc<Choice>, _: Later<'_, Read>) -> Poll<Read> {
        Poll::Ready(self.lock().portion(after, upto, choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::budget::Account,
        log::contract::{self, entry},
    };

    fn log(account: &Account) -> MemoryLog {
        let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: 1 << 20 };
        MemoryLog::new(bounds, Arc::new(account.clone()))
    }

    #[test]
    fn keeps_the_contract() {
        let account = Account::server(1 << 24);
        contract::holds(|| log(&account));
        contract::forgets(|| log(&account));
    }

    /// Three channels of one app: what they keep is charged, what does not fit is refused until older entries make room, and
    /// everything is given back.
    #[test]
    fn what_is_kept_is_charged() {
        const LIMIT: usize = 5 * limits::WINDOW_STEP;
        let account = Account::server(LIMIT);
        let log = log(&account);
        let mut channels: Vec<_> = ["a", "b", "c"].map(|name| log.open(&name.into())).into_iter().collect();
        let mut refused = 0;
        for round in 0..200 {
            for channel in &mut channels {
                let mut later = || -> crate::log::Done<()> { unreachable!("a log in memory answers at once") };
                while let Poll::Ready(Err(error)) =
                    channel.append(Duration::from_secs(round), entry(&mut channel.mint(), 1_000), &mut later)
                {
                    assert!(matches!(error, StoreError::Memory(full) if full.limit == LIMIT), "{error}");
                    refused += 1;
                    assert!(channel.give_up(1) || log.shrink(AppId::DEFAULT, Duration::from_secs(round)));
                }
                assert!(account.kept() <= LIMIT);
            }
        }
        assert!(refused > 0 && account.kept() > LIMIT / 2);
        log.forget(&"a".into());
        for channel in &mut channels {
            assert!(channel.expire(Duration::from_secs(1_000)));
        }
        assert_eq!(account.kept(), 0);
    }
}
