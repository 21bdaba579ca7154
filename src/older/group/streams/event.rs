//! What entries of the streams mean (`docs/protocols/group.md §7`). Reading is tolerant: ids may be numbers or
//! text, what is not needed may be missing.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Visitor},
};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::older::group::{
    registry::{is_group, is_user},
    streams::entry::{Entry, EntryError},
};

/// The streams and what writes them: `docs/protocols/group.md §7`.
pub const MESSAGES: &str = "chat.message.new";
pub const NOTIFICATIONS: &str = "chat.notification.new";
pub const PUSHED_NOTIFICATIONS: &str = "notification:push";
pub const MEMBERS_ADDED: &str = "chat.group.member.added";
pub const MEMBERS_REMOVED: &str = "chat.group.member.removed";
pub const VERIFY_PROGRESS: &str = "verify:progress";

/// Something that another instance or service said.
///
/// Any of them may come twice (`queue` says why): take messages by `message_id` and notifications by
/// `notification_id` once; adding or removing a member twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// For everybody who is subscribed to the group here. On every instance but the one that wrote it.
    Message(NewMessage),
    /// For the connections of its user here. On every instance.
    Notification(Notification),
    /// To be kept as unread. On one instance of all.
    StoreNotification(Notification),
    /// Member of a group now: subscribe the connections here. On every instance but the one that wrote it.
    MemberAdded(Member),
    MemberRemoved(Member),
    /// For the connections of its user here. On every instance.
    VerifyProgress(VerifyProgress),
}

/// The data of a `new_message` (`docs/protocols/group.md §5`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    #[serde(deserialize_with = "text")]
    pub message_id: String,
    #[serde(deserialize_with = "text")]
    pub group_id: String,
    #[serde(default, deserialize_with = "text")]
    pub sender_id: String,
    #[serde(default, deserialize_with = "text")]
    pub sender_name: String,
    #[serde(default, deserialize_with = "text")]
    pub sender_avatar: String,
    /// 1 text, 2 image.
    #[serde(default = "text_message", deserialize_with = "number")]
    pub msg_type: i64,
    #[serde(default, deserialize_with = "text")]
    pub content: String,
    #[serde(default, deserialize_with = "text")]
    pub image_url: String,
    /// Unix seconds; the time of the entry when it was missing.
    #[serde(default, deserialize_with = "number")]
    pub created_at: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Whom it is for: never empty. In `chat.notification.new` it comes from the metadata.
    #[serde(default, deserialize_with = "text")]
    pub user_id: String,
    /// The UUID of the entry when it was missing.
    #[serde(default, deserialize_with = "text")]
    pub notification_id: String,
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    #[serde(default, deserialize_with = "text")]
    pub title: String,
    #[serde(default, deserialize_with = "text")]
    pub content: String,
    /// Unix seconds; `timestamp` in `notification:push`.
    #[serde(default, alias = "timestamp", deserialize_with = "number")]
    pub created_at: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(deserialize_with = "text")]
    pub group_id: String,
    #[serde(deserialize_with = "text")]
    pub user_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProgress {
    #[serde(deserialize_with = "text")]
    pub user_id: String,
    /// Number or text, as it came.
    #[serde(default)]
    pub verify_id: serde_json::Value,
    #[serde(default)]
    pub status: serde_json::Value,
    #[serde(default)]
    pub refresh: serde_json::Value,
    /// Unix seconds.
    #[serde(default, deserialize_with = "number")]
    pub timestamp: i64,
}

/// An event that waits to be done with.
#[derive(Debug)]
pub struct Received {
    pub event: Event,
    pub receipt: Receipt,
}

/// Says that an event is done with: kept where it must be kept. It is then never read again. Dropped
/// without that, as when the disk is full, the event comes again.
#[derive(Debug)]
#[must_use = "an event without `done` comes again"]
pub struct Receipt(oneshot::Sender<()>);

impl Receipt {
    /// With what hears of it.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (done, heard) = oneshot::channel();
        (Self(done), heard)
    }

    pub fn done(self) {
        // Nobody hears it any more when the bus has ended.
        let _ = self.0.send(());
    }
}

/// Why an entry is not understood. It never will be, so it is not read again.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("the payload is not what {stream} carries: {why}")]
    Payload { stream: String, why: String },
    #[error("the payload has no {0}")]
    Missing(&'static str),
    /// Some begin as the channels of users do: what is said there would look as if it came from us.
    #[error("the payload's {0} is no name that can be one")]
    Name(&'static str),
}

impl Event {
    /// What an entry of `stream` says; `seconds` is when it was written. Notifications come as those that
    /// are delivered, not as those that are stored.
    ///
    /// # Errors
    /// When it is not what the stream carries.
    pub fn read(stream: &str, entry: &Entry, seconds: i64) -> Result<Self, Malformed> {
        let event = match stream {
            MESSAGES => {
                let mut message: NewMessage = payload(stream, entry)?;
                present("message_id", &message.message_id)?;
                group(&message.group_id)?;
                or_then(&mut message.created_at, seconds);
                Self::Message(message)
            }
            NOTIFICATIONS | PUSHED_NOTIFICATIONS => {
                let mut notification: Notification = payload(stream, entry)?;
                if let Some(user) = entry.metadata.get("user_id") {
                    notification.user_id.clone_from(user);
                }
                present("user_id", &notification.user_id)?;
                if notification.notification_id.is_empty() {
                    notification.notification_id.clone_from(&entry.uuid);
                }
                or_then(&mut notification.created_at, seconds);
                Self::Notification(notification)
            }
            VERIFY_PROGRESS => {
                let mut progress: VerifyProgress = payload(stream, entry)?;
                present("user_id", &progress.user_id)?;
                or_then(&mut progress.timestamp, seconds);
                Self::VerifyProgress(progress)
            }
            _ => {
                let member: Member = payload(stream, entry)?;
                group(&member.group_id)?;
                present("user_id", &member.user_id)?;
                if !is_user(&member.user_id) {
                    return Err(Malformed::Name("user_id"));
                }
                if stream == MEMBERS_ADDED { Self::MemberAdded(member) } else { Self::MemberRemoved(member) }
            }
        };
        Ok(event)
    }
}

fn payload<T: DeserializeOwned>(stream: &str, entry: &Entry) -> Result<T, Malformed> {
    serde_json::from_slice(&entry.payload)
        .map_err(|error| Malformed::Payload { stream: stream.to_owned(), why: error.to_string() })
}

const fn present(field: &'static str, value: &str) -> Result<(), Malformed> {
    if value.is_empty() {
        return Err(Malformed::Missing(field));
    }
    Ok(())
}

fn group(name: &str) -> Result<(), Malformed> {
    present("group_id", name)?;
    if is_group(name) { Ok(()) } else { Err(Malformed::Name("group_id")) }
}

const fn or_then(seconds: &mut i64, then: i64) {
    if *seconds == 0 {
        *seconds = then;
    }
}

const fn text_message() -> i64 {
    1
}

/// Text, or a number as its exact decimal text; null is empty.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
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
    let text = text(deserializer)?;
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| serde::de::Error::custom("neither a whole number nor the text of one"))
}

#[cfg(test)]
mod tests;
