//! [`Archive`] in MongoDB, with the documents and indexes of `docs/protocols/chat.md §9`. Here and in the folder
//! beside it stands what names the driver.
//!
//! | collection | document |
//! |---|---|
//! | `messages` | `_id`, `room_id`, `from_user_id`, `to_user_id`, `message_type`, `content`, `created_at`, `updated_at`, `client_id` if there is one |
//! | `groups` | `_id` (group id), `name`, `owner_id`, `member_ids`, `description`, `created_at` |
//! | `seen` | `_id` (user), `message_id` |
//! | `participants` | `_id` (id of a group that was not made here), `user_ids`, `updated_at` |
//!
//! A write is acknowledged when the majority of the nodes has it in its journal.
//!
//! A `client_id` counts for a day, but no index of MongoDB ends by itself, and a message must not end with it. So
//! whoever runs into an entry that is older takes the `client_id` out of the old message and inserts again.

use futures_util::{FutureExt as _, TryStreamExt as _};
use mongodb::{
    Client, Collection, Database,
    bson::{Bson, Document, doc},
    error::Error,
};
use tokio::runtime::Handle;

use crate::{
    clock::Clock,
    limits,
    store::{
        StoreError,
        archive::{Archive, CLIENT_ID_WINDOW, Group, Inserted, Message, MessageId, Page, Reading, check_users},
    },
};

mod collection;
mod connection;
mod documents;
mod fault;
mod indexes;

pub use collection::collection;
pub use connection::{ConnectFault, Server, Settings, options};
use documents::{
    date, group_document, integer, message_document, object_id, read_group, read_group_id, read_message,
    read_participants,
};
use fault::is_duplicate;

/// The archive in a database. Clones share its connections.
#[derive(Clone)]
pub struct MongoArchive {
    messages: Collection<Document>,
    groups: Collection<Document>,
    seen: Collection<Document>,
    participants: Collection<Document>,
    database: Database,
    clock: Clock,
    /// Everything runs on the runtime that connected: the driver's connections belong to it, and a worker that has
    /// much to do does not hold them up.
    runtime: Handle,
}

impl MongoArchive {
    /// Connects, and makes the indexes that are missing. The runtime that this is called on must live as long as
    /// the archive is used.
    ///
    /// # Errors
    /// For the operator, after some seconds at most; without user and password.
    pub async fn connect(settings: &Settings, clock: Clock) -> Result<Self, ConnectFault> {
        let options = options(&settings.server).await?;
        let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
        let unusable = |error: StoreError| {
            let hosts = hosts.join(", ");
            ConnectFault::Unusable { hosts, error }
        };
        let client = Client::with_options(options).map_err(|error| unusable(error.into()))?;
        let database = client.database(&settings.database);
        let archive = Self {
            messages: database.collection("messages"),
            groups: database.collection("groups"),
            seen: database.collection("seen"),
            participants: database.collection("participants"),
            database,
            clock,
            runtime: Handle::current(),
        };
        archive.ping().await.map_err(unusable)?;
        let retention = settings.retention;
        let indexes = archive.call(move |archive| async move { archive.index(retention).await });
        indexes.await.map_err(unusable)?;
        Ok(archive)
    }

    /// Runs something to its end or its time limit, whether anybody waits or not.
    fn call<T, F>(&self, act: impl FnOnce(Self) -> F) -> Reading<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let act = act(self.clone());
        // The timer belongs to that runtime, too.
        let limited = async { tokio::time::timeout(limits::ARCHIVE_CALL, act).await };
        let running = self.runtime.spawn(limited);
        async {
            match running.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(StoreError::Unreachable("no answer in time".into())),
                Err(_) => Err(StoreError::Closed),
            }
        }
        .boxed()
    }

    async fn find_message(&self, filter: Document) -> Result<Option<Message>, StoreError> {
        self.messages.find_one(filter).await?.as_ref().map(read_message).transpose()
    }

    async fn find_group(&self, id: &str) -> Result<Option<Group>, StoreError> {
        self.groups.find_one(doc! { "_id": id }).await?.as_ref().map(read_group).transpose()
    }

    async fn put(&self, message: Message) -> Result<Inserted, StoreError> {
        check_users([message.from, message.to])?;
        let document = message_document(&message)?;
        loop {
            match self.messages.insert_one(&document).await {
                Ok(_) => return Ok(Inserted::New),
                Err(error) if is_duplicate(&error) => {}
                Err(error) => return Err(error.into()),
            }
            // The driver sends a write again whose answer was lost.
            if self.find_message(doc! { "_id": object_id(message.id) }).await? == Some(message.clone()) {
                return Ok(Inserted::New);
            }
            let Some(client_id) = &message.client_id else {
                return Err(StoreError::Io("two messages have one id".into()));
            };
            let same = doc! { "from_user_id": integer(message.from)?, "client_id": client_id };
            // None: it was taken away or forgotten meanwhile.
            if let Some(known) = self.find_message(same).await? {
                let until = known.created.millis() + CLIENT_ID_WINDOW.as_millis() as u64;
                if until > self.clock.now().millis() {
                    return Ok(Inserted::Again(known));
                }
                let old = doc! { "_id": object_id(known.id), "client_id": client_id };
                self.messages.update_one(old, doc! { "$unset": { "client_id": "" } }).await?;
            }
        }
    }
}

