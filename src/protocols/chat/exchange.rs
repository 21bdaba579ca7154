//! Carries requests out, for WebSockets and for HTTP alike: moderation, store, look up, publish, answer, in this order;
//! failure at any step stops the rest (`protocols/chat.md §7`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use jiff::tz::TimeZone;
use serde_json::json;

use crate::{
    actors::{
        broker::Broker,
        questions::{Append, ask},
    },
    clock::{Clock, OncePerSecond},
    config::{self, UnknownGroup},
    core::{command::Publish, dedupe::Published},
    error::Fault,
    ids::{ChannelName, Timestamp},
    protocols::chat::{
        answers::Answers,
        code::Code,
        command::{Broadcast, CreateGroup, SendGroupMessage, SendMessage},
        moderation::{Moderation, Verdict},
        names::{EVERYBODY, Room, group_channel, private_room, room_channel, user_channel},
        online::Online,
        push::{Push, local_time, publish_raw},
        reply::{Reply, Style},
    },
    store::{
        StoreError,
        archive::{Group, Ids, Inserted, Message, SharedArchive},
    },
};

/// The only type of message that is moderated (§8).
const TEXT: i64 = 1;

/// What everybody who sends shares.
pub struct Exchange {
    pub style: Style,
    pub archive: SharedArchive,
    pub online: Arc<Online>,
    pub zone: TimeZone,
    pub clock: Clock,
    moderation: Moderation,
    ids: Ids,
    answers: Answers,
    unknown_group: UnknownGroup,
    /// The operator knows that groups are used that are not known here.
    unknown_told: AtomicBool,
    store_warning: OncePerSecond,
}

