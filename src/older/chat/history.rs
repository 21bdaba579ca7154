//! Pages of stored messages, for the members of their room (`docs/protocols/chat.md §3`).

use serde::Serialize;

use crate::{
    edge::http::query::Query,
    limits,
    older::chat::{code::Code, door::Shared, names::Room, reply::Reply},
    store::archive,
};

#[derive(Serialize)]
struct Page<'a> {
    messages: Vec<Stored<'a>>,
    /// Of the whole room.
    total: u64,
    page: u64,
    page_size: usize,
}

/// A message with the names that pushes have, too.
#[derive(Serialize)]
struct Stored<'a> {
    message_id: String,
    room_id: &'a str,
    from_user_id: u64,
    to_user_id: u64,
    message_type: i64,
    content: &'a str,
    time: String,
}

/// `page` and `page_size` of `room`, the newest message first.
///
/// # Errors
/// 1001 for what is no room or no page, 403 for who is not in the room, 10008 (503) without the store.
pub async fn page(shared: &Shared, reader: u64, room: &str, query: &Query) -> Result<Reply, Reply> {
    let number = |name: &str, default: u64| match query.get(name) {
        None | Some("") => Ok(default),
        Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(Code::BadRequest),
    };
    let number_of_page = number("page", 1)?;
    let size = number("page_size", limits::CHAT_PAGE_MESSAGES as u64)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let size = size.min(limits::CHAT_PAGE_MESSAGES_MAX);
    check_member(shared, reader, room).await?;
    let exchange = &shared.exchange;
    let found = exchange.archive.page(room, number_of_page, size).await;
    let found = found.map_err(|error| unavailable(&error))?;
    Ok(Reply::done(&Page {
        messages: found.messages.iter().map(|message| stored(message, exchange.time_text(message.created))).collect(),
        total: found.total,
        page: number_of_page,
        page_size: size,
    }))
}

fn stored(message: &archive::Message, time: String) -> Stored<'_> {
    Stored {
        message_id: message.id.to_string(),
        room_id: &message.room,
        from_user_id: message.from,
        to_user_id: message.to,
        message_type: message.kind,
        content: &message.content,
        time,
    }
}

async fn check_member(shared: &Shared, reader: u64, room: &str) -> Result<(), Reply> {
    let exchange = &shared.exchange;
    let is_member = match Room::parse(room).ok_or(Code::BadRequest)? {
        Room::Private(one, other) => [one, other].contains(&reader),
        Room::Group(id) => {
            let group = exchange.archive.group(id).await;
            match group.map_err(|error| unavailable(&error))? {
                Some(group) => group.members.contains(&reader),
                // Who sent to it, or was online and got its messages.
                None => exchange.archive.took_part(id, reader).await.map_err(|error| unavailable(&error))?,
            }
        }
        Room::Open(room) => exchange.online.is_in(reader, room),
    };
    if is_member { Ok(()) } else { Err(Code::Forbidden.into()) }
}

fn unavailable(error: &crate::store::StoreError) -> Reply {
    tracing::warn!(%error, "the history of a chat cannot be read");
    Reply::told(Code::NotStored, Code::Unavailable.text())
}
