//! A frame as a client sends it (`docs/protocols/ably.md §2`).

use std::{collections::BTreeMap, fmt};

use bytestring::ByteString;
use secrecy::SecretString;
use serde::{
    Serialize,
    de::{MapAccess, Visitor},
};

use super::{
    Format,
    annotation::WireAnnotation,
    codec::decode_lenient,
    collection::{self, Items, absent_is, fields},
    item::{WireMessage, WirePresence},
    object::WireObject,
    scalar::{TEXT, WHOLE, seed},
};
use crate::error::Fault;

/// The `params` of a frame: texts by name.
pub type Params = BTreeMap<String, String>;

/// What a frame is for. Numbers that have no name here are to be ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Action(pub u64);

impl Action {
    pub const HEARTBEAT: Self = Self(0);
    pub const ACK: Self = Self(1);
    pub const NACK: Self = Self(2);
    pub const CONNECTED: Self = Self(4);
    pub const DISCONNECT: Self = Self(5);
    pub const DISCONNECTED: Self = Self(6);
    pub const CLOSE: Self = Self(7);
    pub const CLOSED: Self = Self(8);
    pub const ERROR: Self = Self(9);
    pub const ATTACH: Self = Self(10);
    pub const ATTACHED: Self = Self(11);
    pub const DETACH: Self = Self(12);
    pub const DETACHED: Self = Self(13);
    pub const PRESENCE: Self = Self(14);
    pub const MESSAGE: Self = Self(15);
    pub const SYNC: Self = Self(16);
    pub const AUTH: Self = Self(17);
    pub const OBJECT: Self = Self(19);
    pub const OBJECT_SYNC: Self = Self(20);
    pub const ANNOTATION: Self = Self(21);
}

/// A frame as a client sent it; nothing of it has been judged.
///
/// `messages`, `presence`, `annotations` and `state` hold at most one item more than [`crate::limits::FRAME_ITEMS`]: a longer list
/// has lost its end, and the frame has to be refused.
#[derive(Clone, Debug, Default)]
pub struct ProtocolMessage {
    /// A frame without one is a heartbeat: ably-go leaves out zeros (trap T6).
    pub action: Action,
    /// Of a heartbeat: to be given back.
    pub id: Option<ByteString>,
    /// Empty is a name, though no valid one.
    pub channel: Option<ByteString>,
    pub channel_serial: Option<ByteString>,
    pub msg_serial: Option<u64>,
    pub count: Option<u64>,
    pub flags: u64,
    pub params: Params,
    /// `auth.accessToken`
    pub access_token: Option<SecretString>,
    pub messages: Vec<WireMessage>,
    pub presence: Vec<WirePresence>,
    pub annotations: Vec<WireAnnotation>,
    pub state: Vec<WireObject>,
}

/// Reads a frame: text as JSON, binary as MessagePack, as the connection was opened for.
///
/// # Errors
/// [`Fault::BodyUnreadable`] when it is not of the format, no map, or has a field of a wrong type.
pub fn decode(format: Format, frame: &[u8]) -> Result<ProtocolMessage, Fault> {
    decode_lenient(format, frame)
}

/// The serial by which a frame that [`decode`] refused can be refused alone: it is one that is answered by ACK or NACK,
/// and these two fields of it are good. One that names no serial has 0, as everywhere.
pub fn serial_of_unreadable(format: Format, frame: &[u8]) -> Option<u64> {
    let envelope: Envelope = decode_lenient(format, frame).ok()?;
    envelope.action.is_acknowledged().then_some(envelope.msg_serial)
}

/// As much of a frame as its refusal needs; the rest is passed over.
#[derive(Default)]
pub struct Head {
    pub action: Action,
    pub msg_serial: u64,
    pub channel: Option<ByteString>,
}

/// None when the frame cannot be read as far as that.
pub fn head(format: Format, frame: &[u8]) -> Option<Head> {
    decode_lenient(format, frame).ok()
}

impl Action {
    /// Its frames are for the connection, not for the transport alone.
    pub const fn needs_connection(self) -> bool {
        !matches!(self, Self::HEARTBEAT | Self::AUTH | Self::DISCONNECT | Self::CLOSE)
    }

    /// Its frames are answered by ACK or NACK.
    pub const fn is_acknowledged(self) -> bool {
        matches!(self, Self::MESSAGE | Self::PRESENCE | Self::OBJECT | Self::ANNOTATION)
    }
}

/// The fields of a frame that are needed to refuse it; others are passed over, whatever their type.
#[derive(Default)]
struct Envelope {
    action: Action,
    msg_serial: u64,
}

fields!(EnvelopeVisitor of Envelope, "a protocol message", |envelope, map| {
    "action" => envelope.action = Action(map.next_value_seed(WHOLE)?.unwrap_or_default()),
    "msgSerial" => envelope.msg_serial = map.next_value_seed(WHOLE)?.unwrap_or_default(),
});

fields!(HeadVisitor of Head, "a protocol message", |head, map| {
    "action" => head.action = Action(map.next_value_seed(WHOLE)?.unwrap_or_default()),
    "msgSerial" => head.msg_serial = map.next_value_seed(WHOLE)?.unwrap_or_default(),
    "channel" => head.channel = map.next_value_seed(TEXT)?,
});

fields!(FrameVisitor of ProtocolMessage, "a protocol message", |frame, map| {
    "action" => frame.action = Action(map.next_value_seed(WHOLE)?.unwrap_or_default()),
    "id" => frame.id = map.next_value_seed(TEXT)?,
    "channel" => frame.channel = map.next_value_seed(TEXT)?,
    "channelSerial" => frame.channel_serial = map.next_value_seed(TEXT)?,
    "msgSerial" => frame.msg_serial = map.next_value_seed(WHOLE)?,
    "count" => frame.count = map.next_value_seed(WHOLE)?,
    "flags" => frame.flags = map.next_value_seed(WHOLE)?.unwrap_or_default(),
    "params" => frame.params = map.next_value_seed(collection::Params)?,
    "auth" => frame.access_token = map.next_value_seed(AuthSeed)?.0.map(|token| SecretString::from(&*token)),
    "messages" => frame.messages = map.next_value_seed(Items::new())?,
    "presence" => frame.presence = map.next_value_seed(Items::new())?,
    "annotations" => frame.annotations = map.next_value_seed(Items::new())?,
    "state" => frame.state = map.next_value_seed(Items::new())?,
});

/// `{accessToken}`
struct AuthSeed;

seed!(AuthSeed);

impl<'de> Visitor<'de> for AuthSeed {
    type Value = Auth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an accessToken")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
        AuthVisitor.visit_map(map)
    }

    absent_is!(Auth(None));
}

#[derive(Default)]
struct Auth(Option<ByteString>);

fields!(AuthVisitor of Auth, "an object with an accessToken", |auth, map| {
    "accessToken" => auth.0 = map.next_value_seed(TEXT)?,
});