impl Exchange {
    pub fn new(
        settings: &config::Chat,
        archive: SharedArchive,
        moderation: Moderation,
        clock: Clock,
    ) -> Self {
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
            unknown_group: settings.unknown_group,
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
            let room = private_room(from, message.to);
            let message = Message {
                to: message.to,
                client_id: message.client_id,
                ..self.draft(from, room, message.kind, message.content)
            };
            self.judge(&message, Code::Blocked).await?;
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
            let message = Message {
                client_id,
                ..self.draft(from, room, kind, content)
            };
            self.judge(&message, Code::Blocked).await?;
            let message = self.store(message, Code::NotStored).await?;
            Ok(self.hand_over(&message, broker).await)
        };
        self.once(from, known.as_deref(), sending).await
    }

    /// A message to a group.
    pub async fn send_group(
        &self,
        from: u64,
        message: SendGroupMessage,
        broker: &Arc<Broker>,
    ) -> Reply {
        let client_id = message.client_id.clone();
        let sending = async {
            let group = self.group(&message.group, from).await?;
            let message = Message {
                client_id: message.client_id,
                ..self.draft(from, message.group, message.kind, message.content)
            };
            self.judge(&message, Code::GroupBlocked).await?;
            let message = self.store(message, Code::GroupNotStored).await?;
            Ok(self.hand_to_group(&message, group.as_ref(), broker).await)
        };
        self.once(from, client_id.as_deref(), sending).await
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
        if self.moderation.judge(&broadcast.message).await == Verdict::Blocked {
            return Err(self.blocked(Code::Blocked));
        }
        let time = self.now_text();
        let push = Push::Broadcast {
            from_user_id: from,
            message: &broadcast.message,
            time: &time,
        };
        let published = publish(&EVERYBODY.into(), push.publish(from, id), broker).await;
        published
            .map(drop)
            .map_err(|fault| Code::of_fault(&fault, Code::BroadcastFailed).into())
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
        match publish(&user_channel(to), publish_to, broker).await {
            Ok(_) => Reply::done_in_words("发送成功"),
            Err(_) => Reply::from(Code::SourceFailed).bare(),
        }
    }

    /// The same to everybody.
    pub async fn broadcast_raw(&self, from: u64, json: String, broker: &Arc<Broker>) -> Reply {
        let publish_to = publish_raw(from, &self.mint_id(), json);
        match publish(&EVERYBODY.into(), publish_to, broker).await {
            Ok(_) => Reply::done_in_words("广播成功"),
            Err(fault) => Code::of_fault(&fault, Code::BroadcastFailed).into(),
        }
    }

    /// The creator is a member, too; those who are online get its messages from now on.
    pub async fn create_group(&self, creator: u64, wish: CreateGroup) -> Reply {
        let now = self.clock.now();
        let mut members = vec![creator];
        let others = wish.members.into_iter();
        members.extend(others.filter(|member| *member != creator));
        let mut nanos = u128::from(now.millis()) * 1_000_000;
        loop {
            let group = Group {
                id: format!("group_{nanos}_{creator}"),
                name: wish.name.clone(),
                owner: creator,
                members: members.clone(),
                description: wish.description.clone(),
                created: now,
            };
            match self.archive.create_group(group.clone()).await {
                Ok(true) => {
                    self.online.order(&members, &group_channel(&group.id));
                    return Reply::done(&Push::CreateGroupSuccess {
                        group_id: &group.id,
                        group_name: &group.name,
                        member_ids: &members,
                        time: &self.time_text(now),
                    });
                }
                // Another one in the same millisecond.
                Ok(false) => nanos += 1,
                Err(error) => return self.not_stored(&error, Code::GroupNotStored),
            }
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

    fn draft(&self, from: u64, room: String, kind: i64, content: String) -> Message {
        Message {
            id: self.ids.mint(),
            room,
            from,
            to: 0,
            kind,
            content,
            created: self.clock.now(),
            client_id: None,
        }
    }

    async fn judge(&self, message: &Message, blocked: Code) -> Result<(), Reply> {
        let is_text = message.kind == TEXT;
        if is_text && self.moderation.judge(&message.content).await == Verdict::Blocked {
            return Err(self.blocked(blocked));
        }
        Ok(())
    }

    fn blocked(&self, code: Code) -> Reply {
        match self.style {
            Style::Document => code.into(),
            Style::Source => Reply::told(code, format!("{}: 消息不合规", code.text())),
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

    /// None: it is not known here, and everybody gets its messages as the document has it.
    async fn group(&self, id: &str, sender: u64) -> Result<Option<Group>, Reply> {
        let group = self.archive.group(id).await;
        let group = group.map_err(|error| self.not_stored(&error, Code::GroupNotStored))?;
        let is_allowed = match &group {
            Some(group) => group.members.contains(&sender),
            None => self.unknown_group == UnknownGroup::Broadcast,
        };
        if !is_allowed {
            return Err(Reply::told(
                Code::GroupInvalid,
                "群聊不存在或您不是该群聊成员",
            ));
        }
        if group.is_none() && !self.unknown_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a message to a group that was not made here goes to everybody online, as with the older server; \
                 chat.unknown_group: reject refuses such messages"
            );
        }
        Ok(group)
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
        match publish(&channel, push.publish(message.from, &id), broker).await {
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

    async fn hand_to_group(
        &self,
        message: &Message,
        group: Option<&Group>,
        broker: &Arc<Broker>,
    ) -> Reply {
        let (id, time) = (message.id.to_string(), self.time_text(message.created));
        let push = Push::GroupMessage {
            group_id: &message.room,
            from_user_id: message.from,
            content: &message.content,
            message_type: message.kind,
            message_id: &id,
            time: &time,
            group_name: group.map(|group| &*group.name),
        };
        let own = group_channel(&message.room);
        let sent = match group {
            Some(group) => {
                let sent = self.online.count_of(&group.members, message.from);
                let published = publish(&own, push.publish(message.from, &id), broker).await;
                published.map(|_| sent)
            }
            None => {
                let sent = self.online.count_others(message.from);
                // Its own channel has no sockets, but perhaps others who watch it.
                let _ = publish(&own, push.publish(message.from, &id), broker).await;
                let everybody = EVERYBODY.into();
                let published = publish(&everybody, push.publish(message.from, &id), broker).await;
                published.map(|_| sent)
            }
        };
        match sent {
            Ok(sent_count) => self.receipt(message, sent_count),
            Err(fault) => Code::of_fault(&fault, Code::NotSent).into(),
        }
    }
}

async fn publish(
    channel: &ChannelName,
    publish: Publish,
    broker: &Arc<Broker>,
) -> Result<Published, Fault> {
    let channel = broker.directory.channel(channel, broker);
    ask(channel.map(actix::Addr::recipient), Append(publish)).await
}
