//! Pages of stored messages, for the members of their room (`docs/protocols/chat.md §3`).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::{
    actors::{
        accounts::{Charge, Kind},
        broker::Broker,
    },
    config::ChatCompat,
    edge::http::{long::AnswerBody, query::Query},
    error::Fault,
    ids::AppId,
    limits,
    older::chat::{
        code::Code,
        endpoint::ChatEndpoint,
        http::{Failure, Outcome, Told},
        names::Room,
        reply::{Reply, success},
        shared::Chat,
    },
    store::{
        StoreError,
        archive::{self, Message},
    },
};

/// What is on a page, and which it is.
pub(super) struct Page {
    chat: Arc<Chat>,
    found: archive::Page,
    number: u64,
    size: usize,
    charge: Charge,
}

impl Told for Page {
    /// A few messages at a time: thousands may be waited for.
    fn response(self, compat: ChatCompat) -> HttpResponse {
        let Self { chat, found, number, size, charge } = self;
        let mut around = success(compat, r#"{"messages":["#);
        let end = format!(r#"],"total":{},"page":{number},"page_size":{size}}}}}"#, found.total);
        // The brace behind the data.
        around.pop();
        let mut left = found.messages.into_iter();
        let more = async move || {
            let (mut items, mut bytes) = (Vec::new(), 0);
            while bytes < limits::PAGE_PORTION
                && let Some(message) = left.next()
            {
                let item = serde_json::to_string(&chat.stored(&message)).map_err(|_| Fault::Internal)?;
                bytes += item.len();
                items.push(item);
            }
            Ok(items)
        };
        let body = AnswerBody::list(around, more, end, charge);
        HttpResponse::Ok().content_type("application/json; charset=utf-8").body(body)
    }
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
    /// 1001 for what is no room or no page, 403 for who is not in the room, 10008 (503) without the store, 503 without room for
    /// the page.
    pub(super) async fn messages(&self, request: &HttpRequest, _: &mut web::Payload) -> Outcome<Page> {
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
        chat.check_reader(reader, room, &self.ingress.worker.broker).await?;
        let found = chat.archive.page(room, page, page_size).await.map_err(unavailable)?;
        let bytes: usize = found.messages.iter().map(|message| message.content.len()).sum();
        let account = self.ingress.account_of_request(request, AppId::DEFAULT);
        let charge = account.charge(Kind::Answer, bytes + limits::PAGE_PORTION);
        let charge = charge.map_err(|full| Reply::from(Code::Unavailable).because(full.to_string()))?;
        Ok(Page { chat: Arc::clone(chat), found, number: page, size: page_size, charge })
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
    async fn check_reader(&self, reader: u64, room: &str, broker: &Broker) -> Result<(), Failure> {
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
            Room::Open(room) => self.is_in_room(reader, room, broker).await,
        };
        if may_read { Ok(()) } else { Err(Code::Forbidden.into()) }
    }
}

fn unavailable(error: StoreError) -> Failure {
    tracing::warn!(%error, "the history of a chat cannot be read");
    Reply::with_text(Code::NotStored, Code::Unavailable.row().text).into()
}
