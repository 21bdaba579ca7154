//! Rooms of Ably's chat (`docs/protocols/ably.md §11.12`): a room is a channel, its messages and reactions are messages and
//! annotations of that, in another shape.

pub mod message;

use actix_web::{http::Method, web};
use bytestring::ByteString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use self::message::{ChatMessage, NAME, Reactions};
use crate::{
    core::{capability::Operation, history::Kind, message::EntryId, operation::MessageRef},
    error::{Fault, Found},
    protocols::ably::{
        name::Name,
        operate::message_ref,
        rest::{
            annotate::summary_of_client,
            answer::RestAnswer,
            call::{Call, Caller},
            history::{self, Shape},
            message::{latest, operate},
            publish::Target,
        },
        wire::{self, Format, WireAnnotation, WireData, WireExtras, WireMessage, items},
    },
};

const REACTION_TYPES: [&str; 3] = ["unique", "distinct", "multiple"];

/// What is asked of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Send,
    History,
    Message(String),
    Update(String),
    Delete(String),
    Versions(String),
    React(String),
    Unreact(String),
    ClientReactions(String),
    Occupancy,
}

impl Ask {
    /// `path`: what follows the room. None: there is no such path; the methods that it has, when it has not this one.
    pub fn of(method: &Method, path: &[&str]) -> Option<Result<Self, &'static str>> {
        let is = |wanted: &Method| method == wanted || (*wanted == Method::GET && *method == Method::HEAD);
        let pick = |choices: Vec<(Method, Self)>, allowed| {
            let choice = choices.into_iter().find(|(wanted, _)| is(wanted));
            Some(choice.map(|(_, ask)| ask).ok_or(allowed))
        };
        let named = |ask: fn(String) -> Self, serial: &str| ask(serial.to_owned());
        match *path {
            ["messages"] => pick(vec![(Method::POST, Self::Send), (Method::GET, Self::History)], "GET, HEAD, POST"),
            ["occupancy"] => pick(vec![(Method::GET, Self::Occupancy)], "GET, HEAD"),
            ["messages", serial] => {
                let choices =
                    vec![(Method::GET, named(Self::Message, serial)), (Method::PUT, named(Self::Update, serial))];
                pick(choices, "GET, HEAD, PUT")
            }
            ["messages", serial, "delete"] => pick(vec![(Method::POST, named(Self::Delete, serial))], "POST"),
            ["messages", serial, "versions"] => pick(vec![(Method::GET, named(Self::Versions, serial))], "GET, HEAD"),
            ["messages", serial, "reactions"] => {
                let choices =
                    vec![(Method::POST, named(Self::React, serial)), (Method::DELETE, named(Self::Unreact, serial))];
                pick(choices, "POST, DELETE")
            }
            ["messages", serial, "client-reactions"] => {
                pick(vec![(Method::GET, named(Self::ClientReactions, serial))], "GET, HEAD")
            }
            _ => None,
        }
    }
}

/// A message as its author says it; what is left out is empty.
#[derive(Deserialize)]
struct Said {
    text: String,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
}

