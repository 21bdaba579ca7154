//! A group message and a notification as clients, services and the store see them (`docs/protocols/group.md §5`). Pure.

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ids::ChannelName, older::group::frame::Draft};

/// The prefix of the channels that are groups (docs/architecture.md §5).
pub const GROUP: &str = "group:";
/// The prefix of those that are one user's own: no group's name begins with `u:`.
pub const USER: &str = "group:u:";

/// The name of a group message on its channel, and its type in the envelope.
pub const NEW_MESSAGE: &str = "new_message";
pub const NOTIFICATION: &str = "notification";
pub const VERIFY_PROGRESS: &str = "verify_progress";
pub const READ: &str = "read";

/// The `data` of a `new_message`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub message_id: String,
    pub group_id: String,
    #[serde(default, deserialize_with = "text_or_number")]
    pub sender_id: String,
    #[serde(default)]
    pub sender_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sender_avatar: String,
    #[serde(default = "text")]
    pub msg_type: u8,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub image_url: String,
    /// Unix seconds.
    #[serde(default)]
    pub created_at: u64,
}

/// The `data` of a `notification`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    #[serde(default, deserialize_with = "text_or_number")]
    pub notification_id: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub content: String,
    /// Unix seconds.
    #[serde(default)]
    pub created_at: u64,
}

/// Who sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    pub id: String,
    pub name: String,
    pub avatar: String,
}

impl Post {
    /// A draft becomes a message with an id of its own.
    pub fn of(draft: Draft, sender: Sender, seconds: u64) -> Self {
        Self {
            message_id: uuid(),
            group_id: draft.group,
            sender_id: sender.id,
            sender_name: sender.name,
            sender_avatar: sender.avatar,
            msg_type: draft.msg_type,
            content: draft.content,
            image_url: draft.image_url,
            created_at: seconds,
        }
    }
}

pub fn group_channel(group: &str) -> ChannelName {
    ChannelName::from(&*format!("{GROUP}{group}"))
}

pub fn user_channel(user: &str) -> ChannelName {
    ChannelName::from(&*format!("{USER}{user}"))
}

/// A random one (RFC 9562 §5.4).
pub fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

const fn text() -> u8 {
    1
}

/// The older services write users as numbers or as texts (docs/protocols/group.md §5).
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        _ => Err(serde::de::Error::custom("neither a text nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_uuids() {
        let ids: HashSet<String> = (0..100).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    /// docs/protocols/group.md §5: the example.
    #[test]
    fn a_post_is_written_as_documented() {
        let draft = Draft { group: "g-12".into(), msg_type: 1, content: "hi".into(), image_url: String::new() };
        let sender = Sender { id: "7".into(), name: "Wu".into(), avatar: String::new() };
        let mut post = Post::of(draft, sender, 1_760_000_000);
        post.message_id = "3f0c".into();
        assert_eq!(
            serde_json::to_string(&post).expect("JSON"),
            r#"{"message_id":"3f0c","group_id":"g-12","sender_id":"7","sender_name":"Wu","msg_type":1,"content":"hi","image_url":"","created_at":1760000000}"#
        );
    }

    #[test]
    fn services_may_write_users_as_numbers() {
        let post: Post =
            serde_json::from_str(r#"{"message_id":"m","group_id":"g","sender_id":12345678901}"#).expect("a post");
        assert_eq!((post.sender_id.as_str(), post.msg_type), ("12345678901", 1));
    }
}
