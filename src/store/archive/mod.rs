//! The messages and groups of the chat protocol (`docs/protocols/chat.md §9`): [`embedded`] in the data file or, by [`beside`],
//! on the Redis of a cluster, or [`mongo`] in a database that others read, too. All keep the same promises (tests/chat_archive).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use crate::store::archive::id::{Ids, MessageId};
use crate::{ids::Timestamp, store::StoreError};

pub mod beside;
pub mod embedded;
mod id;
#[cfg(feature = "mongo")]
pub mod mongo;

/// What a call of an [`Archive`] gives.
pub type Reading<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A client's own id of a message is remembered for this long (`docs/protocols/chat.md §7`).
pub const CLIENT_ID_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// A message as it is stored, with the names of `docs/protocols/chat.md §9`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Stands beside the rest: it is what a message is found by.
    #[serde(skip)]
    pub id: MessageId,
    /// `private_7_42`, or the id of a group.
    #[serde(rename = "room_id")]
    pub room: String,
    #[serde(rename = "from_user_id")]
    pub from: u64,
    /// 0 for groups.
    #[serde(rename = "to_user_id")]
    pub to: u64,
    #[serde(rename = "message_type")]
    pub kind: i64,
    pub content: String,
    #[serde(rename = "created_at")]
    pub created: Timestamp,
    /// The sender's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// What became of a message that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored: on disk, or on the majority of the database's nodes.
    New,
    /// Its sender has stored this one with the same `client_id` in the last 24 hours; nothing was stored now.
    Again(Message),
}

/// Messages of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub messages: Vec<Message>,
    /// Of the whole room.
    pub total: u64,
}

/// A group that was made here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `group_…`
    pub id: String,
    pub name: String,
    pub owner: u64,
    pub members: Vec<u64>,
    pub description: String,
    pub created: Timestamp,
}

/// Where chats are kept. Every call may fail with [`StoreError`], within seconds: a sender waits for it. A call that
/// failed may have been carried out all the same when its answer was lost; a repeat with a `client_id` finds out.
/// Calls are carried out to their end also if nobody waits for the answer any more.
///
/// User ids are at most 2^63-1, since MongoDB has no larger integers; what has a larger one is refused with
/// [`StoreError::Io`], and nothing is found for such a user.
pub trait Archive: Send + Sync {
    /// Stores a message; says so when it is safe.
    fn insert(&self, message: Message) -> Reading<'_, Inserted>;

    /// The message that has this id.
    fn find(&self, id: MessageId) -> Reading<'_, Option<Message>>;

    /// A page of a room's messages, the newest first; pages are counted from 1, and each has `size` of them.
    fn page(&self, room: &str, page: u64, size: usize) -> Reading<'_, Page>;

    /// The messages to one user, from others to this one alone, that came after `after`: the oldest first, at
    /// most `limit`.
    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Reading<'_, Vec<Message>>;

    /// The last message that a user is known to have got.
    fn seen(&self, user: u64) -> Reading<'_, Option<MessageId>>;

    /// Raises it; an older one than the known is ignored.
    fn set_seen(&self, user: u64, message: MessageId) -> Reading<'_, ()>;

    /// Keeps a new group; false, and nothing is changed, when there is another one with this id.
    fn create_group(&self, group: Group) -> Reading<'_, bool>;

    /// Adds members to a group that is there, behind those that it has.
    fn add_members(&self, group: &str, users: Vec<u64>) -> Reading<'_, ()>;

    fn group(&self, id: &str) -> Reading<'_, Option<Group>>;

    /// The ids of the groups that a user is a member of, in order. The groups themselves are not read: each may have
    /// thousands of members.
    fn groups_of(&self, user: u64) -> Reading<'_, Vec<String>>;

    /// Remembers that users took part in a group that was not made here, beside those that did before; with retention as
    /// long as the group has messages. Called again for none at least every hour in which the group has messages.
    fn take_part(&self, room: &str, users: Vec<u64>) -> Reading<'_, ()>;

    /// All who took part, in no order.
    fn participants(&self, room: &str) -> Reading<'_, Vec<u64>>;

    fn took_part(&self, room: &str, user: u64) -> Reading<'_, bool>;

    /// Whether it can be reached now.
    fn ping(&self) -> Reading<'_, ()>;

    /// Removes what is older than it is to be kept. To be called every [`crate::limits::ARCHIVE_SWEEP`].
    fn sweep(&self) -> Reading<'_, ()>;
}

/// Shared by everybody who needs it.
pub type SharedArchive = Arc<dyn Archive>;

/// # Errors
/// When a user's id does not fit into what MongoDB has; the same on every store, so that one can be moved to
/// another.
fn check_users(users: impl IntoIterator<Item = u64>) -> Result<(), StoreError> {
    let mut users = users.into_iter();
    if users.all(|user| i64::try_from(user).is_ok()) {
        return Ok(());
    }
    Err(StoreError::Io("a user id is above 2^63-1".into()))
}
