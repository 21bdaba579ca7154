//! How the embedded archive writes a message, and the keys of its rows.

use serde::{Deserialize, Serialize};

use crate::{
    ids::Timestamp,
    store::{
        StoreError,
        archive::{Group, Message, MessageId},
    },
};

/// A stored message, with the names of `docs/protocols/chat.md §9`. Its id is the key.
#[derive(Serialize, Deserialize)]
struct Record {
    room_id: String,
    from_user_id: u64,
    to_user_id: u64,
    message_type: i64,
    content: String,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

pub fn write_message(message: Message) -> Result<Vec<u8>, StoreError> {
    let record = Record {
        room_id: message.room,
        from_user_id: message.from,
        to_user_id: message.to,
        message_type: message.kind,
        content: message.content,
        created_at: message.created,
        client_id: message.client_id,
    };
    serde_json::to_vec(&record).map_err(|error| StoreError::Io(error.to_string().into()))
}

pub fn read_message(id: MessageId, bytes: &[u8]) -> Result<Message, StoreError> {
    let record: Record =
        serde_json::from_slice(bytes).map_err(|error| StoreError::damaged(format!("chat message {id}: {error}")))?;
    Ok(Message {
        id,
        room: record.room_id,
        from: record.from_user_id,
        to: record.to_user_id,
        kind: record.message_type,
        content: record.content,
        created: record.created_at,
        client_id: record.client_id,
    })
}

pub fn write_group(group: &Group) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(group).map_err(|error| StoreError::Io(error.to_string().into()))
}

pub fn read_group(bytes: &[u8]) -> Result<Group, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::damaged(format!("a chat group: {error}")))
}

/// The beginning of the keys of a room's messages: its length keeps rooms apart whose names begin alike.
pub fn room_prefix(room: &str) -> Vec<u8> {
    [&(room.len() as u64).to_be_bytes(), room.as_bytes()].concat()
}

/// Rows of a room: the newest first, since keys are listed rising.
pub fn room_key(room: &str, id: MessageId) -> Vec<u8> {
    [&room_prefix(room)[..], &id.to_bytes().map(|byte| !byte)].concat()
}

/// The message at the end of such a key.
pub fn id_of_room_key(key: &[u8]) -> Result<MessageId, StoreError> {
    let id = id_at_end(key)?;
    Ok(MessageId::from_bytes(id.to_bytes().map(|byte| !byte)))
}

/// A user's rows, in the order of what follows.
pub fn user_key(user: u64, rest: &[u8]) -> Vec<u8> {
    [&user.to_be_bytes(), rest].concat()
}

/// The id that a key or a value ends with.
pub fn id_at_end(bytes: &[u8]) -> Result<MessageId, StoreError> {
    let id = bytes.last_chunk().copied().map(MessageId::from_bytes);
    id.ok_or_else(|| StoreError::damaged("the id of a chat message"))
}
