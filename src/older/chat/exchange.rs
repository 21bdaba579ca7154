//! Carries requests out, for WebSockets and for HTTP alike: moderation, store, look up, publish, answer, in this order;
//! failure at any step stops the rest (`docs/protocols/chat.md §7`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use jiff::tz::TimeZone;
use serde_json::json;

use crate::{
    actors::broker::Broker,
    clock::{Clock, OncePerSecond},
    config::{self, UnknownGroup},
    ids::Timestamp,
    older::chat::{
        answers::Answers,
        code::Code,
        command::{Broadcast, SendMessage},
        moderation::{Moderation, Verdict},
        names::{EVERYBODY, Room, private_room, room_channel, user_channel},
        online::Online,
        participants::Participants,
        push::{Push, local_time, publish_raw},
        reply::{Reply, Style},
    },
    store::{
        StoreError,
        archive::{Ids, Inserted, Message, SharedArchive},
    },
};

mod groups;

/// The only type of message that is moderated (§8).
const TEXT: i64 = 1;

/// What everybody who sends shares.
pub struct Exchange {
    pub style: Style,
    pub archive: SharedArchive,
    pub online: Arc<Online>,
    pub zone: TimeZone,
    pub clock: Clock,
    pub(in crate::older::chat) moderation: Moderation,
    ids: Ids,
    answers: Answers,
    participants: Participants,
    unknown_group: UnknownGroup,
    /// Of the group that was made last, in nanoseconds since 1970.
    last_group: AtomicU64,
    /// The operator knows that groups are used that are not known here.
    unknown_told: AtomicBool,
    store_warning: OncePerSecond,
}

impl Exchange {
    pub fn new(settings: &config::Chat, archive: SharedArchive, moderation: Moderation, clock: Clock) -> Self {
        Self {
            style: match settings.compat {
                config::ChatCompat::Document => Style::Document,
                config::ChatCompat::Source => Style::Source,
            },
            archive,
            online: Arc::default(),
            zone: settings.zone(),
            moderation,
            ids: Ids::new(clock.clone()),
            answers: Answers::default(),
            participants: Participants::default(),
            unknown_group: settings.unknown_group,
            last_group: AtomicU64::new(0),
            unknown_told: AtomicBool::new(false),
            store_warning: OncePerSecond::default(),
            clock,
        }
    }

    /// The time as clients are told it.
    pub fn now_text(&self) -> String {
        self.time_text(self.clock.now())
    }

    pub fn time_text(&self, time: Timestamp) -> String {
        local_time(time, &self.zone)
    }

    /// A message to one user.
    pub async fn send(&self, from: u64, message: SendMessage, broker: &Arc<Broker>) -> Reply {
        let client_id = message.client_id.clone();
        let sending = async {
            self.judge(&message.content, message.kind, Code::Blocked).await?;
            let room = private_room(from, message.to);
            let message = Message {
                to: message.to,
                client_id: message.client_id,
                ..self.draft(from, room, message.kind, message.content)
            };
            let message = self.store(message, Code::NotStored).await?;
            Ok(self.hand_over(&message, broker).await)
        };
        self.once(from, client_id.as_deref(), sending).await
    }

    /// A message to whoever is in an open room (§7).
    pub async fn send_to_room(
        &self,
        from: u64,
        room: String,
        (content, kind, client_id): (String, i64, Option<String>),
        broker: &Arc<Broker>,
    ) -> Reply {
        let known = client_id.clone();
        let sending = async {
            self.judge(&content, kind, Code::Blocked).await?;
            let message = Message { client_id, ..self.draft(from, room, kind, content) };
            let message = self.store(message, Code::NotStored).await?;
            Ok(self.hand_over(&message, broker).await)
        };
        self.once(from, known.as_deref(), sending).await
    }

    /// To everybody online, the sender included; never stored (§7). None: the sender gets its own copy by the channel.
    ///
    /// # Errors
    /// The reply, instead of any copy.
    pub async fn broadcast(
        &self,
        from: u64,
        broadcast: &Broadcast,
        id: &str,
        broker: &Arc<Broker>,
    ) -> Result<(), Reply> {
        self.judge(&broadcast.message, TEXT, Code::Blocked).await?;
        let time = self.now_text();
        let push = Push::Broadcast { from_user_id: from, message: &broadcast.message, time: &time };
        let published = broker.publish(&EVERYBODY.into(), push.publish(from, id)).await;
        published.map(drop).map_err(|fault| Code::of_fault(&fault, Code::BroadcastFailed).into())
    }

    /// The answer that a repeat gets.
    pub fn answered(&self, from: u64, client_id: Option<&str>) -> Option<Reply> {
        self.answers.find(self.clock.uptime(), from, client_id?)
    }

    pub fn note_answer(&self, from: u64, client_id: Option<&str>, reply: &Reply) {
        if let Some(client_id) = client_id {
            let now = self.clock.uptime();
            self.answers.note(now, from, client_id, reply);
        }
    }

