//! Every frame that a socket gets besides the entries of its channels (`docs/protocols/ably.md §2`).
//!
//! Absent fields are left out, above all `channel` where the frame is about the connection (trap T1);
//! zeros that mean something are written (T3, T4); what a client cannot do without is no option here (T2, T5).

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::{
    Action, ErrorInfo, Format, Params,
    codec::{encode_frame, encode_frame_with},
    items::{ItemSerial, Listed},
    json_frame,
    shown::Shown,
};
use crate::{
    core::dedupe::Published,
    ids::{ConnectionId, Timestamp},
};

/// What most of these frames take, in bytes.
const ROOM: usize = 256;

/// A frame of the server; [`ServerFrame::encode`] finishes it. `channel` is always the name that the client
/// used, qualifier included (§5.1).
pub enum ServerFrame<'a> {
    /// With the id of the client's heartbeat that it answers.
    Heartbeat {
        id: Option<&'a str>,
    },
    Connected {
        connection_id: ConnectionId,
        details: &'a ConnectionDetails<'a>,
        error: Option<&'a ErrorInfo>,
    },
    Disconnected {
        error: &'a ErrorInfo,
    },
    Closed,
    /// Without a channel it is the end of the connection.
    Error {
        channel: Option<&'a str>,
        error: &'a ErrorInfo,
    },
    Attached {
        channel: &'a str,
        channel_serial: &'a str,
        /// Modes and what follows (§2.3).
        flags: u64,
        /// Those that were understood.
        params: &'a Params,
        error: Option<&'a ErrorInfo>,
    },
    Detached {
        channel: &'a str,
        error: Option<&'a ErrorInfo>,
    },
    Ack {
        msg_serial: u64,
        /// Frames, not messages (T4).
        count: u64,
        /// What came of each of the frames; none below version 5 (§1.3).
        res: Option<&'a [Published]>,
    },
    Nack {
        msg_serial: u64,
        count: u64,
        error: &'a ErrorInfo,
    },
    /// A page of members.
    Sync {
        channel: &'a str,
        /// `<sync id>:<cursor>`, the cursor empty on the last page; none = all in one page (§7.4).
        cursor: Option<&'a str>,
        timestamp: Timestamp,
        /// In the format of the frame ([`items::members`](super::items::members)).
        members: &'a [u8],
    },
    /// A page of objects.
    ObjectSync {
        channel: &'a str,
        /// `<sync id>:<cursor>`, the cursor empty on the last page (§10.5).
        cursor: &'a str,
        timestamp: Timestamp,
        /// In the format of the frame ([`object_page`](super::object_page)).
        state: &'a [u8],
    },
    /// "Please authenticate again."
    Auth,
}

/// What a client has to know about its connection (`docs/protocols/ably.md §2.5`).
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionDetails<'a> {
    /// `*` = any; none = anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// A secret.
    pub connection_key: &'a str,
    /// Bytes.
    pub max_message_size: usize,
    /// Bytes.
    pub max_frame_size: usize,
    /// Frames a second.
    pub max_inbound_rate: u32,
    #[serde(serialize_with = "as_millis")]
    pub connection_state_ttl: Duration,
    pub server_id: &'a str,
    /// Zero = no promise.
    #[serde(serialize_with = "as_millis")]
    pub max_idle_interval: Duration,
    #[serde(
        rename = "objectsGCGracePeriod",
        serialize_with = "as_some_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub objects_gc_grace_period: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_code: Option<&'a str>,
}

impl ServerFrame<'_> {
    /// The complete WebSocket frame.
    pub fn encode(&self, format: Format) -> Bytes {
        if let (Self::Ack { msg_serial, count, res }, Format::Json) = (self, format) {
            return json_frame::ack(*msg_serial, *count, *res);
        }
        if let Self::Sync { members, .. } = self {
            return encode_frame_with(format, &self.envelope(), "presence", members);
        }
        if let Self::ObjectSync { state, .. } = self {
            return encode_frame_with(format, &self.envelope(), "state", state);
        }
        self.encode_by_serde(format)
    }

    pub(super) fn encode_by_serde(&self, format: Format) -> Bytes {
        encode_frame(format, &self.envelope(), ROOM)
    }

    fn envelope(&self) -> Envelope<'_> {
        match *self {
            Self::Heartbeat { id } => Envelope { id, ..Envelope::new(Action::HEARTBEAT) },
            Self::Connected { connection_id, details, error } => Envelope {
                connection_id: Some(Shown(connection_id)),
                connection_details: Some(details),
                error,
                ..Envelope::new(Action::CONNECTED)
            },
            Self::Disconnected { error } => Envelope { error: Some(error), ..Envelope::new(Action::DISCONNECTED) },
            Self::Closed => Envelope::new(Action::CLOSED),
            Self::Error { channel, error } => Envelope { channel, error: Some(error), ..Envelope::new(Action::ERROR) },
            Self::Attached { channel, channel_serial, flags, params, error } => Envelope {
                channel: Some(channel),
                channel_serial: Some(channel_serial),
                flags: Some(flags),
                params: (!params.is_empty()).then_some(params),
                error,
                ..Envelope::new(Action::ATTACHED)
            },
            Self::Detached { channel, error } => {
                Envelope { channel: Some(channel), error, ..Envelope::new(Action::DETACHED) }
            }
            Self::Ack { msg_serial, count, res } => Envelope {
                msg_serial: Some(msg_serial),
                count: Some(count),
                res: res.map(Results),
                ..Envelope::new(Action::ACK)
            },
            Self::Nack { msg_serial, count, error } => Envelope {
                msg_serial: Some(msg_serial),
                count: Some(count),
                error: Some(error),
                ..Envelope::new(Action::NACK)
            },
            // Its members are encoded already.
            Self::Sync { channel, cursor, timestamp, .. } => Envelope {
                channel: Some(channel),
                channel_serial: cursor,
                timestamp: Some(timestamp),
                ..Envelope::new(Action::SYNC)
            },
            // Its objects are encoded already.
            Self::ObjectSync { channel, cursor, timestamp, .. } => Envelope {
                channel: Some(channel),
                channel_serial: Some(cursor),
                timestamp: Some(timestamp),
                ..Envelope::new(Action::OBJECT_SYNC)
            },
            Self::Auth => Envelope::new(Action::AUTH),
        }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_serial: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_serial: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    res: Option<Results<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Params>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_details: Option<&'a ConnectionDetails<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
}

impl Envelope<'_> {
    fn new(action: Action) -> Self {
        Self { action, ..Self::default() }
    }
}

/// `[{serials:[…]}, …]`, one for each frame.
struct Results<'a>(&'a [Published]);

#[derive(Serialize)]
struct FrameResult<L> {
    serials: L,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|published| {
            let serial = published.serial;
            let serials = (0..published.len).map(move |index| ItemSerial(serial, index));
            FrameResult { serials: Listed(serials) }
        }))
    }
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn as_some_millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    as_millis(&duration.unwrap_or_default(), serializer)
}