/// What is said about an update or a delete.
#[derive(Default, Deserialize)]
struct About {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Updated {
    message: Said,
    #[serde(flatten)]
    about: About,
}

#[derive(Deserialize)]
struct Reaction {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    count: Option<u64>,
}

impl Said {
    /// The message that the channel gets.
    fn into_message(self) -> WireMessage {
        let Self { text, metadata, headers } = self;
        let data = json!({ "text": text, "metadata": metadata.unwrap_or_default() });
        let mut extras = Map::new();
        extras.insert("headers".to_owned(), Value::Object(headers.unwrap_or_default()));
        WireMessage {
            name: Some(NAME.into()),
            data: WireData::Json(data.to_string().into()),
            extras: WireExtras::Object(Box::new(extras)),
            ..WireMessage::default()
        }
    }
}

/// Answers what is asked of a room.
pub async fn answer(call: &Call<'_>, room: &str, ask: Ask, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let channel = format!("{room}::$chat");
    match ask {
        Ask::Send => send(call, channel, payload).await,
        Ask::History => history::read_as(call, channel, Kind::Messages, &[Operation::History], Shape::Chat).await,
        Ask::Versions(serial) => {
            let kind = Kind::Versions(message_ref(Some(&serial))?);
            history::read_as(call, channel, kind, &[Operation::History], Shape::Chat).await
        }
        Ask::Message(serial) => {
            let (caller, name, _) = call.channel(channel, &[Operation::History])?;
            let message = read(call, &caller, &name, message_ref(Some(&serial))?).await?;
            call.long_answer(caller.access.app.id, call.encode(&message))
        }
        Ask::Update(serial) => {
            let caller = call.caller()?;
            let Updated { message, about } = body(call, &caller, payload).await?;
            change(call, &caller, channel, 1, &serial, message, about).await
        }
        Ask::Delete(serial) => {
            let caller = call.caller()?;
            let about = body(call, &caller, payload).await?;
            let nothing = Said { text: String::new(), metadata: None, headers: None };
            change(call, &caller, channel, 2, &serial, nothing, about).await
        }
        Ask::React(serial) => {
            let caller = call.caller()?;
            let Reaction { kind, name, count } = body(call, &caller, payload).await?;
            let count = count.filter(|_| kind == "multiple");
            let annotation = WireAnnotation { name: Some(name.into()), count, ..reaction(&kind)? };
            react(call, &caller, channel, &serial, annotation).await.map(RestAnswer::created)
        }
        Ask::Unreact(serial) => {
            let caller = call.caller()?;
            let kind = call.query.get("type").unwrap_or_default();
            let name = call.query.get("name").map(|name| ByteString::from(name.to_owned()));
            let annotation = WireAnnotation { action: 1, name, ..reaction(kind)? };
            react(call, &caller, channel, &serial, annotation).await.map(RestAnswer::ok)
        }
        Ask::ClientReactions(serial) => {
            let summary = summary_of_client(call, channel, &serial).await?;
            Ok(RestAnswer::ok(call.encode(&Reactions::new(&summary))))
        }
        Ask::Occupancy => {
            let (_, _, channel) = call.channel(channel, &[Operation::ChannelMetadata])?;
            let occupancy = call.broker().occupancy(&channel).await?;
            let (connections, members) = (occupancy.connections, occupancy.presence_members);
            Ok(RestAnswer::ok(call.encode(&json!({ "connections": connections, "presenceMembers": members }))))
        }
    }
}

async fn send(call: &Call<'_>, channel: String, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let target = Target::new(&caller, channel)?;
    let said: Said = body(call, &caller, payload).await?;
    let id = call.query.get("idempotencyKey").map(|key| key.to_owned().into());
    let message = WireMessage { id, ..said.into_message() };
    let published = target.put(call, target.messages(call, vec![message]).await?).await?;
    let sent = MessageRef { serial: published.serial, index: 0 };
    let message = read(call, &caller, &target.name, sent).await?;
    Ok(RestAnswer::created(call.encode(&message)))
}

/// An update or a delete: the whole message anew.
async fn change(
    call: &Call<'_>,
    caller: &Caller,
    channel: String,
    action: u64,
    serial: &str,
    said: Said,
    about: About,
) -> Result<RestAnswer, Fault> {
    let name = Name::parse(channel)?;
    let mut version = Map::new();
    version.extend(about.description.map(|text| ("description".to_owned(), text.into())));
    version.extend(about.metadata.map(|metadata| ("metadata".to_owned(), Value::Object(metadata))));
    let version = WireExtras::Object(Box::new(version));
    let message = WireMessage { action, serial: Some(serial.into()), version, ..said.into_message() };
    // Sent again, it is the same one.
    let id = call.query.get("idempotencyKey").map_or(EntryId::Serial, |key| EntryId::Item(key.to_owned().into()));
    operate(call, caller, &name, message, id).await?;
    let message = read(call, caller, &name, message_ref(Some(serial))?).await?;
    Ok(RestAnswer::ok(call.encode(&message)))
}

/// A message as it is.
async fn read(call: &Call<'_>, caller: &Caller, name: &Name, message: MessageRef) -> Result<ChatMessage, Fault> {
    let channel = name.channel(caller.access.app.id);
    let found = latest(call, &channel, message).await?;
    ChatMessage::new(&found.entry, found.index).ok_or(Fault::Internal)
}

/// A reaction of this type, in the words of annotations.
fn reaction(kind: &str) -> Result<WireAnnotation, Fault> {
    if !REACTION_TYPES.contains(&kind) {
        let (found, rule) = (Found::text(kind), "unique, distinct or multiple");
        return Err(Fault::BadParameter { name: "type", found, rule });
    }
    Ok(WireAnnotation { kind: Some(message::annotation_type(kind).into()), ..WireAnnotation::default() })
}

async fn react(
    call: &Call<'_>,
    caller: &Caller,
    channel: String,
    serial: &str,
    annotation: WireAnnotation,
) -> Result<bytes::Bytes, Fault> {
    let target = Target::of(caller, channel, Operation::AnnotationPublish)?;
    let publish = target.annotations(call, vec![annotation], message_ref(Some(serial))?)?;
    let published = target.put(call, publish).await?;
    let serial = items::message_serial(published.serial, 0).to_string();
    Ok(call.encode(&json!({ "serial": serial })))
}

/// The body of a request, which its caller's app pays for while it is read.
async fn body<T: DeserializeOwned>(call: &Call<'_>, caller: &Caller, payload: &mut web::Payload) -> Result<T, Fault> {
    let (format, body) = call.body_of(caller, payload).await?;
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_object = match format {
        Format::Json => begins == Some(&b'{'),
        Format::Msgpack => matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
    };
    if !is_object {
        // A list would be taken for the fields in their order.
        return Err(Fault::BodyUnreadable { format: format.name(), why: "the body is not an object".into() });
    }
    wire::decode_value(format, &body)
}
