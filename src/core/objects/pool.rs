//! All objects of a channel: what its log says about them, and what is kept of that.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    core::{
        budget::{Account, Full, Kind, Tab},
        command::Now,
        hashing::FastMap,
        message::Entry,
        objects::{Action, Head, MapEntry, Object, ObjectId, ObjectOperation, Snapshot, Value},
        operation::MessageRef,
        serial::Serial,
    },
    error::{Fault, Found},
    ids::Timestamp,
    limits,
};

pub(super) type Pool = BTreeMap<ObjectId, Arc<Object>>;

/// What is kept of objects on disk.
#[derive(Debug, Default)]
pub struct Kept {
    pub objects: Vec<(ObjectId, Object)>,
    /// The newest operation that is in them.
    pub upto: Option<Serial>,
    /// What the log has behind that.
    pub tail: Vec<Arc<Entry>>,
}

impl Kept {
    /// With what the log has in memory: it may not be in the rows yet, nor read from the log.
    pub fn with(mut self, recent: Vec<Arc<Entry>>) -> Self {
        self.tail.extend(recent.into_iter().filter(|entry| !entry.objects().is_empty()));
        self
    }
}

/// What is to be kept of the objects, up to an operation.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What they go on from; none: they do not depend on what is kept, or nothing is.
    pub from: Option<Serial>,
    pub upto: Serial,
    pub rows: Vec<Row>,
}

/// A change of what is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Head(ObjectId, Head),
    /// None: it is kept no more.
    Entry(ObjectId, ByteString, Option<MapEntry>),
    /// Nothing is kept of the object any more.
    Gone(ObjectId),
    /// Nothing is kept of any.
    AllGone,
}

#[derive(Debug, Default)]
pub struct Objects {
    pool: Arc<Pool>,
    /// Made for who asked last; gone with the next change.
    snapshot: Option<Arc<Snapshot>>,
    /// Entries with operations on their way into the log, oldest first: the objects that each makes, and by how many bytes it
    /// lets objects grow.
    untold: VecDeque<(usize, usize)>,
    /// What has changed and is not kept yet: of an object an entry, or what it is beside them.
    touched: BTreeSet<(ObjectId, Option<ByteString>)>,
    upto: Option<Serial>,
    /// The changes up to here were given away.
    given: Option<Serial>,
    /// Since when an object cannot be reached from root: since the last operation before that was found.
    unreachable: FastMap<ObjectId, Timestamp>,
    /// What can be reached may have changed.
    is_changed: bool,
    /// What was removed before this is forgotten: the same moment at all nodes, since that is counted.
    forgotten: Option<Timestamp>,
    account: Option<Account>,
    tab: Tab,
}

impl Objects {
    /// As they were kept, with what the log has behind that. `account`, that of the app, pays for them, whatever its limit: they
    /// are there already.
    pub fn restored(kept: Kept, account: Option<Account>) -> Self {
        let tab = account.clone().map_or_else(Tab::default, |account| Tab::new(account, Kind::Objects));
        let mut objects = Self { account, tab, upto: kept.upto, given: kept.upto, is_changed: true, ..Self::default() };
        for (id, object) in kept.objects {
            objects.tab.add_anyway(object.cost(&id));
            Arc::make_mut(&mut objects.pool).insert(id, Arc::new(object));
        }
        let referenced: Vec<ObjectId> = objects.pool.values().flat_map(|object| references(object)).cloned().collect();
        for id in referenced.iter().chain([&ObjectId::root()]) {
            objects.object(id);
        }
        for entry in kept.tail {
            objects.apply(&entry);
        }
        objects
    }

    /// The newest operation.
    pub const fn upto(&self) -> Option<Serial> {
        self.upto
    }

    /// Whether these operations may be published; the objects that they are for may be made by them.
    ///
    /// # Errors
    /// [`Fault::InvalidObject`], [`Fault::ObjectDeleted`], [`Fault::ObjectsFull`], [`Fault::MemoryFull`]
    pub fn judge(&mut self, operations: &[ObjectOperation]) -> Result<(), Fault> {
        for operation in operations {
            operation.check_fits()?;
            let Some(object) = self.pool.get(&operation.object) else { continue };
            if object.head.deleted.is_some() {
                return Err(Fault::ObjectDeleted { id: operation.object.as_str().into() });
            }
        }
        self.check_counters(operations)?;
        let (made, bytes) = self.growth(operations);
        let (mut untold_objects, mut untold) = (made, bytes);
        for (made, bytes) in &self.untold {
            untold_objects += made;
            untold += bytes;
        }
        if made > 0 && self.pool.len() + untold_objects > limits::OBJECTS {
            return Err(Fault::ObjectsFull { what: "objects", limit: limits::OBJECTS });
        }
        if bytes > 0 && self.tab.bytes() + untold > limits::OBJECTS_BYTES {
            return Err(Fault::ObjectsFull { what: "bytes", limit: limits::OBJECTS_BYTES });
        }
        self.tab.reserve(untold).map_err(Full::to_fault)
    }

