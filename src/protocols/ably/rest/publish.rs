//! Publishing by HTTP (`docs/protocols/ably.md §6`). What may be published stands in
//! [`crate::protocols::ably::messages`], the same for frames.

use actix_web::web;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytestring::ByteString;
use rand::RngExt as _;
use serde::Serialize;

use crate::{
    auth::ably::AllowedClient,
    core::{
        capability::Operation,
        command::Publish,
        dedupe,
        message::{Body, EntryId},
        operation::MessageRef,
    },
    error::Fault,
    ids::ChannelName,
    protocols::ably::{
        annotations,
        behalf::{self, Elsewhere},
        messages::{self, Publisher},
        name::Name,
        rest::{
            answer::RestAnswer,
            call::{Call, Caller},
        },
        wire::{self, WireAnnotation, WireMessage, items},
    },
};

/// The first version whose publishes are answered with serials (§1.3).
const SERIALS_SINCE: u32 = 5;

/// What a publish is answered with.
#[derive(Serialize)]
pub struct Published<'a> {
    channel: &'a str,
    #[serde(rename = "messageId")]
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serials: Option<Vec<String>>,
}

/// POST `/channels/{c}/messages`.
pub async fn publish(call: &Call<'_>, channel: String, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let target = Target::new(&caller, channel)?;
    if call.query.get("_forceNack") == Some("true") {
        return Err(Fault::ForcedNack);
    }
    let (format, body) = call.body_of(&caller, payload).await?;
    let messages = wire::decode_body(format, &body)?;
    let published = target.publish(call, messages, &target.name.base).await?;
    Ok(RestAnswer::created(call.encode(&published)))
}

/// A channel that its caller may publish to.
pub struct Target<'a> {
    caller: &'a Caller,
    pub name: Name,
    channel: ChannelName,
}

impl<'a> Target<'a> {
    pub fn new(caller: &'a Caller, name: impl Into<ByteString>) -> Result<Self, Fault> {
        Self::of(caller, name, Operation::Publish)
    }

    /// A channel that its caller may do `operation` with.
    pub fn of(caller: &'a Caller, name: impl Into<ByteString>, operation: Operation) -> Result<Self, Fault> {
        let (name, channel) = caller.channel(name, &[operation])?;
        let Caller { access, identity } = caller;
        if name.is_meta() {
            return Err(access.not_permitted(operation.name(), &name.resource()));
        }
        if access.app.attributes_of(&channel).identified_only && *identity == AllowedClient::Anonymous {
            return Err(Fault::NotIdentified);
        }
        Ok(Self { caller, name, channel })
    }

    /// Publishes messages as they came; the answer has the channel as `shown`.
    pub async fn publish<'s>(
        &self,
        call: &Call<'_>,
        messages: Vec<WireMessage>,
        shown: &'s str,
    ) -> Result<Published<'s>, Fault> {
        self.send(call, self.messages(call, messages).await?, shown).await
    }

    /// Messages as they came, to be published.
    pub async fn messages(&self, call: &Call<'_>, messages: Vec<WireMessage>) -> Result<Publish, Fault> {
        let elsewhere = self.elsewhere(call, &messages).await;
        let checked = messages::check(messages, &self.publisher(call, Some(&elsewhere)), &call.rest.shared.settings)?;
        let id = checked.id.unwrap_or_else(drawn_id);
        let is_ephemeral = checked.is_ephemeral || call.query.get("ephemeral") == Some("true");
        Ok(Publish { publisher: checked.publisher, is_ephemeral, ..Publish::new(id, Body::Messages(checked.messages)) })
    }

    /// Publishes annotations as they came, of one message.
    pub async fn annotate<'s>(
        &self,
        call: &Call<'_>,
        annotations: Vec<WireAnnotation>,
        message: MessageRef,
        shown: &'s str,
    ) -> Result<Published<'s>, Fault> {
        self.send(call, self.annotations(call, annotations, message)?, shown).await
    }

    /// Annotations as they came, of one message, to be published.
    pub fn annotations(
        &self,
        call: &Call<'_>,
        annotations: Vec<WireAnnotation>,
        message: MessageRef,
    ) -> Result<Publish, Fault> {
        self.caller.access.app.check_mutable(&self.channel)?;
        let publisher = self.publisher(call, None);
        let checked = annotations::check(annotations, Some(message), &publisher, &call.rest.shared.settings);
        let (annotations, id) = checked?;
        Ok(Publish::new(id.unwrap_or_else(drawn_id), Body::Annotations(annotations)))
    }

    /// Publishes, and waits until it is in the log.
    pub async fn put(&self, call: &Call<'_>, publish: Publish) -> Result<dedupe::Published, Fault> {
        call.broker().publish(&self.channel, publish).await
    }

    pub const fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The connections that messages are published for and that other nodes have.
    async fn elsewhere(&self, call: &Call<'_>, messages: &[WireMessage]) -> Elsewhere {
        let (broker, app) = (call.broker(), self.caller.access.app.id);
        behalf::elsewhere(behalf::unknown(messages, app, &call.rest.shared.connection_keys, broker), broker).await
    }

    fn publisher<'p>(&'p self, call: &'p Call<'_>, elsewhere: Option<&'p Elsewhere>) -> Publisher<'p> {
        let Caller { access, identity } = self.caller;
        let broker = call.broker();
        Publisher {
            user_claim: access.user_claim(&self.name.base),
            app: access.app.id,
            identity,
            connection: None,
            keys: &call.rest.shared.connection_keys,
            connections: &broker.connections,
            elsewhere,
            uptime: broker.clock.uptime(),
        }
    }

    async fn send<'s>(&self, call: &Call<'_>, publish: Publish, shown: &'s str) -> Result<Published<'s>, Fault> {
        let message_id = match &publish.id {
            EntryId::Base(id) | EntryId::Item(id) => id.to_string(),
            // Not by HTTP.
            EntryId::Frame { .. } | EntryId::Serial => String::new(),
        };
        let published = self.put(call, publish).await?;
        let serials = (call.version >= SERIALS_SINCE).then(|| {
            let serial = |index| items::message_serial(published.serial, index).to_string();
            (0..published.len).map(serial).collect()
        });
        Ok(Published { channel: shown, message_id, serials })
    }
}

/// For a publish that its client has given no id: 12 characters (§3.8).
pub(super) fn drawn_id() -> EntryId {
    let random: [u8; 9] = rand::rng().random();
    EntryId::Base(BASE64_URL_SAFE_NO_PAD.encode(random).into())
}
