//! How a copy of a channel follows a log that others write to as well (`docs/design/cluster.md §2`).
//!
//! Each entry names the one before it. A copy takes what links to its head; what is at or before the head it has already.
//! Whatever else arrives shows that something is missing: it is kept for a moment, in case the missing entries are only
//! late, then what follows the head is read from the log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    core::{
        budget::{Account, Kind, Tab},
        message::Entry,
        serial::{Place, Serial},
    },
    ids::NodeId,
    limits,
};

/// An entry, the one before it, at which a reader has to stand to take it, and the node that has appended it.
#[derive(Clone, Debug)]
pub struct Linked {
    pub previous: Serial,
    pub node: NodeId,
    pub entry: Arc<Entry>,
}

/// What the log has behind a position.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The position that was asked for.
    pub after: Serial,
    pub entries: Vec<Linked>,
    /// The newest entry of the log.
    pub head: Serial,
}

/// The copy cannot go on where it stands: all attachments have to be told of a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Where a copy stands in the log.
#[derive(Debug)]
pub struct Chain {
    head: Serial,
    /// What does not link yet, by its place.
    early: BTreeMap<Place, Linked>,
    /// Of these.
    tab: Tab,
    /// Up to here entries have arrived, whether or not they were kept.
    newest: Place,
    /// When the wait for late entries is over (monotonic).
    due: Option<Duration>,
    /// The log is being asked.
    is_asking: bool,
}

impl Chain {
    /// Goes on after `head`; `account`, that of the app, pays for what comes too early.
    pub fn new(head: Serial, account: Option<Account>) -> Self {
        let tab = account.map_or_else(Tab::default, |account| Tab::new(account, Kind::Inbound));
        Self { head, early: BTreeMap::new(), tab, newest: head.place(), due: None, is_asking: false }
    }

    /// The newest entry that was taken.
    pub const fn head(&self) -> Serial {
        self.head
    }

    /// When [`Chain::catch_up`] is to be called (monotonic); none while nothing is missing, or the log is being asked.
    pub const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// An entry has arrived: gives those that can be taken now, in order.
    ///
    /// # Errors
    /// [`Broken`] when it is of another life of the log.
    pub fn push(&mut self, now: Duration, linked: Linked) -> Result<Vec<Linked>, Broken> {
        if linked.entry.serial.epoch() != self.head.epoch() {
            return Err(Broken);
        }
        let place = linked.entry.serial.place();
        self.newest = self.newest.max(place);
        if place > self.head.place() {
            self.keep(place, linked);
        }
        let taken = self.take_linked();
        if !taken.is_empty() || !self.is_behind() {
            // What is still early waits for another gap.
            self.due = None;
        }
        if self.is_behind() && !self.is_asking {
            self.due = self.due.or(Some(now + limits::CHAIN_WAIT));
        }
        Ok(taken)
    }

    /// The wait is over: the position after which the log is to be read. None: not yet, or it is being read.
    pub fn catch_up(&mut self, now: Duration) -> Option<Serial> {
        self.due.take_if(|due| *due <= now)?;
        self.is_asking = true;
        Some(self.head)
    }

    /// The position after which the log is to be read, whether or not anything is known to be missing. None: it is being read.
    pub fn ask(&mut self) -> Option<Serial> {
        self.due = None;
        (!std::mem::replace(&mut self.is_asking, true)).then_some(self.head)
    }

    /// The log could not be read, and is to be asked again.
    pub fn failed(&mut self, now: Duration) {
        self.is_asking = false;
        self.due = Some(now + limits::CHAIN_AGAIN);
    }

