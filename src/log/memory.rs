//! The log in memory: everything of the last minutes, bounded per channel and in all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    core::{
        command::Rewind,
        history::{Page, Query},
        message::Entry,
        replay::Past,
        serial::{Epoch, Mint, Serial},
        window::{Bounds, Gap, Window},
    },
    ids::{ChannelName, Timestamp},
    log::{ChannelLog, Log},
};

/// All windows. They live here and not in the channel actors, so that an actor that dies takes
/// nothing with it.
pub struct MemoryLog {
    windows: Mutex<HashMap<ChannelName, Arc<Mutex<Window>>>>,
    bounds: Bounds,
    budget: Arc<Budget>,
}

/// Bytes of all windows together.
struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl MemoryLog {
    /// Each channel keeps what `bounds` allow, all together at most `total_bytes`.
    pub fn new(bounds: Bounds, total_bytes: usize) -> Self {
        Self {
            windows: Mutex::default(),
            bounds,
            budget: Arc::new(Budget {
                used: AtomicUsize::new(0),
                limit: total_bytes,
            }),
        }
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
        })
    }

    fn close(&self, channel: &ChannelName) {
        let mut windows = self.windows.lock();
        if windows
            .get(channel)
            .is_some_and(|window| window.lock().is_empty())
        {
            windows.remove(channel);
        }
    }

    fn bytes(&self) -> usize {
        self.budget.used.load(Ordering::Relaxed)
    }
}

struct ChannelWindow {
    /// Never contended: only the channel's actor locks it, and another one only after its death.
    window: Arc<Mutex<Window>>,
    bounds: Bounds,
    budget: Arc<Budget>,
}

impl Past for ChannelWindow {
    fn after(&self, position: Serial) -> Result<Vec<Arc<Entry>>, Gap> {
        self.window.lock().after(position)
    }

    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>> {
        self.window.lock().rewind(now, rewind)
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.window.lock().entries().cloned().collect()
    }
}

impl ChannelLog for ChannelWindow {
    fn mint(&self) -> Mint {
        let window = self.window.lock();
        match window.last() {
            Some(last) => Mint::resume(last),
            None => Mint::new(window.epoch()),
        }
    }

    fn append(&mut self, now: Duration, entry: Arc<Entry>) {
        let mut window = self.window.lock();
        let before = window.bytes();
        window.append(now, entry, self.bounds);
        // Two's complement: it may have become less.
        let change = window.bytes().wrapping_sub(before);
        let used = self.budget.used.fetch_add(change, Ordering::Relaxed);
        let mut used = used.wrapping_add(change);
        // When memory is short, whoever writes gives up its own past first.
        while used > self.budget.limit {
            let before = window.bytes();
            if !window.drop_oldest() {
                break;
            }
            let freed = before - window.bytes();
            used = self.budget.used.fetch_sub(freed, Ordering::Relaxed) - freed;
        }
    }

    fn page(&self, query: &Query) -> Page {
        self.window.lock().page(query)
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut window = self.window.lock();
        let before = window.bytes();
        window.trim(now, self.bounds);
        self.budget
            .used
            .fetch_sub(before - window.bytes(), Ordering::Relaxed);
        window.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::contract::{self, entry};

    fn log(channel_bytes: usize, total_bytes: usize) -> MemoryLog {
        let bounds = Bounds {
            age: Duration::from_secs(120),
            entries: 1_000,
            bytes: channel_bytes,
        };
        MemoryLog::new(bounds, total_bytes)
    }

    #[test]
    fn keeps_the_contract() {
        contract::holds(|| Box::new(log(1 << 20, 1 << 20)));
    }

    #[test]
    fn the_total_is_bounded_and_accounted() {
        let log = log(1 << 20, 20_000);
        let mut channels: Vec<_> = ["a", "b", "c"]
            .map(|name| log.open(&name.into()))
            .into_iter()
            .collect();
        for round in 0..200 {
            for channel in &mut channels {
                let entry = entry(&mut channel.mint(), 100);
                channel.append(Duration::from_secs(round), entry);
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
