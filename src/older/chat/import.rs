//! Chats that are brought along from elsewhere: groups with their members, who took part in groups that were not made here,
//! messages (`docs/protocols/chat.md §9`). They come into the archive as those of the server do.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, try_join_all},
};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Clock,
    ids::Timestamp,
    limits,
    older::chat::names::{Room, is_group_id, private_room},
    store::{
        StoreError,
        archive::{Group, Message, MessageId, SharedArchive},
        import::{Importer, Kind, Names, Outcome, Record, needed},
    },
};

const GROUP: Names = &["group_id", "_id", "id"];
const NAME: Names = &["name", "group_name"];
const OWNER: Names = &["owner_id", "creator_id"];
const MEMBERS: Names = &["member_ids", "members"];
const DESCRIPTION: Names = &["description"];
const USER: Names = &["user_id", "member_id"];
const USERS: Names = &["user_ids", "user_id"];
const ID: Names = &["message_id", "_id", "id"];
const ROOM: Names = &["room_id", "group_id"];
const FROM: Names = &["from_user_id", "sender_id"];
const TO: Names = &["to_user_id", "receiver_id"];
const KIND: Names = &["message_type", "type"];
const CONTENT: Names = &["content"];
const CREATED: Names = &["created_at", "time"];

/// See the module.
pub struct Import {
    archive: SharedArchive,
    clock: Clock,
    /// Of times that do not say theirs.
    zone: TimeZone,
    retention: Option<Duration>,
    /// Messages are judged and not written. What they need of groups is, so that they can be.
    is_dry: bool,
    /// Who took part in groups that messages name; none for those that were made here.
    participants: HashMap<String, Option<HashSet<u64>>>,
}

impl Import {
    pub fn new(
        archive: SharedArchive,
        clock: Clock,
        zone: TimeZone,
        retention: Option<Duration>,
        is_dry: bool,
    ) -> Self {
        Self { archive, clock, zone, retention, is_dry, participants: HashMap::new() }
    }

    fn user(record: &Record, names: Names) -> Result<Option<u64>, String> {
        let user = record.integer(names)?.map(u64::try_from).transpose();
        user.map_err(|_| format!("{} is negative", names.first().unwrap_or(&"a user")))
    }

    fn users(record: &Record, names: Names) -> Result<Vec<u64>, String> {
        let ids = record.list(names)?;
        let read = |text: &String| text.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
        ids.iter()
            .map(|text| read(text).ok_or_else(|| format!("{text:?} is no user: users are whole numbers")))
            .collect()
    }

    fn group_id(record: &Record) -> Result<String, String> {
        let id = needed(record.text(GROUP)?, GROUP)?;
        if is_group_id(&id) {
            return Ok(id);
        }
        Err(format!("{id:?} is the id of no group: group_<number> or group_<number>_<number>, of up to 20 digits each"))
    }

    fn created(&self, record: &Record) -> Result<Option<Timestamp>, String> {
        let created = record.time(CREATED, &self.zone)?;
        if created.is_some_and(|created| created > self.clock.now()) {
            return Err("created_at lies in the future".to_owned());
        }
        Ok(created)
    }

    async fn group(&mut self, record: &Record) -> Result<Result<Outcome, String>, StoreError> {
        let read = || {
            let id = Self::group_id(record)?;
            let (name, description) =
                (needed(record.text(NAME)?, NAME)?, record.text(DESCRIPTION)?.unwrap_or_default());
            let owner = needed(Self::user(record, OWNER)?, OWNER)?;
            let mut members = vec![owner];
            for member in Self::users(record, MEMBERS)? {
                if !members.contains(&member) {
                    members.push(member);
                }
            }
            for (field, size, limit) in [
                ("name", name.len(), limits::CHAT_GROUP_NAME_BYTES),
                ("description", description.len(), limits::CHAT_GROUP_DESCRIPTION_BYTES),
                ("member_ids", members.len(), limits::CHAT_GROUP_MEMBERS),
            ] {
                if size > limit {
                    return Err(format!("{field} has {size}, and may have {limit}"));
                }
            }
            let created = self.created(record)?.unwrap_or_else(|| self.clock.now());
            Ok(Group { id, name, owner, members, description, created })
        };
        let group = match read() {
            Ok(group) => group,
            Err(reason) => return Ok(Err(reason)),
        };
        if self.archive.group(&group.id).await?.is_some() {
            return Ok(Ok(Outcome::Known));
        }
        self.archive.create_group(group).await?;
        Ok(Ok(Outcome::New))
    }

