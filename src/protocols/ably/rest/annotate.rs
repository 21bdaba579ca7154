//! Saying something about a message by HTTP, and what one client has said (`docs/protocols/ably.md §9.6, §9.7`).

use actix_web::web;

use crate::{
    core::{capability::Operation, history::Kind, summary::Digest},
    error::{Fault, Found},
    ids::ClientId,
    protocols::ably::{
        operate::message_ref,
        rest::{answer::RestAnswer, call::Call, history, publish::Target},
        wire,
    },
};

/// POST `/channels/{c}/messages/{serial}/annotations`.
pub async fn annotate(
    call: &Call<'_>,
    channel: String,
    serial: &str,
    payload: &mut web::Payload,
) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let target = Target::of(&caller, channel, Operation::AnnotationPublish)?;
    let message = message_ref(Some(serial))?;
    let (format, body) = call.body_of(&caller, payload).await?;
    let annotations = wire::decode_annotations(format, &body)?;
    let published = target.annotate(call, annotations, message, &target.name.base).await?;
    Ok(RestAnswer::created(call.encode(&published)))
}

/// GET `/channels/{c}/messages/{serial}/annotations`: oldest first.
pub async fn annotations(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
    let operations = [Operation::AnnotationSubscribe, Operation::History];
    history::read(call, channel, Kind::Annotations(message_ref(Some(serial))?), &operations).await
}

/// GET `/channels/{c}/messages/{serial}/client-summary?forClientId=`.
pub async fn client_summary(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
    Ok(RestAnswer::ok(call.encode(&summary_of_client(call, channel, serial).await?)))
}

/// What the annotations by one client come to: by the caller, unless `forClientId` names another.
pub async fn summary_of_client(call: &Call<'_>, channel: String, serial: &str) -> Result<Digest, Fault> {
    let operations = [Operation::AnnotationSubscribe, Operation::History, Operation::Subscribe];
    let (caller, _, channel) = call.channel(channel, &operations)?;
    let message = message_ref(Some(serial))?;
    let named = call.query.get("forClientId");
    let client = named.map_or_else(|| caller.identity.known().cloned(), ClientId::new);
    let client = client.ok_or_else(|| Fault::BadParameter {
        name: "forClientId",
        found: Found::optional(named),
        rule: "a clientId, or none for that of the caller",
    })?;
    call.broker().summary(&channel, message, Some(client)).await
}
