//! Objects of channels (`docs/protocols/ably.md §10`): from object messages as a client wrote them to what is published, and
//! OBJECT_SYNC, the objects as they are, page by page.

use std::sync::Arc;

use bytestring::ByteString;

use crate::{
    actors::transport::context::TransportContext,
    core::{
        message::EntryId,
        objects::{Action, ObjectOperation, Snapshot},
    },
    error::{Fault, Found},
    ids::{ChannelName, Timestamp},
    limits,
    protocols::ably::{
        connection::AblyConnection,
        endpoint::Settings,
        messages::{Publisher, claim, common_id},
        sync::sync_broken,
        wire::{ServerFrame, WireObject, format_of, object_page},
    },
};

/// Operations that may be published together, and what the client knows them by.
///
/// # Errors
/// The first fault of the first one that has one; then nothing may be published.
pub fn check(
    messages: Vec<WireObject>,
    publisher: &Publisher<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Result<(Vec<ObjectOperation>, Option<EntryId>), Fault> {
    let id = common_id(messages.iter().map(|message| message.id.as_ref()));
    let checked = messages.into_iter().map(|message| one(message, publisher, now));
    let checked: Vec<ObjectOperation> = checked.collect::<Result<_, _>>()?;
    check_size(&checked, settings)?;
    Ok((checked, id?))
}

/// # Errors
/// [`Fault::TooLarge`], [`Fault::TooManyMessages`]
pub fn check_size(operations: &[ObjectOperation], settings: &Settings) -> Result<(), Fault> {
    let (size, limit) = (operations.iter().map(ObjectOperation::size).sum(), settings.max_message_bytes);
    if size > limit {
        let what = "the publish (keys, values, clientIds and extras of its operations on objects)";
        return Err(Fault::TooLarge { what, size, limit });
    }
    let limit = limits::FRAME_ITEMS;
    if operations.len() > limit {
        return Err(Fault::TooManyMessages { limit });
    }
    Ok(())
}

fn one(message: WireObject, publisher: &Publisher<'_>, now: Timestamp) -> Result<ObjectOperation, Fault> {
    let own = publisher.connection.map(|own| own.to_string());
    if message.connection_id.is_some() && message.connection_id.as_deref() != own.as_deref() {
        return Err(Fault::ForeignConnection);
    }
    let missing = |field, rule| Fault::InvalidObject { field, found: Found::nothing(), rule };
    let operation = message.operation.ok_or_else(|| missing("operation", "an operation on an object"))?;
    let read = operation.read(now)?;
    let object = read.object.ok_or_else(|| missing("operation.objectId", "the id of an object"))?;
    let is_create = matches!(read.action, Action::CreateMap(_) | Action::CreateCounter(_));
    if is_create && !read.is_verified {
        let rule = "mapCreateWithObjectId or counterCreateWithObjectId, by which the id can be checked";
        return Err(missing("operation", rule));
    }
    let client_id = publisher.identity.attribute(message.client_id.as_deref())?;
    let mut extras = message.extras.check()?;
    claim(&mut extras, publisher.user_claim);
    let operation = ObjectOperation { object, action: read.action, client_id, extras };
    operation.check_fits()?;
    Ok(operation)
}

impl AblyConnection {
    /// Sends the objects page by page as the socket takes them, as they are then: the operations of meanwhile follow, and have no
    /// effect where they are in already.
    pub(super) fn send_objects(
        &self,
        channel: &ChannelName,
        requested: &ByteString,
        objects: &Arc<Snapshot>,
        transport: &mut TransportContext<'_>,
    ) {
        let (mut cursor, timestamp, format) = (self.cursor(), transport.now(), self.format);
        let (name, mut from) = (requested.clone(), None);
        transport.send_list(channel, objects, sync_broken(requested, format), move |objects: &Snapshot| {
            let page = objects.page(from.as_ref(), format_of(format).slot(), |parts| object_page(parts, format));
            from = page.next;
            let cursor = cursor.next(from.is_none());
            let frame = ServerFrame::ObjectSync { channel: &name, cursor: &cursor, timestamp, state: &page.bytes };
            (frame.encode(format), from.is_none())
        });
    }
}
