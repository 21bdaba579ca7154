//! What is done to a message after it was published (`docs/protocols/ably.md §9`): updates, deletes, appends, annotations.

use std::{cmp::Ordering, fmt, hash::BuildHasher as _, hash::Hash as _, hash::Hasher as _, sync::Arc, sync::OnceLock};

use bytestring::ByteString;
use foldhash::quality::FixedState;

use crate::{
    core::{
        growth::Grown,
        message::{Body, Data, Entry, Extras, Message, Payload, size_of_identity},
        serial::{Place, Serial},
    },
    ids::{ClientId, ConnectionId, Timestamp},
};

/// Which message of a channel: the position of its entry, and which of the entry's items it is. Written as
/// `<channelSerial>:<3-digit index>` (`docs/protocols/ably.md §3.8`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageRef {
    pub serial: Serial,
    pub index: u16,
}

impl MessageRef {
    /// None when `text` is not what the serial of a message is written as.
    pub fn parse(text: &str) -> Option<Self> {
        let (serial, index) = text.rsplit_once(':')?;
        let is_index = index.len() == 3 && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| is_index)?;
        Some(Self { serial: Serial::parse(serial)?, index })
    }

    /// Its place in its log, to be compared within one epoch only.
    pub const fn place(self) -> (Place, u16) {
        (self.serial.place(), self.index)
    }
}

/// The order of the log, for those of one log.
impl Ord for MessageRef {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |message: &Self| (message.place(), message.serial.epoch().bits());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for MessageRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MessageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:03}", self.serial, self.index)
    }
}

/// What an operation does to its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Update,
    Delete,
    Append,
}

/// What the operator says about an operation; its serial and its time are those of the entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    /// The operator, if it is identified.
    pub client_id: Option<ClientId>,
    pub description: Option<ByteString>,
    pub metadata: Option<Box<Extras>>,
}

/// What of a message never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of the message, not that of its entry.
    pub id: ByteString,
    pub timestamp: Timestamp,
    /// The connection it came by.
    pub publisher: Option<ConnectionId>,
}

/// One version of a message. An entry has one operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub target: MessageRef,
    pub change: Change,
    /// The message as it is from then on; of an append, `payload` is what is appended. As its client hands it in it is empty
    /// where nothing changes: the channel fills that in ([`Versions::judge`](crate::core::versions::Versions::judge)).
    pub message: Message,
    pub origin: Origin,
    pub version: Version,
    /// A digest of what the client handed in: the message is completed later.
    pub digest: u64,
    /// What the message has become by this append. Known from the moment when the log has the append and all before it.
    pub(super) grown: OnceLock<Grown>,
}

impl PartialEq for Operation {
    fn eq(&self, other: &Self) -> bool {
        let parts = |operation: &Self| (operation.target, operation.change, operation.digest);
        parts(self) == parts(other)
            && self.message == other.message
            && self.origin == other.origin
            && self.version == other.version
    }
}

impl Operation {
    /// As a client hands it in.
    pub fn new(target: MessageRef, change: Change, message: Message, version: Version) -> Self {
        let mut hash = FixedState::default().build_hasher();
        (target, change, &message.name, &message.payload.encoding).hash(&mut hash);
        match &message.payload.data {
            Data::None => hash.write_u8(0),
            Data::Text(text) => (1u8, text).hash(&mut hash),
            Data::Binary(bytes) => (2u8, bytes).hash(&mut hash),
        }
        (&version.description, version.client_id.as_ref().map(ClientId::as_str)).hash(&mut hash);
        let origin = Origin { id: ByteString::new(), timestamp: Timestamp::from_millis(0), publisher: None };
        Self { target, change, message, origin, version, digest: hash.finish(), grown: OnceLock::new() }
    }

    /// As a log gives it back.
    pub const fn stored(
        target: MessageRef,
        change: Change,
        message: Message,
        origin: Origin,
        version: Version,
        digest: u64,
    ) -> Self {
        Self { target, change, message, origin, version, digest, grown: OnceLock::new() }
    }

    /// The same of an append, with what the message has become by it.
    pub fn restored(self, grown: Grown) -> Self {
        Self { grown: OnceLock::from(grown), ..self }
    }

    /// What the message has become by it; none: it is no append, or that is not known yet.
    pub fn grown(&self) -> Option<&Grown> {
        self.grown.get()
    }

    /// The message as it is from then on is known.
    pub fn is_complete(&self) -> bool {
        self.change != Change::Append || self.grown.get().is_some()
    }

    /// By the limits' measure.
    pub fn size(&self) -> usize {
        let Version { client_id, description, metadata } = &self.version;
        let said = size_of_identity(client_id.as_ref(), metadata.as_deref());
        self.message.size() + said + description.as_ref().map_or(0, |text| text.len())
    }

    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + TOUCH_COST + self.size() + self.message.payload.encoding.len() + self.origin.id.len()
    }
}

