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
//! A write is told when the majority of the nodes has it in its journal.
//!
//! A `client_id` counts for a day, but no index of MongoDB ends by itself, and a message must not end with it. So
//! whoever runs into an entry that is older takes the `client_id` out of the old message and inserts again.

use futures_util::{FutureExt as _, TryStreamExt as _};
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
    error::Error,
    options::ReturnDocument,
};
use tokio::runtime::Handle;

use crate::{
    clock::Clock,
    limits,
    store::{
        StoreError,
        archive::{Answer, Archive, CLIENT_ID_WINDOW, Group, Inserted, Message, MessageId, Page, check_users},
    },
};

mod connection;
mod documents;
mod fault;
mod indexes;

pub use connection::{ConnectFault, Server, Settings, options};
use documents::{
    date, group_document, integer, message_document, object_id, read_group, read_group_id, read_message,
    read_participants,
};
use fault::{DUPLICATE_KEY, code, told};

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
        let client = Client::with_options(options).map_err(|error| unusable(told(&error)))?;
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
    fn call<T, F>(&self, act: impl FnOnce(Self) -> F) -> Answer<'static, T>
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

    async fn put(&self, message: Message) -> Result<Inserted, StoreError> {
        check_users([message.from, message.to])?;
        let document = message_document(&message)?;
        loop {
            match self.messages.insert_one(&document).await {
                Ok(_) => return Ok(Inserted::New),
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => {}
                Err(error) => return Err(told(&error)),
            }
            // The driver sends a write again whose answer was lost.
            if self.find(doc! { "_id": object_id(message.id) }).await? == Some(message.clone()) {
                return Ok(Inserted::New);
            }
            let Some(client_id) = &message.client_id else {
                return Err(StoreError::Io("two messages have one id".into()));
            };
            let same = doc! { "from_user_id": integer(message.from)?, "client_id": client_id };
            // None: it was taken away or forgotten meanwhile.
            if let Some(known) = self.find(same).await? {
                let until = known.created.millis() + CLIENT_ID_WINDOW.as_millis() as u64;
                if until > self.clock.now().millis() {
                    return Ok(Inserted::Again(known));
                }
                let old = doc! { "_id": object_id(known.id), "client_id": client_id };
                let forget = doc! { "$unset": { "client_id": "" } };
                let forgotten = self.messages.update_one(old, forget).await;
                forgotten.map_err(|error| told(&error))?;
            }
        }
    }

    async fn find(&self, filter: Document) -> Result<Option<Message>, StoreError> {
        let found = self.messages.find_one(filter).await;
        let found = found.map_err(|error| told(&error))?;
        found.as_ref().map(read_message).transpose()
    }

    async fn read_page(&self, room: &str, page: u64, size: usize) -> Result<Page, StoreError> {
        let filter = doc! { "room_id": room };
        let total = self.messages.count_documents(filter.clone()).await;
        let total = total.map_err(|error| told(&error))?;
        let skip = page.saturating_sub(1).saturating_mul(size as u64);
        // MongoDB takes a limit of 0 for none.
        if skip >= total || size == 0 {
            let messages = Vec::new();
            return Ok(Page { messages, total });
        }
        let found = self
            .messages
            .find(filter)
            .sort(doc! { "_id": -1 })
            .skip(skip)
            .limit(i64::try_from(size).unwrap_or(i64::MAX));
        let messages = all(found.await, read_message).await?;
        Ok(Page { messages, total })
    }

    async fn read_missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>, StoreError> {
        // To 0 are the messages of groups.
        let (true, Ok(to), true) = (to != 0, integer(to), limit != 0) else {
            return Ok(Vec::new());
        };
        let mut filter = doc! { "to_user_id": to };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": object_id(after) });
        }
        let found = self.messages.find(filter).sort(doc! { "_id": 1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        all(found.await, read_message).await
    }

    async fn read_seen(&self, user: u64) -> Result<Option<MessageId>, StoreError> {
        let Ok(user) = integer(user) else {
            return Ok(None);
        };
        let found = self.seen.find_one(doc! { "_id": user }).await;
        let found = found.map_err(|error| told(&error))?;
        let Some(found) = found else { return Ok(None) };
        let id = found
            .get_object_id("message_id")
            .map_err(|error| StoreError::damaged(format!("what user {user} has seen: {error}")))?;
        Ok(Some(MessageId::from_bytes(id.bytes())))
    }

    async fn raise_seen(&self, user: u64, id: MessageId) -> Result<(), StoreError> {
        let filter = doc! { "_id": integer(user)? };
        let raise = doc! { "$max": { "message_id": object_id(id) } };
        loop {
            let raised = self
                .seen
                .find_one_and_update(filter.clone(), raise.clone())
                .upsert(true)
                .return_document(ReturnDocument::After);
            match raised.await {
                Ok(_) => return Ok(()),
                // Two have made it at once; now it is there.
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => {}
                Err(error) => return Err(told(&error)),
            }
        }
    }

    async fn put_group(&self, group: Group) -> Result<bool, StoreError> {
        check_users(group.members.iter().copied().chain([group.owner]))?;
        match self.groups.insert_one(group_document(&group)?).await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == Some(DUPLICATE_KEY) => {
                // Ours, when the driver has sent it again because its answer was lost: times tell.
                Ok(self.read_group(&group.id).await?.as_ref() == Some(&group))
            }
            Err(error) => Err(told(&error)),
        }
    }

    async fn read_group(&self, id: &str) -> Result<Option<Group>, StoreError> {
        let found = self.groups.find_one(doc! { "_id": id }).await;
        let found = found.map_err(|error| told(&error))?;
        found.as_ref().map(read_group).transpose()
    }

    async fn put_participants(&self, room: &str, users: Vec<u64>) -> Result<(), StoreError> {
        let users: Vec<i64> = users.into_iter().map(integer).collect::<Result<_, _>>()?;
        let change = doc! {
            "$addToSet": { "user_ids": { "$each": users } },
            "$set": { "updated_at": date(self.clock.now()) },
        };
        loop {
            let put = self.participants.update_one(doc! { "_id": room }, change.clone()).upsert(true);
            match put.await {
                Ok(_) => return Ok(()),
                // Two have made it at once; now it is there.
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => {}
                Err(error) => return Err(told(&error)),
            }
        }
    }

    async fn read_participants(&self, room: &str) -> Result<Vec<u64>, StoreError> {
        let found = self.participants.find_one(doc! { "_id": room }).await;
        let found = found.map_err(|error| told(&error))?;
        found.as_ref().map_or_else(|| Ok(Vec::new()), read_participants)
    }

    async fn has_participant(&self, room: &str, user: u64) -> Result<bool, StoreError> {
        let Ok(user) = integer(user) else {
            return Ok(false);
        };
        let found = self.participants.find_one(doc! { "_id": room, "user_ids": user }).projection(doc! { "_id": 1 });
        found.await.map(|found| found.is_some()).map_err(|error| told(&error))
    }

    async fn read_group_ids(&self, user: u64) -> Result<Vec<String>, StoreError> {
        let Ok(user) = integer(user) else {
            return Ok(Vec::new());
        };
        let found = self.groups.find(doc! { "member_ids": user });
        let found = found.sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
        all(found.await, read_group_id).await
    }
}

