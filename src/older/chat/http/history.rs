//! Pages of stored messages, for the members of their room (`docs/protocols/chat.md §3`).

use actix_web::{HttpRequest, web};
use serde::Serialize;

use crate::{
    edge::http::query::Query,
    limits,
    older::chat::{
        code::Code,
        endpoint::ChatEndpoint,
        http::{Failure, Outcome},
        names::Room,
        reply::Reply,
        shared::Chat,
    },
    store::{StoreError, archive::Message},
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

impl ChatEndpoint {
    /// `page` and `page_size` of a room, which the path or `room_id` names, the newest message first.
    ///
    /// # Errors
    /// 1001 for what is no room or no page, 403 for who is not in the room, 10008 (503) without the store.
    pub(super) async fn messages(&self, request: &HttpRequest, _: &mut web::Payload) -> Outcome {
        let (chat, reader) = (&self.shared, self.user(request)?.id);
        let query = Query::of(request);
        let room = request.match_info().load::<String>().ok();
        let room = room.as_deref().or_else(|| query.get("room_id")).unwrap_or_default();
        let number = |name: &str, default: u64| match query.get(name) {
            None | Some("") => Ok(default),
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Reply::from(Code::BadRequest).because(format!("{name} must be a whole number of at least 1"))
            }),
        };
        let page = number("page", 1)?;
        let page_size = number("page_size", limits::CHAT_PAGE_MESSAGES as u64)?;
        let page_size = usize::try_from(page_size).unwrap_or(usize::MAX).min(limits::CHAT_PAGE_MESSAGES_MAX);
        chat.check_reader(reader, room).await?;
        let found = chat.archive.page(room, page, page_size).await.map_err(unavailable)?;
        let messages = found.messages.iter().map(|message| chat.stored(message)).collect();
        Ok(Reply::done(&Page { messages, total: found.total, page, page_size }))
    }
}

impl Chat {
    fn stored<'a>(&self, message: &'a Message) -> Stored<'a> {
        Stored {
            message_id: message.id.to_string(),
            room_id: &message.room,
            from_user_id: message.from,
            to_user_id: message.to,
            message_type: message.kind,
            content: &message.content,
            time: self.time_text(message.created),
        }
    }

    /// Whether a user may read what was said in a room.
    async fn check_reader(&self, reader: u64, room: &str) -> Result<(), Failure> {
        let no_room = || {
            let reason = match room {
                "" => "room_id is missing".to_owned(),
                _ => format!(
                    "no room has this room_id: known are private_<smaller user>_<larger user>, group_<number>, and others \
                     of up to {} bytes without control characters",
                    limits::CHAT_ROOM_ID_BYTES
                ),
            };
            Reply::from(Code::BadRequest).because(reason)
        };
        let may_read = match Room::parse(room).ok_or_else(no_room)? {
            Room::Private(one, other) => [one, other].contains(&reader),
            Room::Group(id) => match self.archive.group(id).await.map_err(unavailable)? {
                Some(group) => group.members.contains(&reader),
                // Who sent to it, or was online and got its messages.
                None => self.archive.took_part(id, reader).await.map_err(unavailable)?,
            },
            Room::Open(room) => self.online.is_in(reader, room),
        };
        if may_read { Ok(()) } else { Err(Code::Forbidden.into()) }
    }
}

fn unavailable(error: StoreError) -> Failure {
    tracing::warn!(%error, "the history of a chat cannot be read");
    Reply::with_text(Code::NotStored, Code::Unavailable.row().text).into()
}
