//! Entries of the streams, and what they mean (`docs/protocols/group.md §7`). As Watermill's Redis library writes them: three
//! fields, the metadata as a MessagePack map of text to text. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    engines::redis::EntryId,
    older::group::{
        membership::{GroupInfo, Member as MemberInfo, is_group, is_user},
        message::{GroupMessage, Notification, seconds, text},
    },
};

pub const MESSAGES: &str = "chat.message.new";
pub const NOTIFICATIONS: &str = "chat.notification.new";
pub const PUSHED_NOTIFICATIONS: &str = "notification:push";
pub const MEMBERS_ADDED: &str = "chat.group.member.added";
pub const MEMBERS_REMOVED: &str = "chat.group.member.removed";
pub const VERIFY_PROGRESS: &str = "verify:progress";
/// What the nodes of a cluster tell each other of groups; no other service's.
pub const CHANGES: &str = "broker:groups";

const UUID: &str = "_watermill_message_uuid";
const METADATA: &str = "metadata";
const PAYLOAD: &str = "payload";

/// In the metadata: the instance that wrote the entry, so that it can skip its own.
pub const ORIGIN: &str = "origin";
/// There as well: the rows of what it says were written with the entry, into the store that all nodes have.
pub const KEPT: &str = "kept";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub uuid: String,
    pub metadata: BTreeMap<String, String>,
    /// JSON.
    pub payload: Vec<u8>,
}

/// Why an entry is not understood. It never will be, so it is not read again.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Entry {
    /// The fields as they are written. Without metadata that field is empty.
    pub fn encode(&self) -> [(&'static str, Vec<u8>); 3] {
        let metadata = if self.metadata.is_empty() {
            Vec::new()
        } else {
            // Cannot fail: a map of texts, written into memory.
            rmp_serde::to_vec(&self.metadata).unwrap_or_default()
        };
        [(UUID, self.uuid.clone().into_bytes()), (METADATA, metadata), (PAYLOAD, self.payload.clone())]
    }

    /// Reads the fields of an entry; fields of other names are ignored, no metadata is empty metadata.
    ///
    /// # Errors
    /// When there is no UUID or payload, or the metadata is something else.
    pub fn decode(fields: Vec<(String, Vec<u8>)>) -> Result<Self, Malformed> {
        let mut fields: HashMap<_, _> = fields.into_iter().collect();
        let mut needed =
            |name: &str| fields.remove(name).ok_or_else(|| Malformed(format!("the entry has no field {name}")));
        let (uuid, payload) = (needed(UUID)?, needed(PAYLOAD)?);
        let uuid = String::from_utf8(uuid);
        let metadata = fields.remove(METADATA).filter(|metadata| !metadata.is_empty());
        // Go writes a map that was never made as nil.
        let metadata = metadata.map(|metadata| rmp_serde::from_slice::<Option<_>>(&metadata)).transpose();
        let metadata = metadata.map_err(|error| {
            Malformed(format!("the entry's metadata is not a MessagePack map of text to text: {error}"))
        })?;
        Ok(Self {
            uuid: uuid.map_err(|_| Malformed(format!("the entry's field {UUID} is not text")))?,
            metadata: metadata.flatten().unwrap_or_default(),
            payload,
        })
    }

    /// The instance that wrote it, if it was one of ours.
    pub fn origin(&self) -> Option<&str> {
        self.metadata.get(ORIGIN).map(String::as_str)
    }

    pub fn is_kept(&self) -> bool {
        self.metadata.contains_key(KEPT)
    }
}

/// Who wrote an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// Another service, or an instance with a store of its own: the rows are still to be written here.
    Other,
    /// Another node: the rows are in the store that it has in common with this one.
    Node,
    /// The same of this node.
    Own,
}

/// Something that another instance or service said.
///
/// Any of them may come twice (`queue` says why): take messages by `message_id` and notifications by
/// `notification_id` once; adding or removing a member twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// For everybody who is subscribed to the group here. On every instance; where there is no common store, not on the one that
    /// wrote it.
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
    /// Rows of a group have changed. On every node.
    Changed(Change),
    /// What has changed of groups until now may not have been heard. On a node, before the first of [`Self::Changed`].
    ReadAgain,
}

/// What rows of a group are from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub group: String,
    /// None: as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<GroupInfo>,
    /// Users with what they are; none: no members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<(String, Option<MemberInfo>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Marked>,
}

/// A user has read up to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    pub user: String,
    pub number: u64,
    pub message: String,
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
    /// Where it stands in its stream.
    pub id: EntryId,
    pub author: Author,
    /// It was said after this instance began to read. What was said before is kept, and nobody here waits for it.
    pub is_live: bool,
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
                named("group_id", &message.group_id, is_group)?;
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
            CHANGES => Self::Changed(payload(stream, entry)?),
            _ => {
                let member: Member = payload(stream, entry)?;
                named("group_id", &member.group_id, is_group)?;
                named("user_id", &member.user_id, is_user)?;
                if stream == MEMBERS_ADDED { Self::MemberAdded(member) } else { Self::MemberRemoved(member) }
            }
        })
    }
}

fn payload<T: DeserializeOwned>(stream: &str, entry: &Entry) -> Result<T, Malformed> {
    let read = serde_json::from_slice(&entry.payload);
    read.map_err(|error| Malformed(format!("the payload is not what {stream} carries: {error}")))
}

fn present(field: &str, value: &str) -> Result<(), Malformed> {
    if value.is_empty() { Err(Malformed(format!("the payload has no {field}"))) } else { Ok(()) }
}

/// Some begin as the channels of users do: what is said there would look as if it came from us.
fn named(field: &str, name: &str, can_be: fn(&str) -> bool) -> Result<(), Malformed> {
    present(field, name)?;
    let refused = || Malformed(format!("the payload's {field} is no name that can be one"));
    can_be(name).then_some(()).ok_or_else(refused)
}

const fn or_then(seconds: &mut u64, then: u64) {
    if *seconds == 0 {
        *seconds = then;
    }
}

#[cfg(test)]
mod tests;