    /// Each counter stays a number, whatever of it is told apart (`docs/protocols/ably.md §10.5`).
    fn check_counters(&self, operations: &[ObjectOperation]) -> Result<(), Fault> {
        let mut counters: FastMap<&ObjectId, (Option<f64>, f64)> = FastMap::default();
        for ObjectOperation { object, action, .. } in operations {
            let known = || self.pool.get(object).map_or((None, 0.0), |known| known.counted());
            let (field, number) = match action {
                Action::CreateCounter(count) => ("counterCreate.count", count.unwrap_or_default()),
                Action::Increment(number) => ("counterInc.number", *number),
                _ => continue,
            };
            let (created, sum) = counters.entry(object).or_insert_with(known);
            match action {
                Action::Increment(_) => *sum += number,
                _ => *created = created.or(Some(number)),
            }
            if !sum.is_finite() || !(created.unwrap_or_default() + *sum).is_finite() {
                let (found, rule) = (Found::number(number), "a number by which the counter stays below 1.8e308");
                return Err(Fault::InvalidObject { field, found, rule });
            }
        }
        Ok(())
    }

    /// How many objects these make, and by how many bytes they let objects grow.
    fn growth(&self, operations: &[ObjectOperation]) -> (usize, usize) {
        let mut made = HashSet::new();
        let mut bytes = 0;
        for ObjectOperation { object, action, .. } in operations {
            let referenced = action.sets().filter_map(|(_, value)| reference(value));
            let unknown = [object].into_iter().chain(referenced).filter(|id| !self.pool.contains_key(*id));
            made.extend(unknown);
            let known = self.pool.get(object).map(|known| known.growth(action));
            bytes += known.unwrap_or_else(|| Object::zero(object.kind()).growth(action));
        }
        bytes += made.iter().map(|id| Object::zero(id.kind()).cost(id)).sum::<usize>();
        (made.len(), bytes)
    }

    /// These are on their way into the log.
    pub fn stamped(&mut self, operations: &[ObjectOperation]) {
        self.untold.push_back(self.growth(operations));
    }

    /// The log has refused the oldest of those.
    pub fn withdrawn(&mut self) {
        self.untold.pop_front();
        self.is_changed = true;
    }

    /// The log has `entry`.
    pub fn take(&mut self, entry: &Entry) {
        self.untold.pop_front();
        self.apply(entry);
    }

    fn apply(&mut self, entry: &Entry) {
        let at = entry.timestamp;
        for (index, operation) in entry.objects().iter().enumerate() {
            let serial = MessageRef { serial: entry.serial, index: index as u16 };
            self.apply_one(operation, serial, at);
        }
        // What is applied again, since it was read twice, is of no effect.
        if self.upto.is_none_or(|upto| upto.place() < entry.serial.place()) {
            self.upto = Some(entry.serial);
        }
    }

    fn apply_one(&mut self, operation: &ObjectOperation, serial: MessageRef, at: Timestamp) {
        let ObjectOperation { object: id, action, .. } = operation;
        for (_, value) in action.sets() {
            // RTLM7g1.
            if let Some(id) = reference(value) {
                self.object(id);
            }
        }
        let object = self.object(id);
        let (before, mut emptied) = (object.cost(id), Vec::new());
        if let Action::Clear | Action::Delete = action {
            emptied.extend(object.entries().keys().cloned());
        }
        object.apply(id.is_root(), action, serial, at);
        let after = object.cost(id);
        let keys = action.sets().map(|(key, _)| key).chain(action.key()).chain(&emptied);
        self.touched.extend(keys.map(|key| (id.clone(), Some(key.clone()))));
        self.touched.insert((id.clone(), None));
        self.tab.add_anyway(after.saturating_sub(before));
        self.tab.remove(before.saturating_sub(after));
        self.is_changed |= !matches!(action, Action::Increment(_));
    }

