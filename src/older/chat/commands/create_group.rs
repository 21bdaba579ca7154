//! `create_group` (`docs/protocols/chat.md §4, §7`).

use std::sync::atomic::Ordering;

use crate::{
    actors::broker::Broker,
    ids::Timestamp,
    limits,
    older::chat::{code::Code, fields::Fields, names::group_channel, push::Push, reply::Reply, shared::Chat},
    store::archive::Group,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    pub name: String,
    /// In the order given, each once; perhaps without the creator.
    pub members: Vec<u64>,
    pub description: String,
}

impl CreateGroup {
    /// # Errors
    /// 3001 for what is of the wrong type or too long, 3002 and 3003 for what is missing.
    pub fn parse(fields: &Fields) -> Result<Self, Reply> {
        let (name, description) = (fields.text("group_name")?.to_owned(), fields.text("description")?.to_owned());
        let members = fields.users("member_ids")?;
        for (field, size, limit, unit) in [
            ("group_name", name.len(), limits::CHAT_GROUP_NAME_BYTES, "bytes"),
            ("description", description.len(), limits::CHAT_GROUP_DESCRIPTION_BYTES, "bytes"),
            ("member_ids", members.len(), limits::CHAT_GROUP_MEMBERS, "users"),
        ] {
            if size > limit {
                let reason = format!("{field} has {size} {unit}; it may have {limit}");
                return Err(fields.refusal("群聊名称、描述过长或成员过多", reason));
            }
        }
        if name.is_empty() {
            return Err(Code::GroupNoName.into());
        }
        if members.is_empty() {
            return Err(Code::GroupNoMembers.into());
        }
        Ok(Self { name, members, description })
    }
}

impl Chat {
    /// The creator is a member, too; those who are online get its messages from now on.
    pub async fn create_group(&self, creator: u64, wish: CreateGroup, broker: &Broker) -> Reply {
        let not_stored = |error| self.not_stored(&error, Code::GroupNotStored);
        match self.archive.groups_of(creator).await {
            Ok(groups) => {
                // Its id says who made a group.
                let creator = format!("_{creator}");
                let made = groups.iter().filter(|id| id.ends_with(&creator));
                if made.count() >= limits::CHAT_GROUPS_MADE {
                    let reason =
                        format!("this user has made {} groups, which is as many as one may", limits::CHAT_GROUPS_MADE);
                    return Reply::with_text(Code::GroupUnreadable, "创建的群聊过多 (too many groups)").because(reason);
                }
            }
            Err(error) => return not_stored(error),
        }
        let now = self.clock.now();
        let mut members = vec![creator];
        members.extend(wish.members.into_iter().filter(|member| *member != creator));
        let group = Group {
            id: format!("group_{}_{creator}", self.mint_group(now)),
            name: wish.name,
            owner: creator,
            members,
            description: wish.description,
            created: now,
        };
        match self.archive.create_group(group.clone()).await {
            Ok(true) => {}
            // Another server on the same database has made one with this id, in the same nanosecond.
            Ok(false) => return Code::GroupNotStored.into(),
            Err(error) => return not_stored(error),
        }
        // So that nobody who is online misses the first message.
        self.attach(&group.members, &group_channel(&group.id), broker).await;
        Reply::done(&Push::CreateGroupSuccess {
            group_id: &group.id,
            group_name: &group.name,
            member_ids: &group.members,
            time: &self.time_text(now),
        })
    }

    /// Nanoseconds since 1970, each once: the clock has milliseconds only.
    fn mint_group(&self, now: Timestamp) -> u64 {
        let now = now.millis().saturating_mul(1_000_000);
        let next = |last: u64| now.max(last + 1);
        let last = self.last_group.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        // `next` always gives a value, so the update is never refused.
        last.map_or(now, next)
    }
}
