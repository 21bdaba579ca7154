//! Messages that grow by appends (`docs/protocols/ably.md §9.4`).
//!
//! The versions of a message that appends have made share one buffer, of which each knows how much is its own. So an append
//! costs what it brings, however long the message is, and each version can be joined whenever somebody wants it whole.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;

use crate::{
    core::{
        budget::{Account, Charge, Full, Kind},
        message::{Data, Entry},
        operation::{Latest, Operation},
        serial::{Place, Serial},
    },
    limits,
};

/// The message as it is after an append.
#[derive(Clone, Debug)]
pub struct Grown {
    /// The entry with the version before it.
    pub previous: Place,
    /// The data before the first append.
    base: Data,
    tail: Arc<Tail>,
    /// How much of the tail there was by then.
    length: usize,
    is_binary: bool,
    /// Of the appends since the log had the whole message: see [`Grown::is_whole_due`].
    weight: usize,
}

/// All that was appended. Locked for as long as it takes to copy it.
#[derive(Debug, Default)]
struct Tail(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// The version that was joined last: the next reader wants the same one.
    whole: Option<Arc<Entry>>,
    /// Pays for both, and for the base, which its window may have dropped.
    charge: Option<Charge>,
}

impl Kept {
    /// What has to be paid with a tail of so many bytes: they grow by doubling.
    fn due(&self, length: usize, base: usize) -> usize {
        let whole = self.whole.as_ref().map_or(0, |whole| whole.cost());
        base + length.checked_next_power_of_two().unwrap_or(length) + whole
    }

    fn pay_anyway(&mut self, length: usize, base: usize) {
        let due = self.due(length, base);
        if let Some(charge) = self.charge.as_mut().filter(|charge| charge.bytes() < due) {
            charge.set_anyway(due);
        }
    }
}

impl Grown {
    /// Makes sure that a message can be paid for to which so many bytes will be appended.
    pub fn make_room(latest: &Latest, bytes: usize, account: Option<&Account>) -> Result<(), Full> {
        match (latest.grown(), account) {
            (Some(grown), _) => {
                let mut kept = grown.tail.0.lock();
                let due = kept.due(grown.length + bytes, grown.base.len());
                match &mut kept.charge {
                    Some(charge) if charge.bytes() < due => charge.set(due),
                    _ => Ok(()),
                }
            }
            // Paid in truth when the log has it.
            (None, Some(account)) => account.charge(Kind::Versions, latest.data_len() + bytes).map(drop),
            (None, None) => Ok(()),
        }
    }

    /// As a log gives it back that has the whole message.
    pub fn restored(previous: Place, base: Data) -> Self {
        let is_binary = matches!(base, Data::Binary(_));
        Self { previous, base, tail: Tail::new(None), length: 0, is_binary, weight: 0 }
    }

    /// `account` pays for it from now on, if nobody does.
    pub fn charge_to(&self, account: &Account) {
        let mut kept = self.tail.0.lock();
        kept.charge.get_or_insert_with(|| account.charge_anyway(Kind::Versions, 0));
        let length = kept.bytes.len();
        kept.pay_anyway(length, self.base.len());
    }

    /// Whether a log that puts messages together from their appends is to keep this version whole: as soon as those behind
    /// the last one weigh as much as the message. So neither an append nor a look at the message costs more for a longer one.
    pub fn is_whole_due(&self) -> bool {
        self.weight >= self.len().max(limits::APPENDS_READ * limits::APPEND_WEIGHT)
    }

    fn of(latest: &Latest, fragment: &Data, account: Option<&Account>) -> Self {
        let previous = latest.entry.serial.place();
        let before = latest.grown().filter(|grown| !grown.is_whole_due()).map_or(0, |grown| grown.weight);
        let weight = before + limits::APPEND_WEIGHT + fragment.len();
        let (base, tail, length, is_binary) = match latest.grown() {
            Some(grown) => {
                account.into_iter().for_each(|account| grown.charge_to(account));
                (grown.base.clone(), Arc::clone(&grown.tail), grown.length, grown.is_binary)
            }
            None => {
                let base = latest.message().map(|message| message.payload.data.clone()).unwrap_or_default();
                let is_binary = matches!(base, Data::Binary(_));
                (base, Tail::new(account), 0, is_binary)
            }
        };
        let is_binary = is_binary || matches!(fragment, Data::Binary(_));
        let tail = tail.grow(length, bytes_of(fragment), base.len(), account);
        Self { previous, base, tail, length: length + fragment.len(), is_binary, weight }
    }

    /// How many bytes of data the message has.
    pub fn len(&self) -> usize {
        self.base.len() + self.length
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All data of the message.
    pub fn join(&self) -> Data {
        self.join_with(&self.tail.0.lock())
    }

    fn join_with(&self, kept: &Kept) -> Data {
        let tail = kept.bytes.get(..self.length).unwrap_or_default();
        let all = [bytes_of(&self.base), tail].concat();
        if self.is_binary {
            return Data::Binary(Bytes::from(all));
        }
        // Texts that are put together are a text.
        Data::Text(ByteString::try_from(all).unwrap_or_default())
    }

    /// The entry at `serial` with all data, which `make` makes unless it was the last one that was made.
    pub fn whole(&self, serial: Serial, make: impl FnOnce(Data) -> Entry) -> Arc<Entry> {
        let mut kept = self.tail.0.lock();
        if let Some(whole) = kept.whole.as_ref().filter(|whole| whole.serial == serial) {
            return Arc::clone(whole);
        }
        let whole = Arc::new(make(self.join_with(&kept)));
        kept.whole = Some(Arc::clone(&whole));
        let length = kept.bytes.len();
        kept.pay_anyway(length, self.base.len());
        whole
    }
}

impl Operation {
    /// Notes what an append has made of its message, which was `latest` before it.
    pub fn grow(&self, latest: &Latest, account: Option<&Account>) {
        self.grown.get_or_init(|| Grown::of(latest, &self.message.payload.data, account));
    }
}

impl Tail {
    fn new(account: Option<&Account>) -> Arc<Self> {
        let charge = account.map(|account| account.charge_anyway(Kind::Versions, 0));
        Arc::new(Self(Mutex::new(Kept { charge, ..Kept::default() })))
    }

    /// Appends behind the first `length` bytes: to a copy of them if others were appended there, which the log then refused.
    fn grow(self: Arc<Self>, length: usize, fragment: &[u8], base: usize, account: Option<&Account>) -> Arc<Self> {
        let mut kept = self.0.lock();
        if kept.bytes.len() == length {
            kept.bytes.extend_from_slice(fragment);
            kept.pay_anyway(length + fragment.len(), base);
            drop(kept);
            return self;
        }
        let begun = kept.bytes.get(..length).unwrap_or_default().to_vec();
        drop(kept);
        let copy = Self::new(account);
        copy.0.lock().bytes = begun;
        copy.grow(length, fragment, base, account)
    }
}

fn bytes_of(data: &Data) -> &[u8] {
    match data {
        Data::None => &[],
        Data::Text(text) => text.as_bytes(),
        Data::Binary(bytes) => bytes,
    }
}
