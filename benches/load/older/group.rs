//! The group protocol (docs/protocols/group.md): a member of a group sends to all of it by its WebSocket, is acknowledged once
//! the message is on disk, and gets its own message as the others do.

use anyhow::Result;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};

use crate::{
    crowd::Population,
    dialect::{Dialect, ServerFrame, Target, refusal},
    older::{Case, OlderDialect, Side},
    stamp::Envelope,
    traffic::Pace,
    wire,
};

/// Of this tool's servers only.
const JWT_SECRET: &str = "of-the-load-tool-only-0123456789abcdef";
const SETTINGS: &[(&str, &str)] = &[
    ("LETSHARE_GROUP_ENABLED", "true"),
    ("LETSHARE_GROUP_JWT_SECRET", JWT_SECRET),
    // Joining makes a member, so that nobody has to be registered first.
    ("LETSHARE_GROUP_MEMBERSHIP", "anyone"),
    ("LETSHARE_GROUP_ACK_MODE", "stored"),
    // Everybody comes from one address at once, and one of them sends all there is.
    ("LETSHARE_GROUP_HANDSHAKES_PER_SECOND", "0"),
    ("LETSHARE_GROUP_MESSAGES_PER_SECOND", "0"),
];
/// By what its ack is known.
const JOIN: &str = "join";

struct Group;

/// What clients send (§3).
#[derive(Serialize)]
struct Request<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    message_id: &'a str,
    data: D,
}

#[derive(Serialize)]
struct Auth {
    token: String,
}

/// §4
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "userId")]
    user: &'a str,
}

#[derive(Serialize)]
struct JoinGroup<'a> {
    group_id: &'a str,
}

#[derive(Serialize)]
struct SendMessage<'a> {
    group_id: &'a str,
    msg_type: u8,
    content: &'a str,
}

/// A frame that is no message (§5).
#[derive(Deserialize)]
struct Other<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message_id: &'a str,
    #[serde(default)]
    data: Outcome,
}

#[derive(Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    success: bool,
}

pub fn cases(quick: bool) -> Vec<Case> {
    let members = if quick { 50 } else { 500 };
    let population = |members, echo| Population { rooms: 1, members, publishers: 1, outside: false, echo };
    let side = |name, dialect, population| Side { name, dialect, population };
    // As many receivers: LetShare's publisher does not hear itself.
    let letshare = population(members + 1, false);
    vec![Case {
        name: "group",
        title: format!("group message to {members}"),
        paces: &[Pace::Paced, Pace::Saturated],
        sides: vec![
            side("letshare", Dialect::LetShare, letshare),
            side("letshare, frames as long", Dialect::LetShareLong, letshare),
            side("group", Dialect::Older(&Group), population(members, true)),
        ],
        settings: SETTINGS,
        alone: &[],
    }]
}

impl OlderDialect for Group {
    fn name(&self) -> &'static str {
        "group"
    }

    fn publishes_by_http(&self) -> bool {
        false
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn envelope(&self, data_bytes: usize) -> Envelope {
        Envelope::new(data_bytes, true, b"\",\"image_url\":\"\"")
    }

    fn upgrade_request(&self, target: &Target, _: &str) -> String {
        wire::upgrade(&target.address.to_string(), "/group/ws")
    }

    fn greeting(&self, user: &str) -> Result<Option<Vec<u8>>> {
        let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
        let token = encode(&Header::default(), &Claims { user }, &key)?;
        frame("auth", "", Auth { token }).map(Some)
    }

    fn join(&self, channel: &str) -> Result<Vec<u8>> {
        frame("join_group", JOIN, JoinGroup { group_id: channel })
    }

    fn publish(&self, _: &Target, channel: &str, data: &str, serial: u32) -> Result<Vec<u8>> {
        let message = SendMessage { group_id: channel, msg_type: 1, content: data };
        frame("send_message", &serial.to_string(), message)
    }

    fn read(&self, payload: &[u8]) -> ServerFrame {
        if payload.starts_with(b"{\"type\":\"new_message\"") {
            return ServerFrame::Message;
        }
        let Ok(other) = serde_json::from_slice::<Other<'_>>(payload) else {
            return refusal(payload);
        };
        match (other.kind, other.message_id, other.message_id.parse()) {
            ("auth_success", ..) => ServerFrame::Connected,
            ("ack", JOIN, _) if other.data.success => ServerFrame::Joined,
            ("ack", _, Ok(serial)) if other.data.success => ServerFrame::Ack { serial, count: 1 },
            _ => refusal(payload),
        }
    }
}

fn frame(kind: &str, message_id: &str, data: impl Serialize) -> Result<Vec<u8>> {
    let request = Request { kind, message_id, data };
    Ok(serde_json::to_vec(&request)?)
}