    async fn member(&mut self, record: &Record) -> Result<Result<Outcome, String>, StoreError> {
        let (id, user) = match (Self::group_id(record), Self::user(record, USER).and_then(|user| needed(user, USER))) {
            (Ok(id), Ok(user)) => (id, user),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        };
        let Some(group) = self.archive.group(&id).await? else {
            return Ok(Err(format!("there is no group {id}: bring --groups along first")));
        };
        if group.members.contains(&user) {
            return Ok(Ok(Outcome::Known));
        }
        if group.members.len() >= limits::CHAT_GROUP_MEMBERS {
            return Ok(Err(format!("{id} has {} members, which is as many as one may", limits::CHAT_GROUP_MEMBERS)));
        }
        self.archive.add_members(&id, vec![user]).await?;
        Ok(Ok(Outcome::New))
    }

    async fn participant(&mut self, record: &Record) -> Result<Result<Outcome, String>, StoreError> {
        let (id, users) = match (Self::group_id(record), Self::users(record, USERS)) {
            (Ok(id), Ok(users)) => (id, users),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        };
        if self.archive.group(&id).await?.is_some() {
            return Ok(Err(format!("{id} was made here: its members read it, and nobody else")));
        }
        Ok(Ok(if self.take_part(&id, users).await? > 0 { Outcome::New } else { Outcome::Known }))
    }

    /// Notes users of a group, unless it was made here: its members read it. How many are new.
    async fn take_part(&mut self, group: &str, users: Vec<u64>) -> Result<usize, StoreError> {
        if !self.participants.contains_key(group) {
            let known = match self.archive.group(group).await? {
                Some(_) => None,
                None => Some(self.archive.participants(group).await?.into_iter().collect()),
            };
            self.participants.insert(group.to_owned(), known);
        }
        let Some(Some(known)) = self.participants.get_mut(group) else {
            return Ok(0);
        };
        let mut new = Vec::new();
        for user in users {
            if known.len() < limits::CHAT_PARTICIPANTS && known.insert(user) {
                new.push(user);
            }
        }
        let count = new.len();
        if count > 0 {
            self.archive.take_part(group, new).await?;
        }
        Ok(count)
    }

    fn message(&self, record: &Record) -> Result<Message, String> {
        let from = needed(Self::user(record, FROM)?.filter(|user| *user > 0), FROM)?;
        let to = Self::user(record, TO)?.unwrap_or_default();
        let room = record.text(ROOM)?;
        let room = match (room, to) {
            (Some(room), _) => room,
            (None, 0) => return Err("neither room_id nor to_user_id is there".to_owned()),
            (None, to) => private_room(from, to),
        };
        let to = match Room::parse(&room) {
            Some(Room::Private(one, other)) => {
                let to = match to {
                    0 if from == one => other,
                    0 => one,
                    to => to,
                };
                if private_room(from, to) != room {
                    return Err(format!("{room} is the room of two others than {from} and {to}"));
                }
                to
            }
            Some(Room::Group(_) | Room::Open(_)) if to == 0 => 0,
            Some(_) => return Err(format!("to_user_id is {to}, and {room} is no private_<user>_<user>")),
            None => {
                return Err(format!(
                    "{room:?} is no room: private_<smaller user>_<larger user>, group_<number>, or another name"
                ));
            }
        };
        let kind = record.integer(KIND)?.unwrap_or(1);
        let content = needed(record.text(CONTENT)?, CONTENT)?;
        if content.len() > limits::CHAT_CONTENT_BYTES {
            return Err(format!("content has {} bytes, and may have {}", content.len(), limits::CHAT_CONTENT_BYTES));
        }
        let (given, created) = (record.text(ID)?, self.created(record)?);
        let own: Option<MessageId> = given.as_deref().and_then(|id| id.parse().ok());
        let created = needed(created.or_else(|| own.map(time_of)), CREATED)?;
        let mut message =
            Message { id: own.unwrap_or_default(), room, from, to, kind, content, created, client_id: None };
        if own.is_none() {
            message.id = id_of(given.as_deref(), &message);
        }
        Ok(message)
    }

