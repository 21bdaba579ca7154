//! From annotations as a client wrote them to what is published (`docs/protocols/ably.md §9.6`). The same for frames and
//! for HTTP.

use crate::{
    core::{
        message::EntryId,
        operation::{Annotation, MessageRef},
    },
    error::{Fault, Found},
    limits,
    protocols::ably::{
        endpoint::Settings,
        messages::{Publisher, claim, common_id},
        wire::WireAnnotation,
    },
};

/// Annotations that may be published together, and what the client knows them by. `target`: the message that they are all
/// for; none: each says it.
///
/// # Errors
/// The first fault of the first one that has one; then nothing may be published.
pub fn check(
    annotations: Vec<WireAnnotation>,
    target: Option<MessageRef>,
    publisher: &Publisher<'_>,
    settings: &Settings,
) -> Result<(Vec<Annotation>, Option<EntryId>), Fault> {
    let id = common_id(annotations.iter().map(|annotation| annotation.id.as_ref()));
    let checked = annotations.into_iter().map(|annotation| one(annotation, target, publisher));
    let checked: Vec<Annotation> = checked.collect::<Result<_, _>>()?;
    let (size, limit) = (checked.iter().map(Annotation::size).sum(), settings.max_message_bytes);
    if size > limit {
        let what = "the publish (types, names, clientIds, extras and data of its annotations)";
        return Err(Fault::TooLarge { what, size, limit });
    }
    let limit = limits::FRAME_ITEMS;
    if checked.len() > limit {
        return Err(Fault::TooManyMessages { limit });
    }
    Ok((checked, id?))
}

fn one(annotation: WireAnnotation, target: Option<MessageRef>, publisher: &Publisher<'_>) -> Result<Annotation, Fault> {
    let named = annotation.message_serial.as_deref();
    let target = match (named, target) {
        (None, Some(target)) => target,
        (Some(named), Some(target)) if MessageRef::parse(named) == Some(target) => target,
        (named, Some(_)) => return Err(bad_target(named, "the serial in the path, or none")),
        (named, None) => {
            let rule = "the serial of a message of this channel";
            named.and_then(MessageRef::parse).ok_or_else(|| bad_target(named, rule))?
        }
    };
    let own = publisher.connection.map(|own| own.to_string());
    if annotation.connection_id.is_some() && annotation.connection_id.as_deref() != own.as_deref() {
        return Err(Fault::ForeignConnection);
    }
    let client_id = publisher.identity.attribute(annotation.client_id.as_deref())?;
    let mut annotation = annotation.into_annotation(target, client_id)?;
    claim(&mut annotation.extras, publisher.user_claim);
    Ok(annotation)
}

fn bad_target(found: Option<&str>, rule: &'static str) -> Fault {
    Fault::BadParameter { name: "annotations[].messageSerial", found: Found::optional(found), rule }
}