impl Archive for MongoArchive {
    fn insert(&self, message: Message) -> Answer<'_, Inserted> {
        self.call(|archive| async move { archive.put(message).await })
    }

    fn page(&self, room: &str, page: u64, size: usize) -> Answer<'_, Page> {
        let room = room.to_owned();
        self.call(move |archive| async move { archive.read_page(&room, page, size).await })
    }

    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Answer<'_, Vec<Message>> {
        self.call(move |archive| async move { archive.read_missed(to, after, limit).await })
    }

    fn seen(&self, user: u64) -> Answer<'_, Option<MessageId>> {
        self.call(move |archive| async move { archive.read_seen(user).await })
    }

    fn set_seen(&self, user: u64, message: MessageId) -> Answer<'_, ()> {
        self.call(move |archive| async move { archive.raise_seen(user, message).await })
    }

    fn create_group(&self, group: Group) -> Answer<'_, bool> {
        self.call(|archive| async move { archive.put_group(group).await })
    }

    fn group(&self, id: &str) -> Answer<'_, Option<Group>> {
        let id = id.to_owned();
        self.call(move |archive| async move { archive.read_group(&id).await })
    }

    fn groups_of(&self, user: u64) -> Answer<'_, Vec<String>> {
        self.call(move |archive| async move { archive.read_group_ids(user).await })
    }

    fn take_part(&self, room: &str, users: Vec<u64>) -> Answer<'_, ()> {
        let room = room.to_owned();
        self.call(move |archive| async move { archive.put_participants(&room, users).await })
    }

    fn participants(&self, room: &str) -> Answer<'_, Vec<u64>> {
        let room = room.to_owned();
        self.call(move |archive| async move { archive.read_participants(&room).await })
    }

    fn took_part(&self, room: &str, user: u64) -> Answer<'_, bool> {
        let room = room.to_owned();
        self.call(move |archive| async move { archive.has_participant(&room, user).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.call(|archive| async move {
            let answer = archive.database.run_command(doc! { "ping": 1 }).await;
            answer.map(drop).map_err(|error| told(&error))
        })
    }

    /// The database does it: the TTL index.
    fn sweep(&self) -> Answer<'_, ()> {
        std::future::ready(Ok(())).boxed()
    }
}

/// Everything that a cursor gives.
async fn all<T>(
    found: Result<mongodb::Cursor<Document>, Error>,
    read: impl Fn(&Document) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut cursor = found.map_err(|error| told(&error))?;
    let mut items = Vec::new();
    while let Some(document) = cursor.try_next().await.map_err(|error| told(&error))? {
        items.push(read(&document)?);
    }
    Ok(items)
}