    async fn messages(&mut self, records: &[Record]) -> Result<Vec<Outcome>, StoreError> {
        let oldest = self.retention.map_or(0, |age| self.clock.now().millis().saturating_sub(age.as_millis() as u64));
        let archive = self.archive.clone();
        let read: Vec<_> = records.iter().map(|record| self.message(record)).collect();
        let ids = read.iter().map(|read| read.as_ref().map_or_else(|_| MessageId::default(), |message| message.id));
        let known = try_join_all(ids.map(|id| archive.find(id))).await?;
        let mut new: HashMap<MessageId, Message> = HashMap::new();
        let mut outcomes = Vec::new();
        for (read, known) in read.into_iter().zip(known) {
            outcomes.push(match read {
                Err(reason) => Outcome::Bad(reason),
                Ok(message) => match known.as_ref().or_else(|| new.get(&message.id)) {
                    Some(known) if *known == Message { client_id: known.client_id.clone(), ..message.clone() } => {
                        Outcome::Known
                    }
                    Some(_) => Outcome::Bad(format!("another message has the id {}", message.id)),
                    None if message.created.millis() < oldest => Outcome::TooOld,
                    None => {
                        new.insert(message.id, message);
                        Outcome::New
                    }
                },
            });
        }
        // Who sent to a group that was not made here reads it.
        for message in new.values() {
            if let Some(Room::Group(group)) = Room::parse(&message.room) {
                self.take_part(group, vec![message.from]).await?;
            }
        }
        if !self.is_dry {
            try_join_all(new.into_values().map(|message| archive.insert(message))).await?;
        }
        Ok(outcomes)
    }
}

impl Importer for Import {
    fn columns(&self, kind: Kind) -> &'static [Names] {
        match kind {
            Kind::Groups => &[GROUP, NAME, OWNER, MEMBERS, DESCRIPTION, CREATED],
            Kind::Members => &[GROUP, USER],
            Kind::Participants => &[GROUP, USERS],
            Kind::Messages => &[ID, ROOM, FROM, TO, KIND, CONTENT, CREATED],
        }
    }

    fn put<'i>(&'i mut self, kind: Kind, records: &'i [Record]) -> BoxFuture<'i, Result<Vec<Outcome>, StoreError>> {
        async move {
            if kind == Kind::Messages {
                return self.messages(records).await;
            }
            let mut outcomes = Vec::new();
            for record in records {
                let outcome = match kind {
                    Kind::Groups => self.group(record).await?,
                    Kind::Members => self.member(record).await?,
                    _ => self.participant(record).await?,
                };
                outcomes.push(outcome.unwrap_or_else(Outcome::Bad));
            }
            Ok(outcomes)
        }
        .boxed()
    }
}

/// The seconds that an id begins with.
fn time_of(id: MessageId) -> Timestamp {
    let [a, b, c, d, ..] = id.to_bytes();
    Timestamp::from_millis(u64::from(u32::from_be_bytes([a, b, c, d])) * 1_000)
}

/// An id for a message that has none of ours: it begins with its time, so that it sorts as it was said; the rest is the number
/// that it had, or, without one, its milliseconds and a digest, so that the same row has the same id again.
fn id_of(given: Option<&str>, message: &Message) -> MessageId {
    let millis = message.created.millis();
    let second = u32::try_from(millis / 1_000).unwrap_or(u32::MAX);
    let mut bytes = [0; MessageId::BYTES];
    bytes[..4].copy_from_slice(&second.to_be_bytes());
    if let Some(number) = given.and_then(|id| id.parse::<u64>().ok()) {
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        return MessageId::from_bytes(bytes);
    }
    let mut hash = Sha256::new();
    let (from, to) = (message.from.to_be_bytes(), message.to.to_be_bytes());
    let parts = [message.room.as_bytes(), &from, &to, given.unwrap_or_default().as_bytes(), message.content.as_bytes()];
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    bytes[4..6].copy_from_slice(&((millis % 1_000) as u16).to_be_bytes());
    bytes[6..].copy_from_slice(&hash.finalize()[..6]);
    MessageId::from_bytes(bytes)
}
