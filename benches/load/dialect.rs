//! The protocols that the crowd speaks: how a client joins, publishes, and what it makes of a frame. LetShare is what the
//! floor speaks too; Ably's frames are written as its SDKs write them (docs/protocols/ably.md §2, §6).

use std::net::SocketAddrV4;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{older::OlderDialect, stamp::Envelope, wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    #[value(name = "letshare")]
    LetShare,
    /// The same with so much more data that its frames are as long as Ably's
    #[value(name = "letshare-long")]
    LetShareLong,
    AblyJson,
    AblyMsgpack,
    #[value(skip)]
    Older(&'static dyn OlderDialect),
}

/// Where the server is and how it lets us in.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddrV4,
    /// LetShare's token.
    pub token: String,
    /// Ably's key; none at the floor.
    pub key: Option<String>,
}

/// A frame of the server.
pub enum ServerFrame {
    /// A message of the channel.
    Message,
    /// Now the client may ask for its channel.
    Connected,
    /// The client is a member of its channel.
    Joined,
    /// `count` publishes from `serial` on are in the log.
    Ack { serial: u32, count: u32 },
    /// A sign of life.
    Nothing,
    /// What nobody wants to hear, in words.
    Refusal(String),
}

/// By how much Ably's frame of a message is longer than LetShare's, in bytes: serials, ids, escapes.
const ABLY_LONGER: usize = 200;

/// §2.2
mod action {
    pub const HEARTBEAT: u8 = 0;
    pub const ACK: u8 = 1;
    pub const CONNECTED: u8 = 4;
    pub const ATTACH: u8 = 10;
    pub const ATTACHED: u8 = 11;
    pub const MESSAGE: u8 = 15;
}

#[derive(Serialize)]
struct Attach<'a> {
    action: u8,
    channel: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Publish<'a> {
    action: u8,
    channel: &'a str,
    msg_serial: u32,
    messages: [Item<'a>; 1],
}

