//! Groups: making them, and messages to them (`docs/protocols/chat.md §4, §7`).

use std::sync::{Arc, atomic::Ordering};

use actix_web::rt::time::timeout;
use futures_util::future;

use crate::{
    actors::broker::Broker,
    config::UnknownGroup,
    ids::Timestamp,
    limits,
    older::chat::{
        code::Code,
        command::{CreateGroup, SendGroupMessage},
        exchange::Exchange,
        names::{EVERYBODY, group_channel},
        push::Push,
        reply::Reply,
    },
    store::archive::{Group, Message},
};

impl Exchange {
    /// A message to a group.
    pub async fn send_group(&self, from: u64, message: SendGroupMessage, broker: &Arc<Broker>) -> Reply {
        let client_id = message.client_id.clone();
        let sending = async {
            let group = self.group(&message.group, from).await?;
            self.judge(&message.content, message.kind, Code::GroupBlocked).await?;
            let message = Message {
                client_id: message.client_id,
                ..self.draft(from, message.group, message.kind, message.content)
            };
            let message = self.store(message, Code::GroupNotStored).await?;
            if group.is_none() {
                self.note_participants(&message).await;
            }
            Ok(self.hand_to_group(&message, group.as_ref(), broker).await)
        };
        self.once(from, client_id.as_deref(), sending).await
    }

    /// The creator is a member, too; those who are online get its messages from now on.
    pub async fn create_group(&self, creator: u64, wish: CreateGroup) -> Reply {
        match self.archive.groups_of(creator).await {
            Ok(groups) => {
                // Its id says who made a group.
                let creator = format!("_{creator}");
                let made = groups.iter().filter(|id| id.ends_with(&creator));
                if made.count() >= limits::CHAT_GROUPS_MADE {
                    let text = "创建的群聊过多 (too many groups)";
                    return Reply::told(Code::GroupUnreadable, text);
                }
            }
            Err(error) => return self.not_stored(&error, Code::GroupNotStored),
        }
        let now = self.clock.now();
        let mut members = vec![creator];
        let others = wish.members.into_iter();
        members.extend(others.filter(|member| *member != creator));
        let group = Group {
            id: format!("group_{}_{creator}", self.mint_group(now)),
            name: wish.name,
            owner: creator,
            members,
            description: wish.description,
            created: now,
        };
        match self.archive.create_group(group.clone()).await {
            Ok(true) => {
                // So that nobody who is online misses the first message.
                let told = self.online.order(&group.members, &group_channel(&group.id));
                let attached = future::join_all(told);
                if timeout(limits::CHAT_GROUP_WAIT, attached).await.is_err() {
                    tracing::warn!("some members of a new chat group do not get its messages yet");
                }
                Reply::done(&Push::CreateGroupSuccess {
                    group_id: &group.id,
                    group_name: &group.name,
                    member_ids: &group.members,
                    time: &self.time_text(now),
                })
            }
            // Another server on the same database, in the same nanosecond.
            Ok(false) => Code::GroupNotStored.into(),
            Err(error) => self.not_stored(&error, Code::GroupNotStored),
        }
    }

    /// Nanoseconds since 1970, each once: the clock has milliseconds only.
    fn mint_group(&self, now: Timestamp) -> u64 {
        let now = now.millis().saturating_mul(1_000_000);
        let next = |last: u64| now.max(last + 1);
        let last = self.last_group.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        // Never refused.
        last.map_or(now, next)
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
            return Err(Reply::told(Code::GroupInvalid, "群聊不存在或您不是该群聊成员"));
        }
        if group.is_none() && !self.unknown_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a message to a group that was not made here goes to everybody online, as with the older server; \
                 chat.unknown_group: reject refuses such messages"
            );
        }
        Ok(group)
    }

    /// Whoever is about to get a message of a group that is not known here may read its history from now on, and its sender.
    async fn note_participants(&self, message: &Message) {
        // The sender first: there may not be room for all.
        let mut users = vec![message.from];
        users.extend(self.online.users().into_iter().filter(|user| *user != message.from));
        let noted = self.participants.note(&*self.archive, self.clock.uptime(), &message.room, &users).await;
        match noted {
            Ok(true) => {}
            Ok(false) => {
                if let Some(more) = self.store_warning.allows(&self.clock) {
                    let most = limits::CHAT_PARTICIPANTS;
                    tracing::warn!(
                        most,
                        more,
                        "too many take part in a group that was not made here: later ones cannot read its history"
                    );
                }
            }
            Err(error) => {
                if let Some(more) = self.store_warning.allows(&self.clock) {
                    tracing::warn!(%error, more, "who takes part in a chat group could not be stored: some may not read its history");
                }
            }
        }
    }

    async fn hand_to_group(&self, message: &Message, group: Option<&Group>, broker: &Arc<Broker>) -> Reply {
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
                let published = broker.publish(&own, push.publish(message.from, &id)).await;
                published.map(|_| sent)
            }
            None => {
                let sent = self.online.count_others(message.from);
                // Its own channel has no sockets, but perhaps others who watch it.
                let _ = broker.publish(&own, push.publish(message.from, &id)).await;
                let everybody = EVERYBODY.into();
                let published = broker.publish(&everybody, push.publish(message.from, &id)).await;
                published.map(|_| sent)
            }
        };
        match sent {
            Ok(sent_count) => self.receipt(message, sent_count),
            Err(fault) => Code::of_fault(&fault, Code::NotSent).into(),
        }
    }
}
