//! What is kept of the objects of channels, persisted or not: they outlive the entries that they follow from.
//!
//! | table | key | value |
//! |---|---|---|
//! | `object_channels` | app (6 bytes), name | the newest operation that the rows of its objects have |
//! | `objects` | length of that key (2), that key, id of an object | what it is beside its entries |
//! | `objects` | the same, 0, key of an entry | the entry |
//!
//! Rows are written behind the entries that change them, and say up to where; what the log has behind that is applied when
//! they are read.

use std::{ops::Bound, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        objects::{Changes, Kept, Object, ObjectId, Row},
        serial::Serial,
    },
    ids::{ChannelName, Timestamp},
    limits,
    log::{
        Done, ObjectsRead,
        disk::{
            DiskLog,
            encoding::{self, objects as coding},
            rows::{self, NOWHERE, Slice},
        },
    },
    store::{
        StoreError,
        engine::{Engine, Order, Reading, Rows as _, Table, Writing},
    },
};

pub const OBJECTS: Table = Table("objects");
pub const CHANNELS: Table = Table("object_channels");

const END_OF_ID: u8 = 0;
/// Behind the keys of everything of an object, and of everything of a channel: ids are ASCII.
const AFTER_OBJECT: u8 = 1;
const AFTER_CHANNEL: u8 = 0xff;

fn prefix(channel: &[u8]) -> Vec<u8> {
    [&(channel.len() as u16).to_be_bytes(), channel].concat()
}

/// From now on the channel has objects; its rows have nothing of them yet.
pub fn begin(rows: &mut Writing<'_>, channel: &[u8], before: Serial) -> Result<(), StoreError> {
    match rows.get(CHANNELS, channel)? {
        Some(_) => Ok(()),
        None => rows.put(CHANNELS, channel, &coding::encode_upto(before)),
    }
}

enum Change {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// Everything from the first key up to before the second.
    RemoveAll(Vec<u8>, Vec<u8>),
}

/// Writes changes; not if those before them could not be written.
pub fn keep(engine: &Engine, channel: &ChannelName, changes: &Changes, done: Done<()>) {
    let Changes { from, upto, rows } = changes;
    let (from, upto) = (*from, coding::encode_upto(*upto));
    let channel = rows::channel_key(channel);
    let prefix = prefix(&channel);
    let key = |id: &ObjectId, rest: &[&[u8]]| [&[&prefix[..], id.as_str().as_bytes()], rest].concat().concat();
    let changes = rows.iter().map(|row| match row {
        Row::Head(id, head) => Change::Put(key(id, &[]), coding::encode_head(head)),
        Row::Entry(id, name, entry) => {
            let key = key(id, &[&[END_OF_ID], name.as_bytes()]);
            match entry {
                Some(entry) => Change::Put(key, coding::encode_map_entry(entry)),
                None => Change::Remove(key),
            }
        }
        Row::Gone(id) => Change::RemoveAll(key(id, &[]), key(id, &[&[AFTER_OBJECT]])),
        Row::AllGone => Change::RemoveAll(prefix.clone(), [&prefix[..], &[AFTER_CHANNEL]].concat()),
    });
    let changes: Vec<Change> = changes.collect();
    let bytes =
        changes.iter().map(|change| if let Change::Put(key, value) = change { key.len() + value.len() } else { 64 });
    let bytes = bytes.sum();
    let work = move |rows: &mut Writing<'_>| {
        let kept = rows.get(CHANNELS, &channel)?.and_then(|kept| coding::decode_upto(Bytes::copy_from_slice(&kept)));
        if from.is_some() && from != kept {
            return Err(StoreError::Busy);
        }
        for change in &changes {
            match change {
                Change::Put(key, value) => rows.put(OBJECTS, key, value)?,
                Change::Remove(key) => rows.remove(OBJECTS, key)?,
                Change::RemoveAll(from, to) => remove_all(rows, from, to)?,
            }
        }
        rows.put(CHANNELS, &channel, &upto)
    };
    engine.submit(bytes, Box::new(work), done);
}

fn remove_all(rows: &mut Writing<'_>, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    rows.visit(OBJECTS, (Bound::Included(from), Bound::Excluded(to)), Order::Rising, &mut |key, _| {
        keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    keys.iter().try_for_each(|key| rows.remove(OBJECTS, key))
}

/// Reads what is kept of the objects of one channel, by turns.
struct ObjectsReading {
    name: ChannelName,
    prefix: Vec<u8>,
    /// The last row that was read.
    last: Option<Vec<u8>>,
    kept: Kept,
}