    /// An object, made without a value when there is none (RTO6).
    fn object(&mut self, id: &ObjectId) -> &mut Object {
        self.snapshot = None;
        let (tab, touched, is_changed) = (&mut self.tab, &mut self.touched, &mut self.is_changed);
        let object = Arc::make_mut(&mut self.pool).entry(id.clone()).or_insert_with(|| {
            let object = Object::zero(id.kind());
            *is_changed = true;
            tab.add_anyway(object.cost(id));
            touched.insert((id.clone(), None));
            Arc::new(object)
        });
        Arc::make_mut(object)
    }

    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        let (pool, account) = (&self.pool, &self.account);
        let make = || Arc::new(Snapshot::new(Arc::clone(pool), account.clone()));
        Arc::clone(self.snapshot.get_or_insert_with(make))
    }

    /// What is to be kept, since it was last asked; or with `all` everything, since some of it was not.
    pub fn changes(&mut self, all: bool) -> Option<Changes> {
        let (upto, touched) = (self.upto?, mem::take(&mut self.touched));
        let from = self.given.replace(upto).filter(|_| !all);
        let rows = if all { self.all_rows() } else { touched.into_iter().map(|touched| self.row(touched)).collect() };
        (!rows.is_empty()).then_some(Changes { from, upto, rows })
    }

    fn row(&self, (id, key): (ObjectId, Option<ByteString>)) -> Row {
        match (self.pool.get(&id), key) {
            (Some(object), None) => Row::Head(id, object.head),
            (None, None) => Row::Gone(id),
            (object, Some(key)) => {
                let entry = object.and_then(|object| object.entries().get(&key).cloned());
                Row::Entry(id, key, entry)
            }
        }
    }

    fn all_rows(&self) -> Vec<Row> {
        let rows = self.pool.iter().flat_map(|(id, object)| {
            let entries = object.entries().iter();
            let entries = entries.map(|(key, entry)| Row::Entry(id.clone(), key.clone(), Some(entry.clone())));
            [Row::Head(id.clone(), object.head)].into_iter().chain(entries)
        });
        [Row::AllGone].into_iter().chain(rows).collect()
    }

    /// Forgets what was removed long ago; the objects that are to be deleted now, since they could not be reached for a while
    /// (`docs/protocols/ably.md §10.7`).
    pub fn expire(&mut self, now: Now) -> Vec<ObjectId> {
        self.snapshot = None;
        if !self.untold.is_empty() {
            return Vec::new();
        }
        self.forget_removed(now.wall);
        if mem::take(&mut self.is_changed) {
            self.look_for_unreachable(now.wall);
        }
        let is_due = |since: &Timestamp| since.millis() + millis(limits::OBJECT_UNREACHABLE) <= now.wall.millis();
        let due = self.unreachable.iter().filter(|(_, since)| is_due(since));
        let due: Vec<ObjectId> = due.map(|(id, _)| id.clone()).take(limits::FRAME_ITEMS).collect();
        for id in &due {
            self.unreachable.remove(id);
        }
        due
    }

    /// Which of these cannot be reached, nor are deleted.
    pub fn unreached(&self, mut ids: Vec<ObjectId>) -> Vec<ObjectId> {
        let reached = self.reached();
        let is_there = |id: &ObjectId| self.pool.get(id).is_some_and(|object| object.head.deleted.is_none());
        ids.retain(|id| !reached.contains(id) && is_there(id));
        ids
    }

    fn reached(&self) -> HashSet<ObjectId> {
        let (mut reached, mut next) = (HashSet::new(), vec![ObjectId::root()]);
        while let Some(id) = next.pop() {
            if let Some(object) = self.pool.get(&id)
                && reached.insert(id)
            {
                next.extend(references(object).cloned());
            }
        }
        reached
    }

    fn look_for_unreachable(&mut self, now: Timestamp) {
        let reached = self.reached();
        let since = self.upto.map_or(now, |upto| Timestamp::from_millis(upto.place().0));
        self.unreachable.retain(|id, _| self.pool.contains_key(id) && !reached.contains(id));
        for (id, object) in self.pool.iter() {
            if !id.is_root() && object.head.deleted.is_none() && !reached.contains(id) {
                self.unreachable.entry(id.clone()).or_insert(since);
            }
        }
    }

    fn forget_removed(&mut self, now: Timestamp) {
        let look = now.millis() - now.millis() % millis(limits::OBJECTS_LOOK);
        let before = Timestamp::from_millis(look.saturating_sub(millis(limits::OBJECTS_GRACE)));
        if self.forgotten.replace(before) == Some(before) {
            return;
        }
        let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at.millis() <= before.millis());
        let with_any =
            self.pool.iter().filter(|(_, object)| is_over(object.head.deleted) || object.has_removed(before));
        let with_any: Vec<ObjectId> = with_any.map(|(id, _)| id.clone()).collect();
        for id in with_any {
            let object = self.object(&id);
            let cost = object.cost(&id);
            if is_over(object.head.deleted) {
                Arc::make_mut(&mut self.pool).remove(&id);
                self.tab.remove(cost);
                self.touched.insert((id, None));
                continue;
            }
            let keys = object.forget_removed(before);
            let after = object.cost(&id);
            self.tab.remove(cost - after);
            self.touched.extend(keys.into_iter().map(|key| (id.clone(), Some(key))));
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn reference(value: &Value) -> Option<&ObjectId> {
    if let Value::Object(id) = value { Some(id) } else { None }
}

fn references(object: &Object) -> impl Iterator<Item = &ObjectId> {
    object.values().filter_map(|(_, value)| reference(value))
}
