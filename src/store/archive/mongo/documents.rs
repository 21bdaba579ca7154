//! The documents of `docs/protocols/chat.md §9`. What other programs wrote is read, too: their integers may be of any size
//! that holds the number.

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};

use crate::{
    ids::Timestamp,
    store::{
        StoreError,
        archive::{Group, Message, MessageId},
    },
};

/// Error: when a user's id does not fit.
pub fn integer(user: u64) -> Result<i64, StoreError> {
    i64::try_from(user).map_err(|_| StoreError::Io("a user id is above 2^63-1".into()))
}

pub const fn object_id(id: MessageId) -> ObjectId {
    ObjectId::from_bytes(id.to_bytes())
}

pub fn date(moment: Timestamp) -> DateTime {
    DateTime::from_millis(i64::try_from(moment.millis()).unwrap_or(i64::MAX))
}

pub fn message_document(message: &Message) -> Result<Document, StoreError> {
    let created = date(message.created);
    let mut document = doc! {
        "_id": object_id(message.id),
        "room_id": &message.room,
        "from_user_id": integer(message.from)?,
        "to_user_id": integer(message.to)?,
        "message_type": message.kind,
        "content": &message.content,
        "created_at": created,
        "updated_at": created,
    };
    if let Some(client_id) = &message.client_id {
        document.insert("client_id", client_id);
    }
    Ok(document)
}

pub fn read_message(document: &Document) -> Result<Message, StoreError> {
    let read = || {
        Some(Message {
            id: MessageId::from_bytes(document.get_object_id("_id").ok()?.bytes()),
            room: document.get_str("room_id").ok()?.to_owned(),
            from: number(document.get("from_user_id")?)?.try_into().ok()?,
            to: number(document.get("to_user_id")?)?.try_into().ok()?,
            kind: number(document.get("message_type")?)?,
            content: document.get_str("content").ok()?.to_owned(),
            created: moment(document.get("created_at")?)?,
            client_id: document.get_str("client_id").ok().map(str::to_owned),
        })
    };
    read().ok_or_else(|| damaged("messages", document))
}

pub fn group_document(group: &Group) -> Result<Document, StoreError> {
    let members = group.members.iter().map(|member| integer(*member));
    let members: Vec<i64> = members.collect::<Result<_, _>>()?;
    Ok(doc! {
        "_id": &group.id,
        "name": &group.name,
        "owner_id": integer(group.owner)?,
        "member_ids": members,
        "description": &group.description,
        "created_at": date(group.created),
    })
}

pub fn read_group(document: &Document) -> Result<Group, StoreError> {
    let read = || {
        let members = document.get_array("member_ids").ok()?.iter();
        let members = members.map(|member| number(member)?.try_into().ok());
        Some(Group {
            id: document.get_str("_id").ok()?.to_owned(),
            name: document.get_str("name").ok()?.to_owned(),
            owner: number(document.get("owner_id")?)?.try_into().ok()?,
            members: members.collect::<Option<_>>()?,
            description: document.get_str("description").ok()?.to_owned(),
            created: moment(document.get("created_at")?)?,
        })
    };
    read().ok_or_else(|| damaged("groups", document))
}

/// Who took part in a group that was not made here.
pub fn read_participants(document: &Document) -> Result<Vec<u64>, StoreError> {
    let users = document.get_array("user_ids").ok().map(|users| users.iter());
    let users = users.and_then(|mut users| {
        users.try_fold(Vec::new(), |mut all, user| {
            all.push(number(user)?.try_into().ok()?);
            Some(all)
        })
    });
    users.ok_or_else(|| damaged("participants", document))
}

pub fn read_group_id(document: &Document) -> Result<String, StoreError> {
    let id = document.get_str("_id").map(str::to_owned);
    id.map_err(|_| damaged("groups", document))
}

fn damaged(collection: &str, document: &Document) -> StoreError {
    let id = document.get("_id").map_or_else(String::new, Bson::to_string);
    StoreError::damaged(format!("document {id} of collection {collection} is not as this program writes them"))
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        _ => None,
    }
}

fn moment(value: &Bson) -> Option<Timestamp> {
    let Bson::DateTime(date) = value else {
        return None;
    };
    let millis = u64::try_from(date.timestamp_millis()).unwrap_or_default();
    Some(Timestamp::from_millis(millis))
}