impl Archive for MongoArchive {
    fn insert(&self, message: Message) -> Reading<'_, Inserted> {
        self.call(|archive| async move { archive.put(message).await })
    }

    fn find(&self, id: MessageId) -> Reading<'_, Option<Message>> {
        self.call(move |archive| async move { archive.find_message(doc! { "_id": object_id(id) }).await })
    }

    fn page(&self, room: &str, page: u64, size: usize) -> Reading<'_, Page> {
        let filter = doc! { "room_id": room };
        self.call(move |archive| async move {
            let total = archive.messages.count_documents(filter.clone()).await?;
            let skip = page.saturating_sub(1).saturating_mul(size as u64);
            // MongoDB takes a limit of 0 for none.
            if skip >= total || size == 0 {
                return Ok(Page { messages: Vec::new(), total });
            }
            let found = archive.messages.find(filter).sort(doc! { "_id": -1 }).skip(skip).limit(limit_of(size));
            Ok(Page { messages: all(found.await, read_message).await?, total })
        })
    }

    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Reading<'_, Vec<Message>> {
        self.call(move |archive| async move {
            // To 0 are the messages of groups.
            let (true, Ok(to), true) = (to != 0, integer(to), limit != 0) else {
                return Ok(Vec::new());
            };
            let mut filter = doc! { "to_user_id": to };
            if let Some(after) = after {
                filter.insert("_id", doc! { "$gt": object_id(after) });
            }
            let found = archive.messages.find(filter).sort(doc! { "_id": 1 }).limit(limit_of(limit));
            all(found.await, read_message).await
        })
    }

    fn seen(&self, user: u64) -> Reading<'_, Option<MessageId>> {
        self.call(move |archive| async move {
            let Ok(id) = integer(user) else {
                return Ok(None);
            };
            let Some(found) = archive.seen.find_one(doc! { "_id": id }).await? else {
                return Ok(None);
            };
            let message = found.get_object_id("message_id");
            let message =
                message.map_err(|error| StoreError::damaged(format!("what user {user} has seen: {error}")))?;
            Ok(Some(MessageId::from_bytes(message.bytes())))
        })
    }

    fn set_seen(&self, user: u64, message: MessageId) -> Reading<'_, ()> {
        let raise = doc! { "$max": { "message_id": object_id(message) } };
        self.call(move |archive| async move { upsert(&archive.seen, integer(user)?.into(), raise).await })
    }

    fn create_group(&self, group: Group) -> Reading<'_, bool> {
        self.call(|archive| async move {
            check_users(group.members.iter().copied().chain([group.owner]))?;
            match archive.groups.insert_one(group_document(&group)?).await {
                Ok(_) => Ok(true),
                // It is ours when the driver has sent it again because its answer was lost: then all of it is the same.
                Err(error) if is_duplicate(&error) => Ok(archive.find_group(&group.id).await?.as_ref() == Some(&group)),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn add_members(&self, group: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let filter = doc! { "_id": group };
        self.call(move |archive| async move {
            let users: Vec<i64> = users.into_iter().map(integer).collect::<Result<_, _>>()?;
            let add = doc! { "$addToSet": { "member_ids": { "$each": users } } };
            archive.groups.update_one(filter, add).await?;
            Ok(())
        })
    }

    fn group(&self, id: &str) -> Reading<'_, Option<Group>> {
        let id = id.to_owned();
        self.call(move |archive| async move { archive.find_group(&id).await })
    }

    fn groups_of(&self, user: u64) -> Reading<'_, Vec<String>> {
        self.call(move |archive| async move {
            let Ok(user) = integer(user) else {
                return Ok(Vec::new());
            };
            let found = archive.groups.find(doc! { "member_ids": user });
            let found = found.sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
            all(found.await, read_group_id).await
        })
    }

    fn take_part(&self, room: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let room = room.to_owned();
        self.call(move |archive| async move {
            let users: Vec<i64> = users.into_iter().map(integer).collect::<Result<_, _>>()?;
            let add = doc! {
                "$addToSet": { "user_ids": { "$each": users } },
                "$set": { "updated_at": date(archive.clock.now()) },
            };
            upsert(&archive.participants, room.into(), add).await
        })
    }

    fn participants(&self, room: &str) -> Reading<'_, Vec<u64>> {
        let filter = doc! { "_id": room };
        self.call(move |archive| async move {
            let found = archive.participants.find_one(filter).await?;
            found.as_ref().map_or_else(|| Ok(Vec::new()), read_participants)
        })
    }

    fn took_part(&self, room: &str, user: u64) -> Reading<'_, bool> {
        let room = room.to_owned();
        self.call(move |archive| async move {
            let Ok(user) = integer(user) else {
                return Ok(false);
            };
            let found = archive.participants.find_one(doc! { "_id": room, "user_ids": user });
            Ok(found.projection(doc! { "_id": 1 }).await?.is_some())
        })
    }

    fn ping(&self) -> Reading<'_, ()> {
        self.call(|archive| async move {
            archive.database.run_command(doc! { "ping": 1 }).await?;
            Ok(())
        })
    }

    /// The database does it: the TTL index.
    fn sweep(&self) -> Reading<'_, ()> {
        std::future::ready(Ok(())).boxed()
    }
}

fn limit_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Changes a document, made when it is missing.
async fn upsert(collection: &Collection<Document>, id: Bson, change: Document) -> Result<(), StoreError> {
    loop {
        match collection.update_one(doc! { "_id": &id }, change.clone()).upsert(true).await {
            Ok(_) => return Ok(()),
            // Two have made it at once; now it is there.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Everything that a cursor gives.
async fn all<T>(
    found: Result<mongodb::Cursor<Document>, Error>,
    read: impl Fn(&Document) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut cursor = found?;
    let mut items = Vec::new();
    while let Some(document) = cursor.try_next().await? {
        items.push(read(&document)?);
    }
    Ok(items)
}
