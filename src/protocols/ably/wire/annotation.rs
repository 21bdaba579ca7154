//! Annotations, as clients send and as they read them (`docs/protocols/ably.md §3.3`).

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use serde::Serialize;

use super::{
    Format,
    collection::item_fields,
    data::{DataSeed, WireData, Written, WrittenData},
    extras::{ExtrasSeed, WireExtras},
    items::{ItemId, ItemSerial, Listed},
    scalar::{MOMENT, TEXT, WHOLE},
    shown::Shown,
};
use crate::{
    core::{
        annotation::check,
        message::{Entry, Extras},
        operation::{Annotation, MessageRef},
    },
    error::{Fault, Found},
    ids::{ClientId, ConnectionId, Timestamp},
    limits,
};

/// An annotation as a client sent it; nothing of it has been judged.
#[derive(Clone, Debug, Default)]
pub struct WireAnnotation {
    pub id: Option<ByteString>,
    /// 0 create, 1 delete.
    pub action: u64,
    pub kind: Option<ByteString>,
    pub name: Option<ByteString>,
    pub count: Option<u64>,
    pub client_id: Option<ByteString>,
    pub connection_id: Option<ByteString>,
    /// The message that it is for.
    pub message_serial: Option<ByteString>,
    pub data: WireData,
    pub encoding: Option<ByteString>,
    /// The client's clock; nothing may depend on it.
    pub timestamp: Option<Timestamp>,
    pub extras: WireExtras,
}

item_fields!(pub AnnotationVisitor of WireAnnotation, "an annotation", |item, map| {
    "action" => item.action = map.next_value_seed(WHOLE)?.unwrap_or_default(),
    "type" => item.kind = map.next_value_seed(TEXT)?,
    "name" => item.name = map.next_value_seed(TEXT)?,
    "messageSerial" => item.message_serial = map.next_value_seed(TEXT)?,
    "count" => item.count = map.next_value_seed(WHOLE)?,
});

impl WireAnnotation {
    /// The core's annotation of `target` by `client_id`, whom the caller has found out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn into_annotation(self, target: MessageRef, client_id: Option<ClientId>) -> Result<Annotation, Fault> {
        let is_delete = match self.action {
            0 => false,
            1 => true,
            other => {
                let what = format!("annotations[].action: found {other}; allowed: 0 (create) or 1 (delete)");
                return Err(Fault::Malformed { what: what.into() });
            }
        };
        if let Some(count) = self.count.filter(|count| *count == 0 || *count > limits::ANNOTATION_COUNT) {
            let (name, rule) = ("annotations[].count", "a whole number from 1 to 1000000");
            return Err(Fault::BadParameter { name, found: Found::number(count), rule });
        }
        let annotation = Annotation {
            target,
            is_delete,
            kind: self.kind.unwrap_or_default(),
            name: self.name.unwrap_or_default(),
            count: self.count,
            client_id,
            payload: self.data.into_payload(self.encoding)?,
            extras: self.extras.check()?,
        };
        check(&annotation)?;
        Ok(annotation)
    }
}

/// An annotation as it is read, in a frame and in a list: with everything.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnnotationItem<'a> {
    id: ItemId<'a>,
    action: u8,
    #[serde(rename = "type")]
    kind: &'a str,
    message_serial: Shown<MessageRef>,
    serial: ItemSerial,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<WrittenData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a Extras>,
}

impl<'a> AnnotationItem<'a> {
    pub(super) fn new(entry: &'a Entry, index: usize, annotation: &'a Annotation, format: Format) -> Self {
        let Written { data, encoding } = Written::new(&annotation.payload, format);
        Self {
            id: ItemId::Of(entry, index),
            action: u8::from(annotation.is_delete),
            kind: &annotation.kind,
            message_serial: Shown(annotation.target),
            serial: ItemSerial(entry.serial, entry.original_index(index)),
            timestamp: entry.timestamp,
            name: &annotation.name,
            count: annotation.count,
            client_id: annotation.client_id.as_ref().map(ClientId::as_str),
            connection_id: entry.publisher.map(Shown),
            data,
            encoding,
            extras: annotation.extras.as_deref(),
        }
    }
}

/// A page of annotations.
pub fn annotations(items: &[(Arc<Entry>, usize)], format: Format) -> impl Serialize {
    Listed(items.iter().filter_map(move |(entry, index)| {
        Some(AnnotationItem::new(entry, *index, entry.annotations().get(*index)?, format))
    }))
}