    /// The log has answered: gives what can be taken now, in order. What arrived meanwhile and still does not link waits
    /// from `now` on.
    ///
    /// # Errors
    /// [`Broken`] when the log no longer has all entries behind the position.
    pub fn caught_up(&mut self, now: Duration, tail: Tail) -> Result<Vec<Linked>, Broken> {
        self.is_asking = false;
        let Tail { after, entries, head } = tail;
        let is_same = after.epoch() == self.head.epoch() && head.epoch() == self.head.epoch();
        let is_whole = match entries.first() {
            Some(first) => first.previous.place() <= after.place(),
            None => head.place() <= after.place(),
        };
        if !is_same || !is_whole {
            return Err(Broken);
        }
        let mut taken = Vec::new();
        for linked in entries {
            if linked.entry.serial.place() > self.head.place() {
                self.head = linked.entry.serial;
                taken.push(linked);
            }
        }
        taken.extend(self.take_linked());
        self.due = self.is_behind().then(|| now + limits::CHAIN_WAIT);
        Ok(taken)
    }

    /// Something is known of that was not taken.
    fn is_behind(&self) -> bool {
        self.newest > self.head.place()
    }

    /// What links is taken next. Of the rest as much as there is room for; the log has it all.
    fn keep(&mut self, place: Place, linked: Linked) {
        let (cost, links) = (linked.entry.cost(), linked.previous.place() == self.head.place());
        let fits = self.early.len() < limits::CHAIN_EARLY && self.tab.bytes() + cost <= limits::CHAIN_EARLY_BYTES;
        if self.early.contains_key(&place) {
            return;
        }
        let has_room = links || fits && self.tab.reserve(cost).is_ok();
        if !has_room {
            return;
        }
        self.tab.add_anyway(cost);
        self.early.insert(place, linked);
    }

