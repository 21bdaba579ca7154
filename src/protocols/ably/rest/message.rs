//! One message: what it is, what it was, and what is done to it (`docs/protocols/ably.md §9.1, §9.3`).

use std::sync::Arc;

use actix_web::web;
use serde::Serialize;

use crate::{
    core::{
        capability::Operation,
        command::Publish,
        dedupe::Published,
        history::Kind,
        message::{Body, EntryId},
        operation::{Latest, MessageRef},
        summary::Digest,
    },
    error::{Fault, Found},
    ids::ChannelName,
    protocols::ably::{
        name::Name,
        operate::{Operator, message_ref},
        rest::{
            answer::RestAnswer,
            call::{Call, Caller},
            history,
        },
        wire::{self, WireMessage, items},
    },
};

/// GET `/channels/{c}/messages/{serial}`.
pub async fn get(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
    let (caller, _, channel) = call.channel(channel, &[Operation::History])?;
    let latest = latest(call, &channel, message_ref(Some(serial))?).await?;
    let app = caller.access.app.id;
    call.rest.worker.count_for(app, |traffic| traffic.was_read(&latest.entry, latest.index));
    call.long_answer(app, call.encode(&items::version(&latest.entry, latest.index, call.form.body)))
}

/// A message as it is, with what its annotations come to.
pub async fn latest(call: &Call<'_>, channel: &ChannelName, target: MessageRef) -> Result<Latest, Fault> {
    let latest = call.broker().message(channel, target).await?;
    let summary = match call.broker().summary(channel, target, None).await {
        // The log has a later version of it only.
        Err(Fault::NotFound { .. }) => Digest::default(),
        summary => summary?,
    };
    let entry = if summary.is_empty() {
        latest.entry
    } else {
        Arc::new(latest.entry.with_summaries(vec![(latest.index, summary)]))
    };
    Ok(Latest { entry, ..latest })
}

/// GET `/channels/{c}/messages/{serial}/versions`.
pub async fn versions(call: &Call<'_>, channel: String, serial: &str) -> Result<RestAnswer, Fault> {
    let target = message_ref(Some(serial))?;
    history::read(call, channel, Kind::Versions(target), &[Operation::History]).await
}

/// What a change is answered with.
#[derive(Serialize)]
struct Changed {
    #[serde(rename = "versionSerial")]
    version_serial: String,
}

/// PATCH `/channels/{c}/messages/{serial}`.
pub async fn change(
    call: &Call<'_>,
    channel: String,
    serial: &str,
    payload: &mut web::Payload,
) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let name = Name::parse(channel)?;
    let (format, body) = call.body_of(&caller, payload).await?;
    let [mut message]: [_; 1] = wire::decode_body(format, &body)?.try_into().map_err(|_| Fault::Malformed {
        what: "the body of a PATCH is one message; send each change in a request of its own".into(),
    })?;
    if call.query.get("_forceNack") == Some("true") {
        return Err(Fault::ForcedNack);
    }
    if let Some(other) = message.serial.as_deref().filter(|named| *named != serial) {
        let (found, rule) = (Found::text(other), "the serial in the path, or none");
        return Err(Fault::BadParameter { name: "serial", found, rule });
    }
    message.serial = Some(serial.into());
    let published = operate(call, &caller, &name, message, EntryId::Serial).await?;
    let version_serial = items::message_serial(published.serial, 0).to_string();
    Ok(RestAnswer::ok(call.encode(&Changed { version_serial })))
}

/// Publishes what a caller does to a message, as `id`.
pub async fn operate(
    call: &Call<'_>,
    caller: &Caller,
    name: &Name,
    message: WireMessage,
    id: EntryId,
) -> Result<Published, Fault> {
    let Caller { access, identity } = caller;
    let channel = &name.channel(access.app.id);
    let max_message_bytes = call.rest.shared.settings.max_message_bytes;
    let operator = Operator { access, identity, name, channel, max_message_bytes };
    let own_only = operator.check_may(message.action)?;
    let operation = operator.check(message, own_only)?;
    let publish = Publish { own_only, ..Publish::new(id, Body::Operation(Box::new(operation))) };
    call.broker().publish(channel, publish).await
}
