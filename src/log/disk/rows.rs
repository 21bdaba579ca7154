//! Channels and their entries as rows of the data file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `channels` | app (6 bytes), name | [`ChannelRow`] |
//! | `entries` | number of the channel (8), serial: ms (8), counter (2); big-endian, so that they sort as the log does | `encoding` |

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{
    core::{
        message::Entry,
        serial::{Epoch, Place, Serial},
    },
    ids::{AppId, ChannelName},
    log::disk::encoding,
    store::{
        StoreError,
        engine::{Order, Rows, Table, Visitor, Writing},
    },
};

pub const CHANNELS: Table = Table("channels");
pub const ENTRIES: Table = Table("entries");

const APP_BYTES: usize = 6;
const ENTRY_KEY_BYTES: usize = 18;
const ROW_VERSION: u8 = 1;
/// Before the first entry of any log.
pub const NOWHERE: Place = (0, 0);

/// What is known of a channel beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRow {
    /// Its number, given once.
    pub id: u64,
    pub epoch: Epoch,
    /// A window that was handed over at a shutdown, to be taken up at the next start.
    pub is_window: bool,
    /// A position that the next serial has to follow, whatever entries there are.
    pub last: Place,
    /// The newest entry that is kept no more.
    pub dropped: Place,
    /// Bytes of all entries up to `counted`.
    pub bytes: u64,
    pub counted: Place,
}

impl ChannelRow {
    pub const fn new(id: u64, epoch: Epoch, is_window: bool) -> Self {
        Self { id, epoch, is_window, last: NOWHERE, dropped: NOWHERE, bytes: 0, counted: NOWHERE }
    }

