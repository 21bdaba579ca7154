//! `send_group_message`: to the members of a group, or of one that was not made here to everybody
//! (`docs/protocols/chat.md §7`).

use std::sync::{Arc, atomic::Ordering};

use crate::{
    actors::broker::Broker,
    config::UnknownGroup,
    limits,
    older::chat::{
        code::Code,
        fields::{Fields, Rules, Text},
        names::{EVERYBODY, group_channel, is_group_id},
        push::Push,
        reply::Reply,
        shared::Chat,
    },
    store::archive::{Group, Message},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendGroupMessage {
    pub group: String,
    pub text: Text,
}

impl SendGroupMessage {
    /// # Errors
    /// 3004 for what is of the wrong type or too long, 3005 for what is missing, 3006 for what is no id of a
    /// group.
    pub fn parse(fields: &Fields, rules: Rules) -> Result<Self, Reply> {
        let group = fields.text("group_id")?.to_owned();
        let text = fields.message(rules)?;
        if group.is_empty() || text.content.is_empty() {
            return Err(Code::GroupMessageIncomplete.into());
        }
        if !is_group_id(&group) {
            return Err(Code::GroupInvalid.into());
        }
        Ok(Self { group, text })
    }
}

impl Chat {
    pub async fn send_to_group(&self, from: u64, message: SendGroupMessage, broker: &Arc<Broker>) -> Reply {
        let SendGroupMessage { group: id, text } = message;
        let client_id = text.client_id.clone();
        self.once(from, client_id.as_deref(), async {
            let group = self.group(&id, from).await?;
            let message = self.judge_and_store(from, id, 0, text).await?;
            if group.is_none() {
                self.note_participants(&message, broker).await;
            }
            Ok(self.deliver_to_group(&message, group.as_ref(), broker).await)
        })
        .await
    }

    /// None: it was not made here, and everybody gets its messages as the document has it.
    async fn group(&self, id: &str, sender: u64) -> Result<Option<Group>, Reply> {
        let group = self.archive.group(id).await;
        let group = group.map_err(|error| self.not_stored(&error, Code::GroupNotStored))?;
        let is_allowed = match &group {
            Some(group) => group.members.contains(&sender),
            None => self.settings.unknown_group == UnknownGroup::Broadcast,
        };
        if !is_allowed {
            // Whether there is such a group is for its members to know.
            let reason = "no group with this group_id has this user as a member; create_group makes groups, and with \
                          chat.unknown_group: broadcast those of other servers are taken as well";
            return Err(Reply::with_text(Code::GroupInvalid, "群聊不存在或您不是该群聊成员").because(reason));
        }
        if group.is_none() && !self.warned_of_unknown_group.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a message to a group that was not made here goes to everybody online, as with the older server; \
                 chat.unknown_group: reject refuses such messages"
            );
        }
        Ok(group)
    }

    /// Whoever is about to get a message of a group that was not made here may read its history from now on, and its
    /// sender.
    async fn note_participants(&self, message: &Message, broker: &Broker) {
        // The sender first: there may not be room for all.
        let mut users = vec![message.from];
        let (now, asking) = (self.clock.uptime(), self.clock.now());
        let (online, have_answered) = self.online_since(self.participants.asked(now, &message.room), broker).await;
        users.extend(online.into_iter().filter(|user| *user != message.from));
        let noted = self.participants.note(&*self.archive, now, &message.room, &users).await;
        if noted.is_ok() && have_answered {
            self.participants.set_asked(&message.room, asking);
        }
        if matches!(noted, Ok(true)) {
            return;
        }
        let Some(more) = self.store_warning.allows(&self.clock) else {
            return;
        };
        match noted {
            Ok(_) => {
                let most = limits::CHAT_PARTICIPANTS;
                tracing::warn!(
                    most,
                    more,
                    "too many take part in a group that was not made here: later ones cannot read its history"
                );
            }
            Err(error) => tracing::warn!(
                %error,
                more,
                "who takes part in a chat group could not be stored: some may not read its history"
            ),
        }
    }

    async fn deliver_to_group(&self, message: &Message, group: Option<&Group>, broker: &Arc<Broker>) -> Reply {
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
        let publish = push.publish(message.from, &id);
        let own = group_channel(&message.room);
        let (sent_count, published) = match group {
            Some(group) => {
                let others = group.members.iter().copied().filter(|member| *member != message.from);
                (self.online_among(others, broker).await, broker.publish(&own, publish).await)
            }
            None => {
                let own_copy = usize::from(self.is_online(message.from, broker).await);
                let sent_count = self.count_online(broker).await.saturating_sub(own_copy);
                // Its own channel has no connections of this protocol, but perhaps others who watch it.
                let _ = broker.publish(&own, publish.clone()).await;
                (sent_count, broker.publish(&EVERYBODY.into(), publish).await)
            }
        };
        match published {
            Ok(_) => self.receipt(message, sent_count),
            Err(fault) => Reply::of_fault(&fault, Code::NotSent),
        }
    }
}