    /// What links to the head, one to the other; what lies before it is dropped.
    fn take_linked(&mut self) -> Vec<Linked> {
        let mut taken = Vec::new();
        while let Some(first) = self.early.first_entry() {
            let is_old = *first.key() <= self.head.place();
            if !is_old && first.get().previous.place() != self.head.place() {
                break;
            }
            let linked = first.remove();
            self.tab.remove(linked.entry.cost());
            if !is_old {
                self.head = linked.entry.serial;
                taken.push(linked);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::{
            message::{Body, EntryId, Message},
            serial::{Epoch, Mint},
        },
        ids::Timestamp,
    };

    const NODE: NodeId = NodeId::from_bytes([1; 8]);

    const SECOND: Duration = Duration::from_secs(1);

    /// A log of so many entries, each with its link, and the position before the first.
    fn log(epoch: u64, count: usize) -> (Serial, Vec<Linked>) {
        let mut mint = Mint::new(Epoch::new(epoch));
        let start = mint.position();
        let now = Timestamp::from_millis(1);
        let mut previous = start;
        let entries = (0..count).map(|_| {
            let serial = mint.mint(now);
            let entry = Entry::new("c".into(), serial, now, None, EntryId::Serial, Body::Messages(Vec::new()));
            Linked { previous: std::mem::replace(&mut previous, serial), node: NODE, entry: Arc::new(entry) }
        });
        (start, entries.collect())
    }

    fn tail(log: &[Linked], after: Serial, start: Serial) -> Tail {
        let entries = log.iter().filter(|linked| linked.entry.serial.place() > after.place());
        let head = log.last().map_or(start, |linked| linked.entry.serial);
        Tail { after, entries: entries.cloned().collect(), head }
    }

    proptest! {
        /// Whatever is lost, doubled or comes in another order: every entry is taken once, in order; the log is asked only
        /// when something is missing, and not again before it has answered.
        #[test]
        fn every_entry_is_taken_once_and_in_order(
            count in 1usize..40,
            pushes in prop::collection::vec((0usize..40, 0u64..30, any::<bool>()), 0..120),
        ) {
            let (start, log) = log(1, count);
            let (mut chain, mut taken, mut asked) = (Chain::new(start, None), Vec::new(), None);
            let mut now = Duration::ZERO;
            for (place, wait, answers) in pushes {
                now += Duration::from_millis(wait);
                let linked = log[place % count].clone();
                let is_next = linked.previous == chain.head();
                let got = chain.push(now, linked).unwrap();
                prop_assert!(!is_next || !got.is_empty(), "what links is taken at once");
                taken.extend(got);
                if let Some(after) = chain.catch_up(now) {
                    prop_assert_eq!(asked, None, "asked once");
                    prop_assert_eq!(after, chain.head());
                    asked = Some(after);
                }
                if let Some(after) = asked.take_if(|_| answers) {
                    taken.extend(chain.caught_up(now, tail(&log, after, start)).unwrap());
                }
            }
            // The last push may have been lost: the head of the log is compared with that of the copy.
            let after = asked.unwrap_or(chain.head());
            taken.extend(chain.caught_up(now, tail(&log, after, start)).unwrap());
            let serials: Vec<Serial> = taken.iter().map(|linked| linked.entry.serial).collect();
            let all: Vec<Serial> = log.iter().map(|linked| linked.entry.serial).collect();
            prop_assert_eq!(serials, all);
            prop_assert_eq!(chain.due(), None);
        }
    }

    proptest! {
        /// A log that is trimmed and begins another life, in any order, while what is pushed is lost, doubled and late:
        /// what is taken is a slice of one life in its order, and a copy that stands still is at the head of the log, or
        /// was told of a break.
        #[test]
        fn nothing_is_missed_in_silence(
            steps in prop::collection::vec((0u8..8, 0usize..12, any::<bool>()), 1..150),
        ) {
            let (start, mut all) = log(1, 0);
            let (mut life, mut trimmed, mut lives) = (start, 0, 1);
            let (mut chain, mut taken): (Chain, Vec<Serial>) = (Chain::new(start, None), Vec::new());
            let (mut now, mut asked) = (Duration::ZERO, None);
            for (kind, pick, flag) in steps.into_iter().chain([(6, 0, true), (7, 0, true), (6, 0, true), (7, 0, true)]) {
                now += Duration::from_millis(9);
                let got = match kind {
                    0 | 1 => {
                        let mut mint = Mint::resume(all.last().map_or(life, |last: &Linked| last.entry.serial));
                        let (previous, serial) = (mint.position(), mint.mint(Timestamp::from_millis(1)));
                        let entry = Entry::new("c".into(), serial, Timestamp::from_millis(1), None, EntryId::Serial, Body::Messages(Vec::new()));
                        all.push(Linked { previous, node: NODE, entry: Arc::new(entry) });
                        if flag { chain.push(now, all[all.len() - 1].clone()) } else { Ok(Vec::new()) }
                    }
                    2 if !all.is_empty() => chain.push(now, all[pick % all.len()].clone()),
                    3 => {
                        trimmed = (trimmed + pick / 4).min(all.len());
                        Ok(Vec::new())
                    }
                    4 if pick == 0 => {
                        lives += 1;
                        life = Serial::at(Epoch::new(lives), (0, 0));
                        (all, trimmed) = (Vec::new(), 0);
                        Ok(Vec::new())
                    }
                    5 => {
                        asked = chain.catch_up(now).or(asked);
                        Ok(Vec::new())
                    }
                    6 => {
                        asked = chain.ask().or(asked);
                        Ok(Vec::new())
                    }
                    7 => match asked.take() {
                        Some(_) if !flag => {
                            chain.failed(now);
                            Ok(Vec::new())
                        }
                        Some(after) => {
                            let head = all.last().map_or(life, |last| last.entry.serial);
                            let rest = all[trimmed..].iter().filter(|linked| linked.entry.serial.place() > after.place());
                            chain.caught_up(now, Tail { after, entries: rest.cloned().collect(), head })
                        }
                        None => Ok(Vec::new()),
                    },
                    _ => Ok(Vec::new()),
                };
                match got {
                    Ok(entries) => taken.extend(entries.iter().map(|linked| linked.entry.serial)),
                    Err(Broken) => {
                        // Everybody is told; the copy begins anew at the head.
                        chain = Chain::new(all.last().map_or(life, |last| last.entry.serial), None);
                        (taken, asked) = (Vec::new(), None);
                    }
                }
                let serials: Vec<Serial> = all.iter().map(|linked| linked.entry.serial).collect();
                if let Some(first) = taken.first().filter(|first| first.epoch() == life.epoch()) {
                    let at = serials.iter().position(|serial| serial == first);
                    prop_assert_eq!(at.map(|at| &serials[at..at + taken.len()]), Some(&taken[..]));
                }
            }
            prop_assert_eq!(chain.head(), all.last().map_or(life, |last| last.entry.serial), "it has caught up, or was told");
        }
    }

    #[test]
    fn late_entries_are_waited_for_before_the_log_is_asked() {
        let (start, log) = log(1, 3);
        let mut chain = Chain::new(start, None);
        assert!(chain.push(SECOND, log[1].clone()).unwrap().is_empty());
        assert_eq!(chain.catch_up(SECOND), None);
        assert_eq!(chain.push(SECOND, log[0].clone()).unwrap().len(), 2);
        assert_eq!(chain.due(), None, "nothing is missing any more");
        assert!(chain.push(SECOND, log[0].clone()).unwrap().is_empty());
        assert_eq!(chain.catch_up(2 * SECOND), None);
    }

    #[test]
    fn what_the_log_cannot_tell_is_a_break() {
        let (start, all) = log(1, 3);
        let mut chain = Chain::new(start, None);
        let (_, other) = log(2, 1);
        assert_eq!(chain.push(SECOND, other[0].clone()).unwrap_err(), Broken, "another life of the log");
        let trimmed = Tail { after: start, entries: all[1..].to_vec(), head: all[2].entry.serial };
        assert_eq!(chain.caught_up(SECOND, trimmed).unwrap_err(), Broken, "the first entry is gone");
        let emptied = Tail { after: start, entries: Vec::new(), head: all[2].entry.serial };
        assert_eq!(chain.caught_up(SECOND, emptied).unwrap_err(), Broken, "all entries are gone");
        let lost = Tail { after: all[2].entry.serial, entries: Vec::new(), head: all[0].entry.serial };
        chain = Chain::new(all[2].entry.serial, None);
        assert!(chain.caught_up(SECOND, lost).unwrap().is_empty(), "a log that fell back is found by its next epoch");
    }

    /// What comes too early is paid for, and bounded in bytes; what is not kept is read from the log, and what links is taken.
    #[test]
    fn what_comes_early_has_its_bounds() {
        let (start, log) = log(1, 1_500);
        let cost = log[0].entry.cost();
        for (limit, kept) in [(usize::MAX, limits::CHAIN_EARLY), (40 * cost, 40), (0, 0)] {
            let account = Account::server(limit);
            let mut chain = Chain::new(start, Some(account.clone()));
            for linked in &log[1..] {
                assert!(chain.push(SECOND, linked.clone()).unwrap().is_empty());
            }
            assert_eq!(chain.early.len(), kept);
            assert!(account.kept_of(Kind::Inbound) >= kept * cost && account.kept() <= limit);
            assert_eq!(chain.catch_up(2 * SECOND), Some(start));
            assert_eq!(chain.push(2 * SECOND, log[0].clone()).unwrap().len(), kept + 1);
            assert_eq!(account.kept(), 0);
            assert_eq!(chain.caught_up(2 * SECOND, tail(&log, start, start)).unwrap().len(), 1_499 - kept);
        }
        let text = Message::text("x".repeat(200_000).into());
        let (account, large) = (Account::server(usize::MAX), Body::Messages(vec![text]));
        let mut chain = Chain::new(start, Some(account.clone()));
        for linked in &log[1..10] {
            let entry = Arc::new(linked.entry.with(large.clone()));
            chain.push(SECOND, Linked { entry, ..linked.clone() }).unwrap();
        }
        assert!((1..5).contains(&chain.early.len()) && account.kept() <= 2 * limits::CHAIN_EARLY_BYTES);
    }
}
