//! The objects of a channel at one moment, shared by all who ask before the next change.

use std::{
    collections::btree_map,
    ops::Bound,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        budget::{Account, Kind},
        objects::{Head, MapEntry, Object, ObjectId, Value, pool::Pool},
        pages::{Page, Pages, Start},
        wire::Slot,
    },
    limits,
};

/// The object that a page begins with; of a map that began on an earlier page, the entry as well.
type Place = (ObjectId, Option<ByteString>);

/// Where a page of objects begins, and as what the map was told on whose entries it goes on.
pub type ObjectsStart = Start<Place, Option<Head>>;

/// Objects as they are at one moment: for who attaches, and for requests.
#[derive(Debug)]
pub struct Snapshot {
    pool: Arc<Pool>,
    pages: OnceLock<Pages<Place, Option<Head>>>,
    /// Pays for what is encoded.
    account: Option<Account>,
}

/// An object, and those of its entries that stand on one page.
pub struct Part<'a> {
    pub id: &'a ObjectId,
    pub head: Head,
    pub entries: btree_map::Range<'a, ByteString, MapEntry>,
}

/// What an object and an entry take on a page besides their texts and data, in bytes, about.
const OBJECT_ROOM: usize = 320;
const ENTRY_ROOM: usize = 96;

impl Snapshot {
    pub(super) const fn new(pool: Arc<Pool>, account: Option<Account>) -> Self {
        Self { pool, pages: OnceLock::new(), account }
    }

    pub fn get(&self, id: &ObjectId) -> Option<&Object> {
        self.pool.get(id).map(|object| &**object)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Object)> {
        self.pool.iter().map(|(id, object)| (id, &**object))
    }

    /// The objects from `from` on, as far as they stand on one page, written by `encode` in the format of `slot`.
    pub fn page(
        &self,
        from: Option<&ObjectsStart>,
        slot: Slot,
        encode: impl FnOnce(&mut dyn Iterator<Item = Part<'_>>) -> Bytes,
    ) -> Page<Place, Option<Head>> {
        self.pages().page(from, slot, |next| encode(&mut self.parts(from, next)))
    }

    fn parts<'a>(
        &'a self,
        from: Option<&'a ObjectsStart>,
        next: Option<&'a ObjectsStart>,
    ) -> impl Iterator<Item = Part<'a>> {
        let first = from.map_or(Bound::Unbounded, |((id, _), _)| Bound::Included(id));
        let is_before = move |id: &ObjectId| next.is_none_or(|((end, key), _)| id < end || id == end && key.is_some());
        let all = self.pool.range::<ObjectId, _>((first, Bound::Unbounded));
        all.take_while(move |(id, _)| is_before(id)).map(move |(id, object)| {
            let key = |start: Option<&'a ObjectsStart>| {
                start.filter(|((of, _), _)| of == id).and_then(|((_, key), _)| key.as_ref())
            };
            let begin = key(from).map_or(Bound::Unbounded, Bound::Included);
            let end = key(next).map_or(Bound::Unbounded, Bound::Excluded);
            // All parts of a map say the same of it, and what it is changed by meanwhile follows: clients take it from one part.
            let told = from.filter(|((of, _), _)| of == id).and_then(|(_, head)| *head);
            let entries = object.entries().range::<ByteString, _>((begin, end));
            Part { id, head: told.unwrap_or(object.head), entries }
        })
    }

    /// Cut so that no frame gets longer than clients can read (`docs/protocols/ably.md §1.4`); large maps too.
    fn pages(&self) -> &Pages<Place, Option<Head>> {
        self.pages.get_or_init(|| {
            let (mut starts, mut bytes) = (Vec::new(), 0);
            for (id, object) in self.iter() {
                if bytes + OBJECT_ROOM > limits::SYNC_PAGE_BYTES {
                    starts.push(((id.clone(), None), None));
                    bytes = 0;
                }
                bytes += OBJECT_ROOM;
                for (key, entry) in object.entries() {
                    let size = ENTRY_ROOM + key.len() + entry.value.as_ref().map_or(0, Value::size);
                    if bytes + size > limits::SYNC_PAGE_BYTES && bytes > OBJECT_ROOM {
                        starts.push(((id.clone(), Some(key.clone())), Some(object.head)));
                        bytes = OBJECT_ROOM;
                    }
                    bytes += size;
                }
            }
            Pages::new(starts, self.account.clone().map(|account| (account, Kind::Objects)))
        })
    }
}