    /// None for [`NOWHERE`].
    pub fn serial(&self, place: Place) -> Option<Serial> {
        (place != NOWHERE).then(|| Serial::at(self.epoch, place))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![ROW_VERSION, u8::from(self.is_window)];
        for number in [self.id, self.epoch.bits(), self.bytes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for (millis, counter) in [self.last, self.dropped, self.counted] {
            bytes.extend_from_slice(&millis.to_be_bytes());
            bytes.extend_from_slice(&counter.to_be_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<2>()?;
        let [ROW_VERSION, is_window] = *head else {
            return None;
        };
        let mut number = || {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_be_bytes(*number))
        };
        let (id, epoch, bytes) = (number()?, number()?, number()?);
        let mut places = rest.as_chunks::<10>().0.iter();
        let mut place = || {
            let (millis, counter) = places.next()?.split_first_chunk()?;
            let counter = u16::from_be_bytes(counter.try_into().ok()?);
            Some((u64::from_be_bytes(*millis), counter))
        };
        Some(Self {
            id,
            epoch: Epoch::new(epoch),
            is_window: is_window == 1,
            last: place()?,
            dropped: place()?,
            bytes,
            counted: place()?,
        })
    }
}

pub fn channel_key(name: &ChannelName) -> Vec<u8> {
    [name.app().as_str().as_bytes(), name.as_str().as_bytes()].concat()
}

pub fn channel_name(key: &[u8]) -> Option<ChannelName> {
    let (app, name) = key.split_at_checked(APP_BYTES)?;
    let app = AppId::parse(std::str::from_utf8(app).ok()?)?;
    Some(ChannelName::new(app, std::str::from_utf8(name).ok()?))
}

pub fn entry_key(id: u64, (millis, counter): Place) -> [u8; ENTRY_KEY_BYTES] {
    let mut key = [0; ENTRY_KEY_BYTES];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8..16].copy_from_slice(&millis.to_be_bytes());
    key[16..].copy_from_slice(&counter.to_be_bytes());
    key
}

/// The number of its channel, and its place.
pub fn entry_place(key: &[u8]) -> Option<(u64, Place)> {
    let key: &[u8; ENTRY_KEY_BYTES] = key.try_into().ok()?;
    let (id, rest) = key.split_first_chunk()?;
    let (millis, counter) = rest.split_first_chunk()?;
    let counter = u16::from_be_bytes(counter.try_into().ok()?);
    Some((u64::from_be_bytes(*id), (u64::from_be_bytes(*millis), counter)))
}

/// What is known of a channel, if the file knows it.
pub fn channel(rows: &mut impl Rows, name: &ChannelName) -> Result<Option<ChannelRow>, StoreError> {
    let Some(bytes) = rows.get(CHANNELS, &channel_key(name))? else {
        return Ok(None);
    };
    let row = ChannelRow::decode(&bytes);
    row.map(Some).ok_or_else(|| StoreError::damaged(format!("channel {name} of app {}", name.app())))
}

pub fn put_channel(rows: &mut Writing<'_>, name: &ChannelName, row: &ChannelRow) -> Result<(), StoreError> {
    rows.put(CHANNELS, &channel_key(name), &row.encode())
}

/// Visits all channels, in the order of their names.
pub fn channels(
    rows: &mut impl Rows,
    mut visit: impl FnMut(ChannelName, ChannelRow) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let everything = (Bound::Unbounded, Bound::Unbounded);
    rows.visit(CHANNELS, everything, Order::Rising, &mut |key, value| {
        let (Some(name), Some(row)) = (channel_name(key), ChannelRow::decode(value)) else {
            return Err(StoreError::damaged("the row of a channel"));
        };
        visit(name, row)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Which entries of a channel, both ends left out.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub after: Place,
    /// None = to the end.
    pub before: Option<Place>,
}

impl Slice {
    pub const ALL: Self = Self { after: NOWHERE, before: None };
}

/// Visits the entries of a channel.
pub fn entries(
    rows: &mut impl Rows,
    name: &ChannelName,
    row: &ChannelRow,
    slice: Slice,
    order: Order,
    mut visit: impl FnMut(Entry, usize) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let result = raw_entries(rows, row.id, slice, order, &mut |key, value| {
        let serial = entry_place(key).map(|(_, place)| Serial::at(row.epoch, place));
        let entry = serial.and_then(|serial| encoding::decode(name, serial, Bytes::copy_from_slice(value)));
        match entry {
            Some(entry) => visit(entry, value.len()),
            None => Err(StoreError::damaged(format!("row {}", hex::encode(key)))),
        }
    });
    // So that the operator knows whom it hits.
    result.map_err(|error| match error {
        StoreError::Damaged(what) => StoreError::damaged(format!("{what}, in channel {name} of app {}", name.app())),
        error => error,
    })
}

/// The same, undecoded.
pub fn raw_entries(
    rows: &mut impl Rows,
    id: u64,
    slice: Slice,
    order: Order,
    visit: &mut Visitor<'_>,
) -> Result<(), StoreError> {
    let from = entry_key(id, slice.after);
    let to = entry_key(id, slice.before.unwrap_or((u64::MAX, u16::MAX)));
    let span = (Bound::Excluded(&from[..]), Bound::Excluded(&to[..]));
    rows.visit(ENTRIES, span, order, visit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_keys_read_back() {
        let row = ChannelRow {
            id: 7,
            epoch: Epoch::new(u64::MAX),
            is_window: true,
            last: (1, 2),
            dropped: (3, 4),
            bytes: 5,
            counted: (6, 999),
        };
        assert_eq!(ChannelRow::decode(&row.encode()), Some(row));
        assert_eq!(ChannelRow::decode(&row.encode()[1..]), None);
        let name = ChannelName::new(AppId::random(), "a:ü");
        assert_eq!(channel_name(&channel_key(&name)), Some(name));
        assert_eq!(entry_place(&entry_key(9, (8, 7))), Some((9, (8, 7))));
    }

    #[test]
    fn keys_sort_as_the_log_does() {
        let places = [(1, 2), (1, 999), (2, 0), (256, 1), (1 << 40, 3)];
        let keys = places.map(|place| entry_key(3, place));
        assert!(keys.is_sorted());
    }
}