impl ObjectsReading {
    /// Whether that is all.
    fn turn(&mut self, rows: &mut Reading) -> Result<bool, StoreError> {
        let channel = rows::channel_key(&self.name);
        if self.last.is_none() {
            let Some(upto) = rows.get(CHANNELS, &channel)? else { return Ok(true) };
            self.kept.upto = coding::decode_upto(Bytes::copy_from_slice(&upto));
        }
        let from = self.last.take().unwrap_or_else(|| self.prefix.clone());
        let to = [&self.prefix[..], &[AFTER_CHANNEL]].concat();
        let (mut count, mut last, objects, skip) = (0, None, &mut self.kept.objects, self.prefix.len());
        rows.visit(
            OBJECTS,
            (Bound::Excluded(&from[..]), Bound::Excluded(&to[..])),
            Order::Rising,
            &mut |key, value| {
                let damaged = || StoreError::damaged(format!("row {} of objects", hex::encode(key)));
                let value = Bytes::copy_from_slice(value);
                restore(objects, &key[skip..], value).ok_or_else(damaged)?;
                count += 1;
                last = Some(key.to_vec());
                Ok(if count < limits::READ_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            },
        )?;
        if count >= limits::READ_ROWS {
            self.last = last;
            return Ok(false);
        }
        self.read_tail(rows)?;
        Ok(true)
    }

    /// What the log has behind the rows.
    fn read_tail(&mut self, rows: &mut Reading) -> Result<(), StoreError> {
        let Some(row) = rows::channel(rows, &self.name)?.filter(|row| !row.is_window) else { return Ok(()) };
        let upto = self.kept.upto.filter(|upto| upto.epoch() == row.epoch);
        let slice = Slice { after: upto.map_or(NOWHERE, Serial::place), ..Slice::ALL };
        rows::entries(rows, &self.name, &row, slice, Order::Rising, |stored| {
            if encoding::is_objects(stored.value) {
                self.kept.tail.push(Arc::new(stored.entry()?));
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// Adds a row to the objects; an object comes before its entries. None: it cannot be read.
fn restore(objects: &mut Vec<(ObjectId, Object)>, key: &[u8], value: Bytes) -> Option<()> {
    let end = key.iter().position(|byte| *byte == END_OF_ID);
    let (id, name) = key.split_at(end.unwrap_or(key.len()));
    let id = ObjectId::parse(&ByteString::try_from(Bytes::copy_from_slice(id)).ok()?)?;
    match name.split_first() {
        None => objects.push((id, Object::with(coding::decode_head(value)?))),
        Some((_, name)) => {
            let (last, object) = objects.last_mut()?;
            let name = ByteString::try_from(Bytes::copy_from_slice(name)).ok()?;
            let entry = coding::decode_map_entry(value).filter(|_| *last == id)?;
            object.put(name, entry);
        }
    }
    Some(())
}

impl DiskLog {
    pub(super) fn read_objects(&self, name: &ChannelName, done: Box<dyn FnOnce(ObjectsRead) + Send>) {
        let prefix = prefix(&rows::channel_key(name));
        let mut reading = ObjectsReading { name: name.clone(), prefix, last: None, kept: Kept::default() };
        let (engine, mut done) = (Arc::clone(&self.engine), Some(done));
        self.reader.submit(move || {
            let read = match engine.read(|rows| reading.turn(rows)) {
                Ok(false) => return ControlFlow::Continue(()),
                Ok(true) => Ok(std::mem::take(&mut reading.kept)),
                Err(error) => Err(error),
            };
            if let Some(done) = done.take() {
                done(read);
            }
            ControlFlow::Break(())
        });
    }

    /// Forgets the objects of channels that nobody uses, if nothing was done to them for long.
    pub(super) fn forget_unused_objects(&self, now: Timestamp) -> Result<(), StoreError> {
        let unused = u64::try_from(limits::OBJECTS_UNUSED.as_millis()).unwrap_or(u64::MAX);
        let cutoff = now.millis().saturating_sub(unused);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (names, last) = self.unused_objects(after.as_deref(), cutoff)?;
            self.forget_objects(names)?;
            after = match last {
                None => return Ok(()),
                last => last,
            };
        }
    }

    /// Those of the channels behind a key that nobody uses and nobody has changed since `cutoff`, a page at a time; and the key
    /// that ends the page, unless it is the last.
    fn unused_objects(
        &self,
        after: Option<&[u8]>,
        cutoff: u64,
    ) -> Result<(Vec<ChannelName>, Option<Vec<u8>>), StoreError> {
        let (mut names, mut looked, mut last) = (Vec::new(), 0, None);
        self.engine.read(|rows| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            rows.visit(CHANNELS, (from, Bound::Unbounded), Order::Rising, &mut |key, value| {
                let upto = coding::decode_upto(Bytes::copy_from_slice(value));
                let is_old = upto.is_some_and(|upto| upto.place().0 < cutoff);
                names.extend(rows::channel_name(key).filter(|name| is_old && !self.is_in_use(name)));
                looked += 1;
                if looked < limits::READ_ROWS {
                    return Ok(ControlFlow::Continue(()));
                }
                last = Some(key.to_vec());
                Ok(ControlFlow::Break(()))
            })
        })?;
        Ok((names, last))
    }

    fn forget_objects(&self, names: Vec<ChannelName>) -> Result<(), StoreError> {
        for name in names {
            let channel = rows::channel_key(&name);
            let from = prefix(&channel);
            let to = [&from[..], &[AFTER_CHANNEL]].concat();
            let work = move |rows: &mut Writing<'_>| {
                remove_all(rows, &from, &to)?;
                rows.remove(CHANNELS, &channel)
            };
            self.engine.write(limits::COMMIT_BYTES / 8, Box::new(work))?;
        }
        Ok(())
    }

    fn is_in_use(&self, name: &ChannelName) -> bool {
        self.channels.lock().open.contains_key(name) || self.memory.has(name)
    }
}
