//! The bodies of REST publishes: to one channel (`docs/protocols/ably.md §6.9`), and to several (§11.9).

use std::{fmt, marker::PhantomData};

use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed as _, Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

use super::{
    Format,
    annotation::WireAnnotation,
    codec::decode_lenient,
    collection::{Items, fields},
    item::WireMessage,
    object::WireObjectOperation,
    scalar::TEXT,
};
use crate::{error::Fault, limits};

/// One part of a batch: messages that are published to each of some channels.
#[derive(Clone, Debug, Default)]
pub struct BatchSpec {
    /// As they were written.
    pub channels: Vec<ByteString>,
    pub messages: Vec<WireMessage>,
}

/// The body of a batch.
pub struct Batch {
    pub specs: Vec<BatchSpec>,
    /// It is a list of them, even if of one: then so is the answer.
    pub is_list: bool,
}

/// The messages of a body.
pub fn decode_body(format: Format, body: &[u8]) -> Result<Vec<WireMessage>, Fault> {
    let OneOrMore { items: messages, .. } = decode_lenient(format, body)?;
    check_count(&messages)?;
    Ok(messages)
}

/// The annotations of a body (`docs/protocols/ably.md §9.6`).
pub fn decode_annotations(format: Format, body: &[u8]) -> Result<Vec<WireAnnotation>, Fault> {
    let OneOrMore { items: annotations, .. } = decode_lenient(format, body)?;
    Ok(annotations)
}

/// The operations on objects of a body (`docs/protocols/ably.md §10.8`).
pub fn decode_objects(format: Format, body: &[u8]) -> Result<Vec<WireObjectOperation>, Fault> {
    let OneOrMore { items: operations, .. } = decode_lenient(format, body)?;
    Ok(operations)
}

/// The parts of a batch.
///
/// # Errors
/// [`Fault::BodyUnreadable`], [`Fault::TooManyMessages`], [`Fault::TooManyInBatch`]; [`Fault::Malformed`] when a
/// part has no channel.
pub fn decode_batch(format: Format, body: &[u8]) -> Result<Batch, Fault> {
    let OneOrMore { items: specs, is_list } = decode_lenient::<OneOrMore<BatchSpec>>(format, body)?;
    specs.iter().try_for_each(|spec| check_count(&spec.messages))?;
    if specs.iter().any(|spec| spec.channels.is_empty()) || specs.is_empty() {
        let what = "a batch needs at least one {channels, messages}, each with at least one channel";
        return Err(Fault::Malformed { what: what.into() });
    }
    let limit = limits::BATCH_CHANNELS;
    if specs.iter().map(|spec| spec.channels.len()).sum::<usize>() > limit {
        return Err(Fault::TooManyInBatch { limit });
    }
    Ok(Batch { specs, is_list })
}

const fn check_count(messages: &[WireMessage]) -> Result<(), Fault> {
    if messages.len() > limits::FRAME_ITEMS {
        return Err(Fault::TooManyMessages { limit: limits::FRAME_ITEMS });
    }
    Ok(())
}

fields!(BatchSpecVisitor of BatchSpec, "an object with channels and messages", |item, map| {
    "channels" => {
        let channels: OneOrMore<Channel> = map.next_value()?;
        item.channels = channels.items.into_iter().map(|Channel(name)| name).collect();
    },
    "messages" => item.messages = map.next_value::<OneOrMore<WireMessage>>()?.items,
});

/// A channel as it was written, whether or not a channel may have that name.
struct Channel(ByteString);

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        TEXT.deserialize(name).map(|name| Self(name.unwrap_or_default()))
    }
}

/// What may stand alone or in a list.
trait Item {
    const ONE_OR_MORE: &'static str;
}

impl Item for WireMessage {
    const ONE_OR_MORE: &'static str = "a message or a list of messages";
}

impl Item for WireAnnotation {
    const ONE_OR_MORE: &'static str = "an annotation or a list of annotations";
}

impl Item for WireObjectOperation {
    const ONE_OR_MORE: &'static str = "an operation on an object or a list of such operations";
}

impl Item for Channel {
    const ONE_OR_MORE: &'static str = "a channel name or a list of channel names";
}

impl Item for BatchSpec {
    const ONE_OR_MORE: &'static str = "an object with channels and messages, or a list of such objects";
}

struct OneOrMore<T> {
    items: Vec<T>,
    is_list: bool,
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(OneOrMoreVisitor(PhantomData))
    }
}

struct OneOrMoreVisitor<T>(PhantomData<T>);

impl<'de, T: Item + Deserialize<'de>> Visitor<'de> for OneOrMoreVisitor<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ONE_OR_MORE)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let item = T::deserialize(StrDeserializer::<E>::new(text));
        let item = item.map_err(|_| E::invalid_type(Unexpected::Str(text), &self))?;
        Ok(OneOrMore { items: vec![item], is_list: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let item = T::deserialize(MapAccessDeserializer::new(map))?;
        Ok(OneOrMore { items: vec![item], is_list: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Ok(OneOrMore { items: Items::new().visit_seq(list)?, is_list: true })
    }
}
