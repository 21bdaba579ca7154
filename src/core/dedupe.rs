//! Publishes that a channel has seen: a client that did not hear the answer sends again, and must not
//! publish twice (`docs/protocols/ably.md §4.5, §6.4`).

use std::{collections::VecDeque, time::Duration};

use crate::{
    core::{
        hashing::FastMap,
        message::{Entry, EntryId},
        serial::Serial,
    },
    limits,
};

/// What was published with which id, of the last minutes.
#[derive(Debug, Default)]
pub struct Seen {
    published: FastMap<EntryId, Published>,
    /// Oldest first, with the moment (monotonic) when each came.
    order: VecDeque<(Duration, EntryId)>,
}

/// What came of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub serial: Serial,
    /// Its items.
    pub len: usize,
}

impl Published {
    pub fn of(entry: &Entry) -> Self {
        Self { serial: entry.serial, len: entry.len() }
    }
}

impl Seen {
    /// What came of `id`, if it was published.
    pub fn find(&self, id: &EntryId) -> Option<Published> {
        self.published.get(id).copied()
    }

    /// Remembers a publish, if its id names it.
    pub fn note(&mut self, now: Duration, id: &EntryId, published: Published) {
        if *id == EntryId::Serial {
            return;
        }
        self.published.insert(id.clone(), published);
        self.order.push_back((now, id.clone()));
        self.forget(now);
    }

    /// Forgets a publish that came to nothing after all.
    pub fn withdraw(&mut self, id: &EntryId) {
        self.published.remove(id);
        if let Some(at) = self.order.iter().rposition(|(_, known)| known == id) {
            self.order.remove(at);
        }
    }

    /// Forgets what is too old or too much.
    pub fn forget(&mut self, now: Duration) {
        while let Some((came, _)) = self.order.front() {
            let is_old = now.saturating_sub(*came) > limits::IDEMPOTENCY_WINDOW;
            if !is_old && self.order.len() <= limits::IDEMPOTENCY_IDS {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.published.remove(&id);
            }
        }
        if self.order.is_empty() {
            // An idle channel keeps no memory.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::serial::{Epoch, Mint},
        ids::Timestamp,
    };

    #[test]
    fn what_was_withdrawn_may_come_again_and_is_known_from_then_on() {
        let (mut seen, id) = (Seen::default(), EntryId::Base("a".into()));
        let serial = Mint::new(Epoch::new(1)).mint(Timestamp::from_millis(1));
        let published = Published { serial, len: 1 };
        seen.note(Duration::ZERO, &id, published);
        seen.withdraw(&id);
        assert_eq!(seen.find(&id), None);

        let later = Duration::from_secs(60);
        seen.note(later, &id, published);
        seen.forget(limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
        assert_eq!(seen.find(&id), Some(published));
        seen.forget(later + limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
        assert_eq!(seen.find(&id), None);
    }
}
