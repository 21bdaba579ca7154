//! Channels and their entries as rows of the data file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `channels` | app (6 bytes), name | [`ChannelRow`] |
//! | `entries` | number of the channel (8), serial: ms (8), counter (2); big-endian, so that they sort as the log does | `encoding` |
//! | `presence` | the same, of entries with presence events | nothing |
//! | `by_message` | number of the channel (8), place of a message (10), its index (2), [`Touch`] (1), place of an entry that concerns it (10) | nothing, or the summary of its annotations up to there |

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{
    core::{
        message::Entry,
        operation::{MessageRef, Touch},
        serial::{Epoch, Place, Serial},
        summary::Summary,
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
pub const PRESENCE: Table = Table("presence");
pub const BY_MESSAGE: Table = Table("by_message");

const APP_BYTES: usize = 6;
const ENTRY_KEY_BYTES: usize = 18;
/// Without and with [`ChannelRow::skew`].
const ROW_VERSIONS: [u8; 2] = [1, 2];
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
    /// By how many milliseconds a serial was ahead of its entry's time, at most. None: an earlier version has begun the
    /// channel; then it is not known, nor are all its presence events in their table.
    pub skew: Option<u64>,
}

impl ChannelRow {
    pub const fn new(id: u64, epoch: Epoch, is_window: bool) -> Self {
        Self { id, epoch, is_window, last: NOWHERE, dropped: NOWHERE, bytes: 0, counted: NOWHERE, skew: Some(0) }
    }

    /// None for [`NOWHERE`].
    pub fn serial(&self, place: Place) -> Option<Serial> {
        (place != NOWHERE).then(|| Serial::at(self.epoch, place))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![ROW_VERSIONS[usize::from(self.skew.is_some())], u8::from(self.is_window)];
        for number in [self.id, self.epoch.bits(), self.bytes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for (millis, counter) in [self.last, self.dropped, self.counted] {
            bytes.extend_from_slice(&millis.to_be_bytes());
            bytes.extend_from_slice(&counter.to_be_bytes());
        }
        bytes.extend(self.skew.into_iter().flat_map(u64::to_be_bytes));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<2>()?;
        let [version, is_window] = *head;
        let has_skew = ROW_VERSIONS.iter().position(|known| *known == version)? == 1;
        let mut number = || {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_be_bytes(*number))
        };
        let (id, epoch, bytes) = (number()?, number()?, number()?);
        let skew = if has_skew {
            let (before, skew) = rest.split_last_chunk()?;
            rest = before;
            Some(u64::from_be_bytes(*skew))
        } else {
            None
        };
        let (&[last, dropped, counted], []) = rest.as_chunks::<10>() else {
            return None;
        };
        let place = |place: [u8; 10]| {
            let (millis, counter) = place.split_first_chunk()?;
            let counter = u16::from_be_bytes(counter.try_into().ok()?);
            Some((u64::from_be_bytes(*millis), counter))
        };
        Some(Self {
            id,
            epoch: Epoch::new(epoch),
            is_window: is_window == 1,
            last: place(last)?,
            dropped: place(dropped)?,
            bytes,
            counted: place(counted)?,
            skew,
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
    channels_after(rows, None, |name, row| visit(name, row).map(ControlFlow::Continue))
}

/// The same behind one of them, for as long as `visit` goes on.
pub fn channels_after(
    rows: &mut impl Rows,
    after: Option<&ChannelName>,
    mut visit: impl FnMut(ChannelName, ChannelRow) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let after = after.map(channel_key);
    let behind = (after.as_deref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    rows.visit(CHANNELS, behind, Order::Rising, &mut |key, value| {
        let (Some(name), Some(row)) = (channel_name(key), ChannelRow::decode(value)) else {
            return Err(StoreError::damaged("the row of a channel"));
        };
        visit(name, row)
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

/// An entry as it is stored.
pub struct Stored<'a> {
    pub name: &'a ChannelName,
    pub serial: Serial,
    pub value: &'a [u8],
}

impl Stored<'_> {
    pub fn entry(&self) -> Result<Entry, StoreError> {
        let entry = encoding::decode(self.name, self.serial, Bytes::copy_from_slice(self.value));
        entry.ok_or_else(|| StoreError::damaged(format!("entry {}", self.serial)))
    }

    /// Whether it concerns messages that were published before it.
    pub fn touches(&self) -> bool {
        encoding::touches(self.value)
    }

    /// Whether it is one of presence events.
    pub fn is_presence(&self) -> bool {
        encoding::is_presence(self.value)
    }
}

/// Visits the entries of a channel.
pub fn entries(
    rows: &mut impl Rows,
    name: &ChannelName,
    row: &ChannelRow,
    slice: Slice,
    order: Order,
    mut visit: impl FnMut(Stored<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let visit = &mut |key: &[u8], value: &[u8]| match entry_place(key) {
        Some((_, place)) => visit(Stored { name, serial: Serial::at(row.epoch, place), value }),
        None => Err(StoreError::damaged(format!("row {}", hex::encode(key)))),
    };
    raw_entries(rows, ENTRIES, row.id, slice, order, visit).map_err(|error| in_channel(name, error))
}

/// The entry at a place, if there is one.
pub fn entry_at(
    rows: &mut impl Rows,
    name: &ChannelName,
    row: &ChannelRow,
    place: Place,
) -> Result<Option<Entry>, StoreError> {
    let Some(value) = rows.get(ENTRIES, &entry_key(row.id, place))? else {
        return Ok(None);
    };
    let stored = Stored { name, serial: Serial::at(row.epoch, place), value: &value };
    stored.entry().map(Some).map_err(|error| in_channel(name, error))
}

/// So that the operator knows whom it hits.
fn in_channel(name: &ChannelName, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(what) => StoreError::damaged(format!("{what}, in channel {name} of app {}", name.app())),
        error => error,
    }
}

/// The rows of a channel in one of the tables of entries.
pub fn raw_entries(
    rows: &mut impl Rows,
    table: Table,
    id: u64,
    slice: Slice,
    order: Order,
    visit: &mut Visitor<'_>,
) -> Result<(), StoreError> {
    let from = entry_key(id, slice.after);
    let to = entry_key(id, slice.before.unwrap_or((u64::MAX, u16::MAX)));
    let span = (Bound::Excluded(&from[..]), Bound::Excluded(&to[..]));
    rows.visit(table, span, order, visit)
}

/// That the entry at a place concerns a message.
pub fn touch_key(id: u64, target: MessageRef, touch: Touch, (millis, counter): Place) -> Vec<u8> {
    let mut key = entry_key(id, target.serial.place()).to_vec();
    key.extend_from_slice(&target.index.to_be_bytes());
    key.push(touch as u8);
    key.extend_from_slice(&millis.to_be_bytes());
    key.extend_from_slice(&counter.to_be_bytes());
    key
}

/// Visits the places of the entries that concern a message in one way, between two places, both left out.
pub fn touching(
    rows: &mut impl Rows,
    id: u64,
    target: MessageRef,
    touch: Touch,
    (after, before): (Place, Option<Place>),
    order: Order,
    mut visit: impl FnMut(Place) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let from = touch_key(id, target, touch, after);
    let to = touch_key(id, target, touch, before.unwrap_or((u64::MAX, u16::MAX)));
    let span = (Bound::Excluded(&from[..]), Bound::Excluded(&to[..]));
    rows.visit(BY_MESSAGE, span, order, &mut |key, _| {
        touch_place(key).map(&mut visit).ok_or_else(|| StoreError::damaged(format!("row {}", hex::encode(key))))
    })
}

/// The newest summary of a message that was kept, up to a place, and where that was.
pub fn kept_summary(
    rows: &mut impl Rows,
    id: u64,
    target: MessageRef,
    upto: Place,
) -> Result<Option<(Place, Summary)>, StoreError> {
    let (from, to) =
        (touch_key(id, target, Touch::Annotation, NOWHERE), touch_key(id, target, Touch::Annotation, upto));
    let mut kept = None;
    rows.visit(
        BY_MESSAGE,
        (Bound::Excluded(&from[..]), Bound::Included(&to[..])),
        Order::Falling,
        &mut |key, value| {
            if value.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let summary = encoding::decode_summary(Bytes::copy_from_slice(value));
            kept = touch_place(key).zip(summary);
            Ok(ControlFlow::Break(()))
        },
    )?;
    Ok(kept)
}

fn touch_place(key: &[u8]) -> Option<Place> {
    let (millis, counter) = key.last_chunk::<10>()?.split_first_chunk()?;
    Some((u64::from_be_bytes(*millis), u16::from_be_bytes(counter.try_into().ok()?)))
}

/// Whether anything concerns a message of the channel that was published before it.
pub fn touches_any(rows: &mut impl Rows, id: u64) -> Result<bool, StoreError> {
    let (from, to) = (entry_key(id, NOWHERE), entry_key(id, (u64::MAX, u16::MAX)));
    let mut is_any = false;
    rows.visit(BY_MESSAGE, (Bound::Excluded(&from[..]), Bound::Excluded(&to[..])), Order::Rising, &mut |_, _| {
        is_any = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(is_any)
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
            skew: Some(8),
        };
        for row in [row, ChannelRow { skew: None, ..row }] {
            assert_eq!(ChannelRow::decode(&row.encode()), Some(row));
        }
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