/// What the index of a window takes for one operation or annotation, in bytes, about.
const TOUCH_COST: usize = 96;

/// One annotation of a message (`docs/protocols/ably.md §3.3`).
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    pub target: MessageRef,
    pub is_delete: bool,
    /// `<namespace>:<method>.v1`
    pub kind: ByteString,
    /// Empty = none.
    pub name: ByteString,
    pub count: Option<u64>,
    pub client_id: Option<ClientId>,
    pub payload: Payload,
    pub extras: Option<Box<Extras>>,
}

impl Annotation {
    /// By the limits' measure.
    pub fn size(&self) -> usize {
        let texts = self.kind.len() + self.name.len();
        texts + size_of_identity(self.client_id.as_ref(), self.extras.as_deref()) + self.payload.data.len()
    }

    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + TOUCH_COST + self.size() + self.payload.encoding.len()
    }
}

/// How an entry concerns a message that was published before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Touch {
    /// An update or a delete, which has the whole message.
    Version,
    Append,
    Annotation,
}

impl Entry {
    /// What is done to a message; none when it is of another kind.
    pub fn operation(&self) -> Option<&Operation> {
        match &self.body {
            Body::Operation(operation) => Some(operation),
            _ => None,
        }
    }

    /// The annotations; none when it is of another kind.
    pub fn annotations(&self) -> &[Annotation] {
        match &self.body {
            Body::Annotations(annotations) => annotations,
            _ => &[],
        }
    }

    /// The messages that it concerns beside those that it brings, each once.
    pub fn touches(&self) -> impl Iterator<Item = (MessageRef, Touch)> + '_ {
        let operation = self.operation().map(|operation| {
            let touch = if operation.change == Change::Append { Touch::Append } else { Touch::Version };
            (operation.target, touch)
        });
        let annotations = self.annotations();
        let is_first = |at: usize| annotations[..at].iter().all(|before| before.target != annotations[at].target);
        let annotated = (0..annotations.len()).filter(move |at| is_first(*at));
        operation.into_iter().chain(annotated.map(|at| (annotations[at].target, Touch::Annotation)))
    }

    /// The append as the update that has the whole message; none when it is no append, or its message is not known yet.
    pub fn whole(&self) -> Option<Arc<Self>> {
        let operation = self.operation()?;
        let grown = operation.grown()?;
        Some(grown.whole(self.serial, |data| {
            let payload = Payload { data, ..operation.message.payload.clone() };
            let message = Message { payload, ..operation.message.clone() };
            let change = Change::Update;
            let whole = Operation { change, message, grown: OnceLock::new(), ..operation.clone() };
            self.with(Body::Operation(Box::new(whole)))
        }))
    }
}

/// A message as it is: the newest entry that has it, which is its own or an operation.
#[derive(Clone, Debug)]
pub struct Latest {
    pub entry: Arc<Entry>,
    pub index: usize,
}

impl Latest {
    /// Of an append it has the fragment only; see [`Self::payload`].
    pub fn message(&self) -> Option<&Message> {
        match &self.entry.body {
            Body::Operation(operation) => Some(&operation.message),
            _ => self.entry.messages().get(self.index),
        }
    }

    pub fn target(&self) -> MessageRef {
        let own = || MessageRef { serial: self.entry.serial, index: self.entry.original_index(self.index) as u16 };
        self.entry.operation().map_or_else(own, |operation| operation.target)
    }

    pub fn origin(&self) -> Origin {
        let Entry { timestamp, publisher, .. } = *self.entry;
        let own = || Origin { id: self.entry.item_id(self.index).to_string().into(), timestamp, publisher };
        self.entry.operation().map_or_else(own, |operation| operation.origin.clone())
    }

    pub(super) fn grown(&self) -> Option<&Grown> {
        self.entry.operation().and_then(Operation::grown)
    }

    /// The same as an entry that has the whole message.
    pub fn whole(self) -> Self {
        match self.entry.whole() {
            Some(entry) => Self { entry, index: 0 },
            None => self,
        }
    }

    /// All of its data.
    pub fn payload(&self) -> Payload {
        let payload = self.message().map(|message| message.payload.clone()).unwrap_or_default();
        match self.grown() {
            Some(grown) => Payload { data: grown.join(), ..payload },
            None => payload,
        }
    }

    /// How many bytes of data it has.
    pub fn data_len(&self) -> usize {
        let own = || self.message().map_or(0, |message| message.payload.data.len());
        self.grown().map_or_else(own, Grown::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back_and_other_texts_are_none() {
        let text = "01722945600123-000@00000000000000ab:007";
        let read = MessageRef::parse(text).expect("a reference");
        assert_eq!((read.index, read.to_string()), (7, text.to_owned()));
        for bad in ["", ":000", &text[1..], &text[..text.len() - 1], "01722945600123-000@00000000000000ab", "x:000"] {
            assert_eq!(MessageRef::parse(bad), None, "{bad}");
        }
    }
}
