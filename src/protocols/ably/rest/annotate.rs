//! Saying something about a message by HTTP, and what one client has said (`docs/protocols/ably.md §9.6, §9.7`).

use actix_web::web;

use crate::{
    core::{capability::Operation, history::Kind},
    edge::http::body::charge_to,
    error::{Fault, Found},
    ids::ClientId,
    limits,
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
    charge_to(call.http, call.broker().accounts.app(caller.access.app.id));
    let (format, body) = call.body(payload, limits::REQUEST_BODY_BYTES).await?;
    let annotations = wire::decode_annotations(format, &body)?;
    let published = target.annotate(call, annotations, message, &target.name.base).await?;
    Ok(RestAnswer::created(call.encode(&published)))
}

/// GET `/channels/{c}/messages/{serial}/annotations`: oldest first.
pub async fn annotations(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
    let operations = [Operation::AnnotationSubscribe, Operation::History];
    history::read(call, channel, Kind::Annotations(message_ref(Some(serial))?), &operations).await
}

/// GET `/channels/{c}/messages/{serial}/client-summary?forClientId=`: of the caller, unless it says of whom.
pub async fn client_summary(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
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
    let summary = call.broker().summary(&channel, message, Some(client)).await?;
    Ok(RestAnswer::ok(call.encode(&summary)))
}
