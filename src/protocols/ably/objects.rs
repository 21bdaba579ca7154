//! Objects of channels (`docs/protocols/ably.md §10`): from object messages as a client wrote them to what is published, and
//! OBJECT_SYNC, the objects as they are, page by page.

use crate::{
    actors::transport::context::TransportContext,
    core::{
        message::EntryId,
        objects::{Action, ObjectOperation, Snapshot},
    },
    error::{Fault, Found},
    ids::Timestamp,
    limits,
    protocols::ably::{
        connection::AblyConnection,
        endpoint::Settings,
        messages::{Publisher, claim, common_id},
        wire::{ServerFrame, WireObject, format_of, object_pages},
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
    /// Sends the objects as they are, as the socket takes them: their pages are made once for all who attach meanwhile, and each
    /// pays for them until then: later changes make others.
    pub(super) fn send_objects(&self, channel: &str, objects: &Snapshot, transport: &mut TransportContext<'_>) {
        let format = self.format;
        let pages = objects.pages(format_of(format).slot(), |objects| object_pages(objects, format));
        let (id, channel, timestamp) = (self.shared.next_sync_id(), channel.to_owned(), transport.now());
        let bytes = pages.iter().map(|page| page.len()).sum();
        let frames = (0..pages.len()).map(move |place| {
            let is_last = place + 1 == pages.len();
            let cursor = if is_last { format!("{id}:") } else { format!("{id}:{}", place + 1) };
            let state = pages.get(place).map_or(&b"[]"[..], |page| page);
            ServerFrame::ObjectSync { channel: &channel, cursor: &cursor, timestamp, state }.encode(format)
        });
        transport.send_made(frames, bytes);
    }
}
