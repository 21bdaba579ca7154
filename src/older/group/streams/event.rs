//! What entries of the streams mean (`docs/protocols/group.md §7`).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::older::group::{
    membership::{is_group, is_user},
    message::{GroupMessage, Notification, seconds, text},
    streams::entry::{Entry, EntryError},
};

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
    Message(GroupMessage),
    /// For the connections of its user here. On every instance.
    Notification(Notification),
    /// To be kept as unread. On one instance of all.
    StoreNotification(Notification),
    /// On every instance but the one that wrote it.
    MemberAdded(Member),
    MemberRemoved(Member),
    /// For the connections of its user here. On every instance.
    VerifyProgress(VerifyProgress),
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
    #[serde(default, deserialize_with = "seconds")]
    pub timestamp: u64,
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
    /// With what resolves when it is done, and fails when it is dropped.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (done, is_done) = oneshot::channel();
        (Self(done), is_done)
    }

    pub fn done(self) {
        // Nobody waits for it any more when the bus has ended.
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
    /// What an entry of `stream` says; `now`, in Unix seconds, is when it was written. Notifications come as those that
    /// are delivered, not as those that are stored.
    ///
    /// # Errors
    /// When it is not what the stream carries.
    pub fn read(stream: &str, entry: &Entry, now: u64) -> Result<Self, Malformed> {
        Ok(match stream {
            MESSAGES => {
                let mut message: GroupMessage = payload(stream, entry)?;
                present("message_id", &message.message_id)?;
                group(&message.group_id)?;
                or_then(&mut message.created_at, now);
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
                or_then(&mut notification.created_at, now);
                Self::Notification(notification)
            }
            VERIFY_PROGRESS => {
                let mut progress: VerifyProgress = payload(stream, entry)?;
                present("user_id", &progress.user_id)?;
                or_then(&mut progress.timestamp, now);
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
        })
    }
}

fn payload<T: DeserializeOwned>(stream: &str, entry: &Entry) -> Result<T, Malformed> {
    serde_json::from_slice(&entry.payload)
        .map_err(|error| Malformed::Payload { stream: stream.to_owned(), why: error.to_string() })
}

const fn present(field: &'static str, value: &str) -> Result<(), Malformed> {
    if value.is_empty() { Err(Malformed::Missing(field)) } else { Ok(()) }
}

fn group(name: &str) -> Result<(), Malformed> {
    present("group_id", name)?;
    if is_group(name) { Ok(()) } else { Err(Malformed::Name("group_id")) }
}

const fn or_then(seconds: &mut u64, then: u64) {
    if *seconds == 0 {
        *seconds = then;
    }
}

#[cfg(test)]
mod tests;
