//! `join_room` and `leave_room`: what is sent to a room comes to the connections that have joined it
//! (`docs/protocols/chat.md §7`).

use crate::{
    limits,
    older::chat::{
        code::Code,
        fields::Fields,
        names::{Room, room_channel, why_not_open},
        online::{self, Notice},
        push::Push,
        reply::Reply,
        request_loop::RequestLoop,
    },
};

/// The room that a request names.
///
/// # Errors
/// 2001 or 2003 for what is no text or the id of no open room, `missing` without one.
pub fn parse(fields: &Fields, missing: Code) -> Result<String, Reply> {
    let id = fields.text("room_id")?;
    if id.is_empty() {
        return Err(missing.into());
    }
    match Room::parse(id) {
        Some(Room::Open(id)) => Ok(id.to_owned()),
        // Nothing would ever come there.
        _ => Err(Reply::from(fields.unreadable).because(why_not_open(id))),
    }
}

impl RequestLoop {
    pub async fn join_room(&self, room: &str) -> Reply {
        let registration = &self.connection.registration;
        let Ok(is_new) = online::join(&registration.data, room) else {
            let reason = format!("this connection has joined {} rooms; leave one first", limits::CHAT_ROOMS);
            return Reply::with_text(Code::JoinUnreadable, "加入的房间过多 (too many rooms)").because(reason);
        };
        // A connection that has ended attaches to nothing, and nobody reads the reply.
        if is_new && registration.is_registered() {
            let (notice, done) = Notice::attach_and_report(room_channel(room));
            registration.notify(notice);
            if done.await.is_err() {
                registration.data.lock().remove(room);
                return Code::Unavailable.into();
            }
        }
        let time = &self.chat.now_text();
        Reply::done(&Push::JoinRoomSuccess { room_id: room, user_id: self.user, time })
    }

    pub fn leave_room(&self, room: &str) -> Reply {
        let registration = &self.connection.registration;
        let was_there = registration.data.lock().remove(room);
        if was_there {
            registration.notify(Notice::Detach(room_channel(room)));
        }
        let time = &self.chat.now_text();
        Reply::done(&Push::LeaveRoomSuccess { room_id: room, user_id: self.user, time })
    }
}
