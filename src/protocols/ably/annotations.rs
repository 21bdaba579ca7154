//! From annotations as a client wrote them to what is published (`docs/protocols/ably.md §9.6`). The same for frames and
//! for HTTP.

use crate::{
    core::{
        annotation::Annotation,
        message::{EntryId, MessageRef},
    },
    error::{Fault, Found},
    limits,
    protocols::ably::{
        endpoint::Settings,
        messages::{Publisher, claim, common_id},
        wire::WireAnnotation,
    },
};

/// What a message is named by in frames, paths and annotations.
const RULE: &str = "the serial of a message of this channel";

/// # Errors
/// [`Fault::BadParameter`] when it is no serial of a message.
pub fn message_of(serial: &str, name: &'static str) -> Result<MessageRef, Fault> {
    let bad = || Fault::BadParameter { name, found: Found::text(serial), rule: RULE };
    MessageRef::parse(serial).ok_or_else(bad)
}

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
    let named = named.map(|serial| message_of(serial, "annotations[].messageSerial")).transpose()?;
    let target = match (named, target) {
        (Some(named), Some(target)) if named != target => {
            let (found, rule) =
                (Found::optional(annotation.message_serial.as_deref()), "the serial in the path, or none");
            return Err(Fault::BadParameter { name: "annotations[].messageSerial", found, rule });
        }
        (named, target) => named.or(target).ok_or_else(|| Fault::BadParameter {
            name: "annotations[].messageSerial",
            found: Found::nothing(),
            rule: RULE,
        })?,
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