/// An object as the SDKs send it: a text, and how to read it (§3.5).
#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    data: &'a str,
    encoding: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AblyFrame {
    action: u8,
    msg_serial: Option<u32>,
    count: Option<u32>,
    error: Option<IgnoredAny>,
}

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Self::LetShare => "letshare",
            Self::LetShareLong => "letshare-long",
            Self::AblyJson => "ably-json",
            Self::AblyMsgpack => "ably-msgpack",
            Self::Older(dialect) => dialect.name(),
        }
    }

    pub fn acknowledges(self) -> bool {
        match self {
            Self::LetShare | Self::LetShareLong => false,
            Self::AblyJson | Self::AblyMsgpack => true,
            Self::Older(dialect) => dialect.acknowledges(),
        }
    }

    pub fn publishes_by_http(self) -> bool {
        matches!(self, Self::Older(dialect) if dialect.publishes_by_http())
    }

    /// The client may ask for its channel right after the upgrade, unless it has to greet.
    pub fn joins_at_once(self) -> bool {
        !matches!(self, Self::AblyJson | Self::AblyMsgpack)
    }

    /// What is said before that, if anything is; the answer is [`ServerFrame::Connected`].
    pub fn greeting(self, user: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Older(dialect) => dialect.greeting(user),
            _ => Ok(None),
        }
    }

    pub fn envelope(self, data_bytes: usize) -> Envelope {
        match self {
            Self::LetShare => Envelope::new(data_bytes, false, b",\"timestamp\":"),
            Self::LetShareLong => Envelope::new(data_bytes + ABLY_LONGER, false, b",\"timestamp\":"),
            Self::AblyJson => Envelope::new(data_bytes, true, b"\",\"encoding\":\"json\""),
            Self::AblyMsgpack => Envelope::new(data_bytes, false, b"\xa8encoding\xa4json"),
            Self::Older(dialect) => dialect.envelope(data_bytes),
        }
    }

    pub fn upgrade_request(self, target: &Target, user: &str) -> Result<String> {
        let host = target.address.to_string();
        let format = match self {
            Self::LetShare | Self::LetShareLong => {
                return Ok(wire::upgrade_request(&host, &target.token, user));
            }
            Self::AblyJson => "json",
            Self::AblyMsgpack => "msgpack",
            Self::Older(dialect) => return Ok(dialect.upgrade_request(target, user)),
        };
        let key = target.key.as_ref().context("this server has no Ably key")?;
        // What the SDK for Node asks for; without the echo, so that a publisher hears the others only, as with LetShare.
        let target = format!("/?key={key}&format={format}&v=5&heartbeats=false&echo=false");
        Ok(wire::upgrade(&host, &target))
    }

    pub fn opcode(self) -> u8 {
        match self {
            Self::LetShare | Self::LetShareLong | Self::AblyJson | Self::Older(_) => wire::TEXT,
            Self::AblyMsgpack => wire::BINARY,
        }
    }

    pub fn join(self, channel: &str) -> Result<Vec<u8>> {
        let attach = Attach { action: action::ATTACH, channel };
        match self {
            Self::LetShare | Self::LetShareLong => Ok(wire::subscribe_text(channel).into_bytes()),
            Self::AblyJson => Ok(serde_json::to_vec(&attach)?),
            Self::AblyMsgpack => Ok(rmp_serde::to_vec_named(&attach)?),
            Self::Older(dialect) => dialect.join(channel),
        }
    }

    /// `data` is a JSON object, `serial` the number of the publish.
    pub fn publish(self, target: &Target, channel: &str, data: &str, serial: u32) -> Result<Vec<u8>> {
        let publish = Publish {
            action: action::MESSAGE,
            channel,
            msg_serial: serial,
            messages: [Item { name: wire::EVENT, data, encoding: "json" }],
        };
        match self {
            Self::LetShare | Self::LetShareLong => Ok(wire::publish_text(channel, data).into_bytes()),
            Self::AblyJson => Ok(serde_json::to_vec(&publish)?),
            Self::AblyMsgpack => Ok(rmp_serde::to_vec_named(&publish)?),
            Self::Older(dialect) => dialect.publish(target, channel, data, serial),
        }
    }

    /// Cheap for messages, whose first bytes tell them; the client shares the processors with the server.
    pub fn read(self, payload: &[u8]) -> ServerFrame {
        let heard = match self {
            Self::LetShare | Self::LetShareLong => return read_letshare(payload),
            Self::Older(dialect) => return dialect.read(payload),
            Self::AblyJson if payload.starts_with(b"{\"action\":15,") => return ServerFrame::Message,
            Self::AblyMsgpack if payload.get(1..9) == Some(b"\xa6action\x0f") => {
                return ServerFrame::Message;
            }
            Self::AblyJson => serde_json::from_slice::<AblyFrame>(payload).ok(),
            Self::AblyMsgpack => rmp_serde::from_slice::<AblyFrame>(payload).ok(),
        };
        let heard = heard.filter(|heard| heard.error.is_none());
        match heard.map(|heard| (heard.action, heard.msg_serial, heard.count)) {
            Some((action::ACK, Some(serial), Some(count))) => ServerFrame::Ack { serial, count },
            Some((action::CONNECTED, ..)) => ServerFrame::Connected,
            Some((action::ATTACHED, ..)) => ServerFrame::Joined,
            Some((action::HEARTBEAT, ..)) => ServerFrame::Nothing,
            _ => refusal(payload),
        }
    }
}

fn read_letshare(payload: &[u8]) -> ServerFrame {
    if payload.starts_with(b"{\"type\":\"message\"") {
        ServerFrame::Message
    } else if payload.starts_with(b"{\"type\":\"subscribed\"") {
        ServerFrame::Joined
    } else {
        refusal(payload)
    }
}

/// A frame that nobody expects.
pub fn refusal(payload: &[u8]) -> ServerFrame {
    ServerFrame::Refusal(String::from_utf8_lossy(payload).into_owned())
}
