//! The entries of a log as frames: MESSAGE, PRESENCE, ANNOTATION, OBJECT, summaries and occupancy
//! (`docs/protocols/ably.md §3.1, §3.3, §5.9, §7.3, §9.7, §10.1`).

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Action, Format,
    annotation::AnnotationItem,
    codec::encode_frame,
    items::{ItemId, Listed, MessageItem, PresenceItem, Summarising},
    json_frame,
    object_item::ObjectItem,
    shown::Shown,
};
use crate::{
    core::{
        message::{Body, Entry, Payload, Summarised},
        objects::ObjectOperation,
        occupancy::Occupancy,
        operation::MessageRef,
        serial::Serial,
        wire::{Slot, WireFormat},
    },
    ids::{ConnectionId, Timestamp},
};

/// What a frame, and each item's fields, take besides the content, in bytes, about.
const ROOM: usize = 256;

/// A message about the channel itself.
const META: u8 = 3;

/// A summary of a message's annotations.
const SUMMARY: u8 = 4;

/// JSON in text frames.
pub struct AblyJson;

/// MessagePack in binary frames.
pub struct AblyMsgpack;

/// The wire format of a connection.
pub const fn format_of(format: Format) -> &'static dyn WireFormat {
    match format {
        Format::Json => &AblyJson,
        Format::Msgpack => &AblyMsgpack,
    }
}

impl WireFormat for AblyJson {
    fn slot(&self) -> Slot {
        Slot::AblyJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        encode_as(entry, Format::Json, entry.channel.as_str(), None)
    }
}

impl WireFormat for AblyMsgpack {
    fn slot(&self) -> Slot {
        Slot::AblyMsgpack
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        encode_as(entry, Format::Msgpack, entry.channel.as_str(), None)
    }
}

/// The frame for an attachment that knows the channel by another name (`docs/protocols/ably.md §5.1`), or wants
/// one count of the occupancy only (`metrics.<category>`, §5.9).
pub fn encode_as(entry: &Entry, format: Format, channel: &str, occupancy_category: Option<&str>) -> Bytes {
    let room = room(entry);
    match &entry.body {
        Body::Messages(messages) if format == Format::Json && entry.is_original() => {
            json_frame::messages(entry, messages, channel, room)
        }
        _ => encode_by_serde(entry, format, channel, occupancy_category, room),
    }
}

pub(super) fn encode_by_serde(
    entry: &Entry,
    format: Format,
    channel: &str,
    occupancy_category: Option<&str>,
    room: usize,
) -> Bytes {
    match &entry.body {
        Body::Messages(messages) => {
            let items = messages.iter().enumerate();
            let items = items.map(|(index, message)| MessageItem::new(entry, index, message, format));
            let frame =
                EntryFrame { messages: Some(Listed(items)), ..EntryFrame::new(entry, Action::MESSAGE, channel) };
            encode_frame(format, &frame, room)
        }
        Body::Presence(events) => {
            let items = events.iter().enumerate();
            let items = items.map(|(index, event)| PresenceItem::of_event(entry, index, event, format));
            let frame =
                EntryFrame { presence: Some(Listed(items)), ..EntryFrame::new(entry, Action::PRESENCE, channel) };
            encode_frame(format, &frame, room)
        }
        Body::Operation(operation) => {
            let item = MessageItem::of_operation(entry, operation, format);
            let frame = EntryFrame {
                id: None,
                connection_id: None,
                messages: Some([item]),
                ..EntryFrame::new(entry, Action::MESSAGE, channel)
            };
            encode_frame(format, &frame, room)
        }
        Body::Annotations(annotations) => {
            let items = annotations.iter().enumerate();
            let items = items.map(|(index, annotation)| AnnotationItem::new(entry, index, annotation, format));
            let frame =
                EntryFrame { annotations: Some(Listed(items)), ..EntryFrame::new(entry, Action::ANNOTATION, channel) };
            encode_frame(format, &frame, room)
        }
        Body::Objects(operations) => {
            let items = operations.iter().enumerate();
            let items = items.map(|(index, operation)| ObjectItem::new(entry, index, operation, format));
            let frame = EntryFrame { state: Some(Listed(items)), ..EntryFrame::new(entry, Action::OBJECT, channel) };
            encode_frame(format, &frame, room)
        }
        Body::Summary(summarised) => {
            let frame = EntryFrame {
                messages: Some([SummaryItem::new(entry, summarised)]),
                ..EntryFrame::new(entry, Action::MESSAGE, channel)
            };
            encode_frame(format, &frame, room)
        }
        Body::Occupancy(occupancy) => {
            let frame = EntryFrame {
                messages: Some([OccupancyItem::new(occupancy, occupancy_category)]),
                ..EntryFrame::new(entry, Action::MESSAGE, channel)
            };
            encode_frame(format, &frame, room)
        }
    }
}

