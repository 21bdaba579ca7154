//! The objects of a channel as Redis has them beside the log: so a node that needs them does not depend on how long entries are
//! kept.
//!
//! A hash: `u` epoch and place that the rest is as at; `n` place of the newest operation, by the script that appends it; `h`, id ->
//! what an object is beside its entries; `e`, id, 0, key -> an entry. Whoever has published an operation writes the rows that it has
//! changed behind it, the other nodes a little later, if they are not there by then. What is behind them is in the stream.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Done, Found, KEEP_OBJECTS, Keys, OBJECTS, SharedLog, Slice, Written, counted, keys, seen_args, understand, wire,
};
use crate::{
    core::{
        chain::Linked,
        message::Entry,
        objects::{Changes, Kept, Object, ObjectId, Row},
        serial::{Place, Serial},
    },
    engines::redis::Call,
    ids::ChannelName,
    limits,
    log::{
        ObjectsRead, StoreError,
        disk::encoding::objects::{decode_head, decode_map_entry, encode_head, encode_map_entry},
    },
};

const UPTO: &[u8] = b"u";
const NEWEST: &[u8] = b"n";
const HEAD: &[u8] = b"h";
const ENTRY: &[u8] = b"e";
const END_OF_ID: u8 = 0;

impl SharedLog {
    /// How long objects are kept after the channel was last in use at any node, in milliseconds.
    pub(super) fn objects_life(&self, channel: &ChannelName) -> Bytes {
        self.bounds(channel).0.max(limits::OBJECTS_GRACE.as_millis()).to_string().into()
    }

    pub(super) fn read_objects(&self, channel: &ChannelName, done: Box<dyn FnOnce(ObjectsRead) + Send>) {
        let (keys, name) = (Keys::of(channel), channel.clone());
        let keys = vec![keys.objects(), keys.stream()];
        let log = self.clone();
        let read = move |answer| match understand(answer, |parts| read(&name, parts)) {
            Ok((kept, None)) => done(Ok(kept)),
            Ok((kept, Some(rest))) => log.read_operations(name, kept, rest, done),
            Err(error) => done(Err(error)),
        };
        let args = vec![limits::REPLICA_BYTES.to_string().into()];
        self.0.reads.call(Call { script: OBJECTS, keys, args, repeats: true, done: Box::new(read) });
    }

    /// Reads the operations that are still missing.
    fn read_operations(
        &self,
        channel: ChannelName,
        mut kept: Kept,
        Rest { after, newest }: Rest,
        done: Box<dyn FnOnce(ObjectsRead) + Send>,
    ) {
        let (log, name) = (self.clone(), channel.clone());
        let read = move |found: Result<Found, StoreError>| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return done(Err(error)),
            };
            if found.entries.first().is_none_or(|first| first.previous.place() > after.place()) {
                tell_loss();
            }
            let last = found.entries.last().map(|linked| linked.entry.serial);
            kept.tail.extend(operations(found.entries));
            match last.filter(|_| found.has_more) {
                Some(after) => log.read_operations(channel, kept, Rest { after, newest }, done),
                None => done(Ok(kept)),
            }
        };
        let slice = Slice { to: keys::id(newest), ..Slice::after(after, limits::REPLICA_BYTES) };
        self.read(&name, None, slice, Box::new(read));
    }

    pub(super) fn write_objects(&self, channel: &ChannelName, changes: &Changes, done: Done<()>) {
        let Changes { from, upto, rows } = changes;
        let place = |serial: Serial| Bytes::copy_from_slice(&wire::place_bytes(serial.place()));
        let mut args = seen_args(None);
        args.extend([
            (self.bounds(channel).0 + limits::HEAD_LIFE.as_millis()).to_string().into(),
            self.objects_life(channel),
            from.map_or_else(Bytes::new, place),
            [&upto.epoch().bits().to_be_bytes()[..], &place(*upto)].concat().into(),
        ]);
        args.extend(rows.iter().flat_map(fields).flatten());
        let keys = Keys::of(channel);
        let keys = vec![keys.head(), keys.stream(), keys.objects()];
        let kept = |parts: &[Bytes]| match parts.first().map(|outcome| &outcome[..]) {
            Some(b"kept") => Some(Ok(())),
            // What they go on from is gone.
            Some(b"behind") => Some(Err(StoreError::Busy)),
            _ => None,
        };
        let done = Box::new(move |answer| done(understand(answer, kept).flatten()));
        self.0.appends.call(Call { script: KEEP_OBJECTS, keys, args, repeats: true, done });
    }
}

