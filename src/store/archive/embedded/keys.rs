//! The keys of the embedded archive's rows, and the names of its counters.

use crate::store::{StoreError, archive::MessageId};

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

/// The counter of the messages that a room was ever given.
pub fn stored_in(room: &str) -> String {
    format!("chat stored {room}")
}

/// The counter of those of them that were removed.
pub fn removed_from(room: &str) -> String {
    format!("chat removed {room}")
}
