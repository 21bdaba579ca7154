//! The way of a message, by WebSocket and by HTTP alike: judge, store, look up, publish, answer, in this order; failure at
//! any step stops the rest (`docs/protocols/chat.md §7`).

use std::sync::Arc;

use serde_json::json;

use crate::{
    actors::broker::Broker,
    config::ChatCompat,
    older::chat::{
        code::Code,
        commands::SendMessage,
        fields::Text,
        moderation::Verdict,
        names::{Room, private_room, room_channel, user_channel},
        push::Push,
        reply::Reply,
        shared::Chat,
    },
    store::archive::{Inserted, Message},
};

/// The only type of message that is moderated (§8).
pub const TEXT: i64 = 1;

impl Chat {
    /// A message to one user.
    pub async fn send(&self, from: u64, SendMessage { to, text }: SendMessage, broker: &Arc<Broker>) -> Reply {
        self.send_to_room(from, private_room(from, to), to, text, broker).await
    }

    /// A message to one user, or, to nobody, to whoever is in an open room (§7).
    pub async fn send_to_room(&self, from: u64, room: String, to: u64, text: Text, broker: &Arc<Broker>) -> Reply {
        let client_id = text.client_id.clone();
        self.once(from, client_id.as_deref(), async {
            let message = self.judge_and_store(from, room, to, text).await?;
            Ok(self.deliver(&message, broker).await)
        })
        .await
    }

    /// Runs `sending` unless its reply is known, and remembers it when the message was stored.
    pub(super) async fn once(
        &self,
        from: u64,
        client_id: Option<&str>,
        sending: impl Future<Output = Result<Reply, Reply>>,
    ) -> Reply {
        if let Some(first) = self.first_replies.find(from, client_id) {
            return first;
        }
        match sending.await {
            Ok(reply) => {
                // What was not sent may be sent by the next try.
                if matches!(reply.code, None | Some(Code::Offline)) {
                    self.first_replies.note(from, client_id, &reply);
                }
                reply
            }
            Err(refused) => refused,
        }
    }

    /// # Errors
    /// `blocked`, if moderation does not let the text pass.
    pub(super) async fn judge(&self, text: &str, kind: i64, blocked: Code) -> Result<(), Reply> {
        if kind != TEXT {
            return Ok(());
        }
        match self.moderation.judge(text).await {
            Verdict::Pass => Ok(()),
            Verdict::Blocked { .. } if self.compat() == ChatCompat::Document => Err(blocked.into()),
            Verdict::Blocked { reason } => Err(Reply::with_text(blocked, format!("{}: {reason}", blocked.row().text))),
        }
    }

    /// The message as it is stored: the first one, when the sender repeats itself.
    ///
    /// # Errors
    /// The reply to its sender.
    pub(super) async fn judge_and_store(
        &self,
        from: u64,
        room: String,
        to: u64,
        Text { content, kind, client_id }: Text,
    ) -> Result<Message, Reply> {
        let (blocked, not_stored) = match Room::parse(&room) {
            Some(Room::Group(_)) => (Code::GroupBlocked, Code::GroupNotStored),
            _ => (Code::Blocked, Code::NotStored),
        };
        self.judge(&content, kind, blocked).await?;
        // Its id is made only now: judging takes its time, and by their ids messages are in order, in the history and in
        // what a user has seen of it.
        let message =
            Message { id: self.ids.mint(), room, from, to, kind, content, created: self.clock.now(), client_id };
        match self.archive.insert(message.clone()).await {
            Ok(Inserted::New) => Ok(message),
            // Its reply was lost, perhaps before anybody got the message.
            Ok(Inserted::Again(first)) if first.room == message.room => Ok(first),
            Ok(Inserted::Again(other)) => Err(self.receipt(&other, 0)),
            Err(error) => Err(self.not_stored(&error, not_stored)),
        }
    }

    /// Publishes a stored message to the user or the open room that it is for, and answers.
    async fn deliver(&self, message: &Message, broker: &Arc<Broker>) -> Reply {
        let (id, time) = (message.id.to_string(), self.time_text(message.created));
        let channel = match Room::parse(&message.room) {
            Some(Room::Open(room)) => room_channel(room),
            _ if self.is_online(message.to, broker).await => user_channel(message.to),
            _ => {
                let offline = Reply::from(Code::Offline);
                return match self.compat() {
                    ChatCompat::Document => {
                        offline.with(&json!({"message_id": id, "room_id": message.room, "stored": true}))
                    }
                    ChatCompat::Source => offline,
                };
            }
        };
        let push = Push::new_message(message, &id, &time);
        match broker.publish(&channel, push.publish(message.from, &id)).await {
            Ok(_) => self.receipt(message, 0),
            Err(fault) => Reply::of_fault(&fault, Code::NotSent),
        }
    }

    /// The reply to the sender of a stored message.
    pub(super) fn receipt(&self, message: &Message, sent_count: usize) -> Reply {
        let id = &message.id.to_string();
        if let Some(Room::Group(group_id)) = Room::parse(&message.room) {
            return Reply::done(&Push::GroupMessageSent {
                group_id,
                message_id: id,
                sent_count,
                message: "群聊消息已发送",
            });
        }
        match self.compat() {
            ChatCompat::Document => Reply::done(&Push::MessageSent {
                to_user_id: message.to,
                room_id: &message.room,
                message_id: id,
                message: "消息发送成功",
                time: &self.time_text(message.created),
            }),
            ChatCompat::Source => Reply::done(&"消息发送成功"),
        }
    }
}