fn room(entry: &Entry) -> usize {
    let messages = entry.subjects().iter();
    let data = messages.map(|message| message.name.len() + message.payload.data.len());
    let events = entry.presence().iter();
    let data = data.chain(events.map(|event| event.payload.data.len()));
    let annotations = entry.annotations().iter();
    let data = data.chain(annotations.map(|annotation| annotation.kind.len() + annotation.payload.data.len()));
    let data = data.chain(entry.objects().iter().map(ObjectOperation::size));
    // A third more: base64 and escapes.
    ROOM * (1 + entry.len()) + data.sum::<usize>() / 3 * 4
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryFrame<'a, I> {
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<FrameId<'a>>,
    channel: &'a str,
    channel_serial: Shown<Serial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<I>,
}

impl<'a, I> EntryFrame<'a, I> {
    fn new(entry: &'a Entry, action: Action, channel: &'a str) -> Self {
        Self {
            action,
            id: entry.base_id().is_some().then_some(FrameId(entry)),
            channel,
            // Of ephemeral entries too: the log does not have them, but their serials stand between
            // those that it has, and ably-python forgets its position at a frame without one.
            channel_serial: Shown(entry.serial),
            connection_id: entry.publisher.map(Shown),
            timestamp: entry.timestamp,
            messages: None,
            presence: None,
            annotations: None,
            state: None,
        }
    }
}

/// The id from which those of the items follow.
struct FrameId<'a>(&'a Entry);

impl Serialize for FrameId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.base_id() {
            Some(id) => Shown(id).serialize(serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// All summaries of a message, and no data (`docs/protocols/ably.md §9.7`).
#[derive(Serialize)]
pub(super) struct SummaryItem<'a> {
    id: ItemId<'a>,
    action: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    serial: Shown<MessageRef>,
    timestamp: Timestamp,
    annotations: Summarising<'a>,
}

impl<'a> SummaryItem<'a> {
    pub(super) fn new(entry: &'a Entry, summarised: &'a Summarised) -> Self {
        Self {
            id: ItemId::Of(entry, 0),
            action: SUMMARY,
            name: &summarised.name,
            serial: Shown(summarised.message),
            timestamp: entry.timestamp,
            annotations: Summarising { summary: &summarised.summary },
        }
    }
}

/// The message that tells the occupancy.
#[derive(Serialize)]
pub(super) struct OccupancyItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    name: &'static str,
    action: u8,
    data: String,
    encoding: &'static str,
}

impl OccupancyItem {
    pub(super) fn new(occupancy: &Occupancy, category: Option<&str>) -> Self {
        let data = OccupancyData { metrics: Metrics { occupancy, category } };
        Self {
            id: None,
            timestamp: None,
            name: "[meta]occupancy",
            action: META,
            // Cannot fail: names and numbers. A string, as clients expect it (trap T14).
            data: serde_json::to_string(&data).unwrap_or_default(),
            encoding: "json",
        }
    }

    /// With what in a frame stands around it.
    pub(super) fn with_envelope(self, entry: &Entry) -> Self {
        Self { id: Some(entry.item_id(0).to_string()), timestamp: Some(entry.timestamp), ..self }
    }

    pub(super) fn payload(&self) -> Payload {
        Payload::json(self.data.as_str().into())
    }
}

#[derive(Serialize)]
struct OccupancyData<'a> {
    metrics: Metrics<'a>,
}

struct Metrics<'a> {
    occupancy: &'a Occupancy,
    category: Option<&'a str>,
}

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, count) in self.occupancy.named() {
            if self.category.is_none_or(|category| category == name) {
                map.serialize_entry(name, &count)?;
            }
        }
        map.end()
    }
}
