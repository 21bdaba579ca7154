//! One object, and how operations change it: by the rules of the features spec that are named beside them, as clients do.

use std::collections::BTreeMap;

use bytestring::ByteString;

use crate::{
    core::{
        objects::{Action, ObjectId, Type, Value},
        operation::MessageRef,
    },
    ids::Timestamp,
    limits,
};

/// What is known of an object beside the entries of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// The newest operation on it, its place in its `siteTimeserials`.
    pub serial: Option<MessageRef>,
    /// The operation that creates it was applied: a second one adds nothing (RTLM16b, RTLC8b).
    pub is_created: bool,
    /// When it was deleted; then nothing is left of it, and nothing can be done to it any more.
    pub deleted: Option<Timestamp>,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Map {
        /// When all of its entries were removed; what is older is of no effect (RTLM24).
        cleared: Option<MessageRef>,
    },
    Counter {
        /// The first value, which clients are told apart (`docs/protocols/ably.md §10.5`).
        created: Option<f64>,
        sum: f64,
    },
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct MapEntry {
    pub serial: MessageRef,
    /// None: it was removed.
    pub value: Option<Value>,
    /// When it was set or removed.
    pub at: Timestamp,
}

impl MapEntry {
    fn cost(&self, key: &str) -> usize {
        limits::OBJECT_ENTRY_COST + key.len() + self.value.as_ref().map_or(0, Value::cost)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub head: Head,
    entries: BTreeMap<ByteString, MapEntry>,
    /// Of its entries.
    bytes: usize,
}

/// What was judged at the same time may come to more than a number can be; neither format has a word for that.
const fn finite(number: f64) -> f64 {
    number.clamp(f64::MIN, f64::MAX)
}

impl Object {
    /// Without any value, as it is before an operation on it.
    pub const fn zero(kind: Type) -> Self {
        let shape = match kind {
            Type::Map => Shape::Map { cleared: None },
            Type::Counter => Shape::Counter { created: None, sum: 0.0 },
        };
        Self::with(Head { serial: None, is_created: false, deleted: None, shape })
    }

    pub const fn with(head: Head) -> Self {
        Self { head, entries: BTreeMap::new(), bytes: 0 }
    }

    pub const fn entries(&self) -> &BTreeMap<ByteString, MapEntry> {
        &self.entries
    }

    /// The entries that are there, and were not removed.
    pub fn values(&self) -> impl Iterator<Item = (&ByteString, &Value)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.value.as_ref()?)))
    }

    /// Of a counter.
    pub fn count(&self) -> f64 {
        let (created, sum) = self.counted();
        finite(created.unwrap_or_default() + sum)
    }

    /// The first value of a counter, and what it was increased by.
    pub(super) const fn counted(&self) -> (Option<f64>, f64) {
        match self.head.shape {
            Shape::Map { .. } => (None, 0.0),
            Shape::Counter { created, sum } => (created, sum),
        }
    }

    /// What keeping it costs in memory, in bytes.
    pub fn cost(&self, id: &ObjectId) -> usize {
        limits::OBJECT_COST + 2 * id.as_str().len() + self.bytes
    }

    /// By how much an operation lets it grow.
    pub(super) fn growth(&self, action: &Action) -> usize {
        let known = |key: &ByteString| self.entries.get(key).map_or(0, |entry| entry.cost(key));
        let sets = action
            .sets()
            .map(|(key, value)| (limits::OBJECT_ENTRY_COST + key.len() + value.cost()).saturating_sub(known(key)));
        let removed = action.key().map(|key| (limits::OBJECT_ENTRY_COST + key.len()).saturating_sub(known(key)));
        sets.chain(removed).sum()
    }

    /// Puts an entry that was kept, whatever there is.
    pub fn put(&mut self, key: ByteString, entry: MapEntry) {
        self.bytes += entry.cost(&key);
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.bytes -= before.cost(&key);
        }
    }

    /// The same of an entry that is kept no more.
    #[cfg(test)]
    pub(super) fn remove(&mut self, key: &ByteString) {
        self.bytes -= self.entries.remove(key).map_or(0, |entry| entry.cost(key));
    }

    /// Applies an operation, if it is newer than the last one (RTLO4a).
    pub(super) fn apply(&mut self, is_root: bool, action: &Action, serial: MessageRef, at: Timestamp) {
        if self.head.serial.is_some_and(|last| last >= serial) {
            return;
        }
        self.head.serial = Some(serial);
        if self.head.deleted.is_some() {
            return;
        }
        let is_first = !self.head.is_created;
        match (&mut self.head.shape, action) {
            // RTLM16, RTLM23: each entry as if it was set.
            (Shape::Map { .. }, Action::CreateMap(entries)) if is_first => {
                self.head.is_created = true;
                for (key, value) in entries {
                    self.set(key, Some(value), serial, at);
                }
            }
            (Shape::Map { .. }, Action::Set(key, value)) => self.set(key, Some(value), serial, at),
            (Shape::Map { .. }, Action::Remove(key)) => self.set(key, None, serial, at),
            // RTLM24.
            (Shape::Map { cleared }, Action::Clear) if cleared.is_none_or(|cleared| cleared < serial) => {
                *cleared = Some(serial);
                self.retain(|entry| entry.serial > serial);
            }
            // RTLC8, RTLC16.
            (Shape::Counter { created, .. }, Action::CreateCounter(count)) if is_first => {
                *created = Some(count.unwrap_or_default());
                self.head.is_created = true;
            }
            // RTLC9.
            (Shape::Counter { sum, .. }, Action::Increment(number)) => *sum = finite(*sum + number),
            // RTLO5; root cannot be deleted.
            (_, Action::Delete) if !is_root => {
                let kind = self.kind();
                let serial = self.head.serial;
                *self = Self::zero(kind);
                self.head.serial = serial;
                self.head.deleted = Some(at);
            }
            // Of another type, or of no effect.
            _ => {}
        }
    }

    const fn kind(&self) -> Type {
        match self.head.shape {
            Shape::Map { .. } => Type::Map,
            Shape::Counter { .. } => Type::Counter,
        }
    }

    /// Sets an entry, or removes it (RTLM7, RTLM8).
    fn set(&mut self, key: &ByteString, value: Option<&Value>, serial: MessageRef, at: Timestamp) {
        let is_cleared = matches!(self.head.shape, Shape::Map { cleared: Some(cleared) } if cleared >= serial);
        let is_newer = self.entries.get(key).is_none_or(|entry| entry.serial < serial);
        if !is_cleared && is_newer {
            self.put(key.clone(), MapEntry { serial, value: value.cloned(), at });
        }
    }

    /// Forgets entries that were removed before a moment; which.
    pub(super) fn forget_removed(&mut self, before: Timestamp) -> Vec<ByteString> {
        let is_old = |entry: &MapEntry| entry.value.is_none() && entry.at.millis() <= before.millis();
        let old = self.entries.iter().filter(|(_, entry)| is_old(entry));
        let old: Vec<ByteString> = old.map(|(key, _)| key.clone()).collect();
        self.retain(|entry| !is_old(entry));
        old
    }

    /// Whether [`Self::forget_removed`] finds any.
    pub(super) fn has_removed(&self, before: Timestamp) -> bool {
        self.entries.values().any(|entry| entry.value.is_none() && entry.at.millis() <= before.millis())
    }

    fn retain(&mut self, is_kept: impl Fn(&MapEntry) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let is_kept = is_kept(entry);
            if !is_kept {
                *bytes -= entry.cost(key);
            }
            is_kept
        });
    }
}