    /// An id for what is not stored.
    pub fn mint_id(&self) -> String {
        self.ids.mint().to_string()
    }

    /// The source's way (§6): whatever it is, to somebody who is online; neither stored nor moderated.
    pub async fn send_raw(&self, from: u64, to: u64, json: String, broker: &Arc<Broker>) -> Reply {
        if !self.online.is_online(to) {
            return Reply::from(Code::SourceFailed).bare();
        }
        let publish_to = publish_raw(from, &self.mint_id(), json);
        match broker.publish(&user_channel(to), publish_to).await {
            Ok(_) => Reply::done_in_words("发送成功"),
            Err(_) => Reply::from(Code::SourceFailed).bare(),
        }
    }

    /// The same to everybody.
    pub async fn broadcast_raw(&self, from: u64, json: String, broker: &Arc<Broker>) -> Reply {
        let publish_to = publish_raw(from, &self.mint_id(), json);
        match broker.publish(&EVERYBODY.into(), publish_to).await {
            Ok(_) => Reply::done_in_words("广播成功"),
            Err(fault) => Code::of_fault(&fault, Code::BroadcastFailed).into(),
        }
    }

    /// Runs `sending` unless its answer is known, and remembers it when the message was stored.
    async fn once(
        &self,
        from: u64,
        client_id: Option<&str>,
        sending: impl Future<Output = Result<Reply, Reply>>,
    ) -> Reply {
        if let Some(first) = self.answered(from, client_id) {
            return first;
        }
        match sending.await {
            Ok(reply) => {
                // What was not sent may be sent by the next try.
                if matches!(reply.code, None | Some(Code::Offline)) {
                    self.note_answer(from, client_id, &reply);
                }
                reply
            }
            Err(refused) => refused,
        }
    }

    /// Only what has been judged: judging takes its time, and by their ids messages are in order, in the history and in
    /// what a user has seen of it.
    fn draft(&self, from: u64, room: String, kind: i64, content: String) -> Message {
        Message { id: self.ids.mint(), room, from, to: 0, kind, content, created: self.clock.now(), client_id: None }
    }

    async fn judge(&self, text: &str, kind: i64, blocked: Code) -> Result<(), Reply> {
        if kind != TEXT {
            return Ok(());
        }
        match self.moderation.judge(text).await {
            Verdict::Pass => Ok(()),
            Verdict::Blocked { .. } if self.style == Style::Document => Err(blocked.into()),
            Verdict::Blocked { reason } => Err(Reply::told(blocked, format!("{}: {reason}", blocked.text()))),
        }
    }

    /// The message as it is stored: the first one, when the sender repeats itself.
    async fn store(&self, message: Message, failed: Code) -> Result<Message, Reply> {
        match self.archive.insert(message.clone()).await {
            Ok(Inserted::New) => Ok(message),
            // Its answer was lost, perhaps before anybody got the message.
            Ok(Inserted::Again(first)) if first.room == message.room => Ok(first),
            Ok(Inserted::Again(other)) => Err(self.receipt(&other, 0)),
            Err(error) => Err(self.not_stored(&error, failed)),
        }
    }

    fn not_stored(&self, error: &StoreError, code: Code) -> Reply {
        if let Some(more) = self.store_warning.allows(&self.clock) {
            tracing::error!(%error, more, "a chat message could not be stored; its sender was told");
        }
        code.into()
    }

    /// Publishes a stored message to whom it is for, and answers.
    async fn hand_over(&self, message: &Message, broker: &Arc<Broker>) -> Reply {
        let (id, time) = (message.id.to_string(), self.time_text(message.created));
        let push = Push::new_message(message, &id, &time);
        let channel = match Room::parse(&message.room) {
            Some(Room::Open(room)) => room_channel(room),
            _ => {
                if !self.online.is_online(message.to) {
                    let data = json!({"message_id": id, "room_id": message.room, "stored": true});
                    return match self.style {
                        Style::Document => Reply::from(Code::Offline).with(&data),
                        Style::Source => Code::Offline.into(),
                    };
                }
                user_channel(message.to)
            }
        };
        match broker.publish(&channel, push.publish(message.from, &id)).await {
            Ok(_) => self.receipt(message, 0),
            Err(fault) => Code::of_fault(&fault, Code::NotSent).into(),
        }
    }

    /// What the sender of a stored message is told.
    fn receipt(&self, message: &Message, sent_count: usize) -> Reply {
        let id = &message.id.to_string();
        if let Some(Room::Group(group_id)) = Room::parse(&message.room) {
            return Reply::done(&Push::GroupMessageSent {
                group_id,
                message_id: id,
                sent_count,
                message: "群聊消息已发送",
            });
        }
        match self.style {
            Style::Document => Reply::done(&Push::MessageSent {
                to_user_id: message.to,
                room_id: &message.room,
                message_id: id,
                message: "消息发送成功",
                time: &self.time_text(message.created),
            }),
            Style::Source => Reply::done(&"消息发送成功"),
        }
    }
}