/// The field of a row and its value, which is empty when it is kept no more. What takes the place of everything says so by
/// what it goes on from.
fn fields(row: &Row) -> Option<[Bytes; 2]> {
    let head = |id: &ObjectId| Bytes::from([HEAD, id.as_str().as_bytes()].concat());
    Some(match row {
        Row::Head(id, of) => [head(id), encode_head(of).into()],
        Row::Gone(id) => [head(id), Bytes::new()],
        Row::Entry(id, key, entry) => {
            let field = [ENTRY, id.as_str().as_bytes(), &[END_OF_ID], key.as_bytes()].concat();
            [field.into(), entry.as_ref().map_or_else(Bytes::new, |entry| encode_map_entry(entry).into())]
        }
        Row::AllGone => return None,
    })
}

/// Entries that an answer had no room for.
struct Rest {
    after: Serial,
    newest: Place,
}

fn operations(entries: Vec<Linked>) -> impl Iterator<Item = Arc<Entry>> {
    entries.into_iter().map(|linked| linked.entry).filter(|entry| !entry.objects().is_empty())
}

fn tell_loss() {
    tracing::error!("operations on objects of a channel are lost: redis had them no more before they were kept");
}

fn read(channel: &ChannelName, parts: &[Bytes]) -> Option<(Kept, Option<Rest>)> {
    let (has_more, parts) = parts.split_first()?;
    let (rows, entries) = counted(parts)?;
    let (mut objects, mut found) = (BTreeMap::new(), Vec::new());
    let (mut upto, mut newest): (Option<Serial>, Option<Place>) = (None, None);
    for pair in rows.chunks(2) {
        let [field, value] = pair else { return None };
        let (kind, rest) = field.split_at_checked(1)?;
        match kind {
            UPTO => upto = Some(wire::serial(value.get(..8)?, value.get(8..)?)?),
            NEWEST => newest = Some(wire::place(value)?),
            HEAD => drop(objects.insert(id(rest)?, Object::with(decode_head(value.clone())?))),
            _ => {
                let end = rest.iter().position(|byte| *byte == END_OF_ID)?;
                let key = ByteString::try_from(Bytes::copy_from_slice(rest.get(end + 1..)?)).ok()?;
                found.push((id(&rest[..end])?, key, decode_map_entry(value.clone())?));
            }
        }
    }
    for (id, key, entry) in found {
        let kind = id.kind();
        objects.entry(id).or_insert_with(|| Object::zero(kind)).put(key, entry);
    }
    let linked = entries.iter().map(|bytes| Written::parse(bytes.clone())?.link(channel));
    let linked: Vec<_> = linked.collect::<Option<_>>()?;
    let place = upto.map(Serial::place);
    if newest > place && linked.first().is_none_or(|first| Some(first.previous.place()) > place.or(Some((0, 0)))) {
        tell_loss();
    }
    let last = linked.last().map(|linked| linked.entry.serial).filter(|_| &has_more[..] == b"1");
    let rest = last.zip(newest).map(|(after, newest)| Rest { after, newest });
    Some((Kept { objects: objects.into_iter().collect(), upto, tail: operations(linked).collect() }, rest))
}

fn id(bytes: &[u8]) -> Option<ObjectId> {
    ObjectId::parse(&ByteString::try_from(Bytes::copy_from_slice(bytes)).ok()?)
}
