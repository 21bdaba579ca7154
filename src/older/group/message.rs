//! A group message and a notification as clients, services and the store see them (`docs/protocols/group.md §5, §7`). Pure.
//!
//! Reading is tolerant, because other services write them, too: ids may be numbers or texts, what is not needed may be missing.

use std::fmt;

use rand::RngExt as _;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use sha2::{Digest as _, Sha256};

use crate::ids::ChannelName;

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
pub struct GroupMessage {
    #[serde(deserialize_with = "text")]
    pub message_id: String,
    #[serde(deserialize_with = "text")]
    pub group_id: String,
    #[serde(default, deserialize_with = "text")]
    pub sender_id: String,
    #[serde(default, deserialize_with = "text")]
    pub sender_name: String,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub sender_avatar: String,
    /// 1 text, 2 image.
    #[serde(default = "text_message", deserialize_with = "message_type")]
    pub msg_type: u8,
    #[serde(default, deserialize_with = "text")]
    pub content: String,
    #[serde(default, deserialize_with = "text")]
    pub image_url: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "seconds")]
    pub created_at: u64,
}

/// The `data` of a `notification`, and whom it is for, which is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    #[serde(default, deserialize_with = "text", skip_serializing)]
    pub user_id: String,
    #[serde(default, deserialize_with = "text")]
    pub notification_id: String,
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    #[serde(default, deserialize_with = "text")]
    pub title: String,
    #[serde(default, deserialize_with = "text")]
    pub content: String,
    /// Unix seconds; `timestamp` in `notification:push`.
    #[serde(default, alias = "timestamp", deserialize_with = "seconds")]
    pub created_at: u64,
}

/// `of` has texts and numbers only, so this cannot fail.
pub fn to_json(of: &impl Serialize) -> String {
    serde_json::to_string(of).unwrap_or_default()
}

pub fn group_channel(group: &str) -> ChannelName {
    ChannelName::from(&*format!("{GROUP}{group}"))
}

pub fn user_channel(user: &str) -> ChannelName {
    ChannelName::from(&*format!("{USER}{user}"))
}

/// A random one (RFC 9562 §5.4).
pub fn uuid() -> String {
    uuid_of(rand::rng().random(), 4)
}

/// Names what a user sent to a group: `client_id` is the client's id for it, `data` what the client wrote.
pub fn digest(user: &str, group: &str, client_id: &str, data: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [user, group, client_id, data] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The id of what a user sends on a day: the same sent again on the same day has the same id, so that the id alone says
/// that it is known (`docs/protocols/group.md §6`, dedupe). A UUID as well (RFC 9562 §5.8).
pub fn message_id(digest: &[u8; 32], day: u64) -> String {
    let hash: [u8; 32] = Sha256::new().chain_update(day.to_be_bytes()).chain_update(digest).finalize().into();
    let (head, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    uuid_of(*head, 8)
}

fn uuid_of(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

const fn text_message() -> u8 {
    1
}

/// Text, or a number as its exact decimal text; null is empty.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text or a whole number")
        }
        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }
    deserializer.deserialize_any(Text)
}

/// A whole number, or its text; null and no text are 0.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match &*text(deserializer)? {
        "" => Ok(0),
        text => text.parse().map_err(|_| D::Error::custom("neither a whole number nor the text of one")),
    }
}

/// A time before 1970 counts as none.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    number(deserializer).map(|number| u64::try_from(number).unwrap_or_default())
}

/// What is no type at all counts as text.
fn message_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    number(deserializer).map(|number| u8::try_from(number).unwrap_or(1))
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

    /// §6: the key is user, group, the client's id and what was sent.
    #[test]
    fn the_same_message_has_the_same_id_on_the_same_day() {
        let id = |user, group, client_id, data, day| message_id(&digest(user, group, client_id, data), day);
        let known = id("7", "g", "c-1", "{}", 1);
        assert_eq!((known.len(), known.as_bytes()[14]), (36, b'8'));
        assert_eq!(id("7", "g", "c-1", "{}", 1), known);
        let others = [
            id("8", "g", "c-1", "{}", 1),
            id("7", "h", "c-1", "{}", 1),
            id("7", "gc", "-1", "{}", 1),
            id("7", "g", "c-1", "{ }", 1),
            id("7", "g", "c-1", "{}", 2),
        ];
        assert!(others.iter().all(|other| *other != known));
    }

    /// docs/protocols/group.md §5: the example.
    #[test]
    fn a_message_is_written_as_documented() {
        let message = GroupMessage {
            message_id: "3f0c".into(),
            group_id: "g-12".into(),
            sender_id: "7".into(),
            sender_name: "Wu".into(),
            msg_type: 1,
            content: "hi".into(),
            created_at: 1_760_000_000,
            ..GroupMessage::default()
        };
        assert_eq!(
            to_json(&message),
            r#"{"message_id":"3f0c","group_id":"g-12","sender_id":"7","sender_name":"Wu","msg_type":1,"content":"hi","image_url":"","created_at":1760000000}"#
        );
    }

    #[test]
    fn services_may_write_users_as_numbers() {
        let message: GroupMessage =
            serde_json::from_str(r#"{"message_id":"m","group_id":"g","sender_id":12345678901}"#).expect("a message");
        assert_eq!((message.sender_id.as_str(), message.msg_type), ("12345678901", 1));
    }
}
