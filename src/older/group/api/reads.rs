//! What users ask for.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{Answer, Asked, Caller, Refused};
use crate::{
    limits,
    older::group::{
        code::Code,
        forum::Forum,
        registry::{Group, Member},
        shelf::{Kept, KeptNotice},
    },
};

const GET: [Method; 2] = [Method::GET, Method::HEAD];

impl Asked<'_> {
    /// Of anybody, without credentials, as the older server.
    pub(super) async fn status(&self) -> Answer {
        self.only(&GET, "GET")?;
        let user = self.parameter("user_id").filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| Refused::bad("缺少 user_id 参数"))?;
        let status = self.group.shared.forum.status(&user).await?;
        Ok(json!({
            "is_online": status.is_online,
            "last_seen": status.last_seen,
            "last_online_at": status.last_online_at,
            "last_offline_at": status.last_offline_at,
        }))
    }

    /// The messages of a group, the newest first.
    pub(super) async fn messages(&self) -> Answer {
        self.only(&GET, "GET")?;
        let group = self.parameter("group_id").unwrap_or_default();
        self.check_reader(&group)?;
        let forum = &self.group.shared.forum;
        let limit = self.number("limit", limits::GROUP_PAGE, 1, limits::GROUP_PAGE_MAX)?;
        let before = self.parameter("before_id").filter(|id| !id.is_empty());
        let page = forum.beside(move |forum| {
            let before = match before {
                None => u64::MAX,
                Some(id) => match forum.find(&id)? {
                    (number, of) if of == group => number,
                    _ => return Err(Code::NoMessage),
                },
            };
            let mut messages = forum.past(&group, before, limit)?;
            let has_more = messages.len() > limit;
            messages.truncate(limit);
            Ok(json!({"messages": shown(&messages), "has_more": has_more}))
        });
        Ok(page.await?)
    }

    /// What came to a user's groups after a moment, the oldest first.
    pub(super) async fn offline(&self) -> Answer {
        self.only(&GET, "GET")?;
        let user = self.user(self.parameter("user_id"))?;
        let after = self.parameter("after_time").unwrap_or_default();
        let after: u64 = match after.parse() {
            // Clients that count in milliseconds.
            Ok(after) if after > 100_000_000_000 => after / 1_000,
            Ok(after) => after,
            Err(_) => return Err(Refused::bad("after_time 参数无效")),
        };
        let forum = &self.group.shared.forum;
        let page = forum.beside(move |forum| {
            let (mut from, mut has_more) = (forum.number_before(after), true);
            let mut messages: Vec<Kept> = Vec::new();
            while has_more && messages.len() < limits::GROUP_RESUMED {
                let missed = forum.missed(&user, from, limits::GROUP_RESUMED)?;
                has_more = missed.has_more;
                from = missed.messages.last().map_or(from, |last| last.number);
                let later = missed.messages.into_iter();
                messages.extend(later.filter(|message| message.created > after));
            }
            has_more |= messages.len() > limits::GROUP_RESUMED;
            messages.truncate(limits::GROUP_RESUMED);
            Ok(json!({"messages": shown(&messages), "has_more": has_more}))
        });
        Ok(page.await?)
    }

    pub(super) async fn notifications(&self) -> Answer {
        let user = self.user(self.parameter("user_id"))?;
        let (page, size, skip) = self.page()?;
        let forum = &self.group.shared.forum;
        let (notices, total, unread) = forum.beside(move |forum| forum.notices(&user, skip, size)).await?;
        let shown = |kept: &KeptNotice| {
            let notice = &kept.notice;
            json!({
                "notification_id": notice.notification_id,
                "type": notice.kind,
                "title": notice.title,
                "content": notice.content,
                "is_read": kept.is_read,
                "created_at": notice.created_at,
            })
        };
        let notices: Vec<_> = notices.iter().map(shown).collect();
        Ok(json!({
            "total": total,
            "unread_count": unread,
            "notifications": notices,
            "page": page,
            "page_size": size,
        }))
    }

    pub(super) async fn unread_count(&self) -> Answer {
        self.only(&GET, "GET")?;
        let user = self.user(self.parameter("user_id"))?;
        let count = self.group.shared.forum.beside(move |forum| forum.unread_notices(&user)).await?;
        Ok(json!({"count": count}))
    }

    /// The groups of a user, with what is unread.
    pub(super) async fn groups_of(&self, user: &str) -> Answer {
        self.only(&GET, "GET")?;
        let user = self.user(Some(user.to_owned()))?;
        let (page, size, skip) = self.page()?;
        let forum = &self.group.shared.forum;
        let page = forum.beside(move |forum| {
            let groups = forum.groups_of(&user);
            let total = groups.len();
            let groups = groups.iter().skip(skip).take(size);
            let shown = groups.filter_map(|name| member_info(forum, name, &user).transpose());
            let shown: Vec<Value> = shown.collect::<Result<_, Code>>()?;
            Ok(json!({"groups": shown, "total": total, "page": page, "page_size": size}))
        });
        Ok(page.await?)
    }

    pub(super) fn group_info(&self, name: &str) -> Answer {
        self.only(&GET, "GET")?;
        self.check_reader(name)?;
        let registry = self.group.shared.forum.registry.read();
        let group = registry.get(name).ok_or(Code::NoGroup)?;
        Ok(info(name, group))
    }

    pub(super) fn members(&self, name: &str) -> Answer {
        self.check_reader(name)?;
        let (page, size, skip) = self.page()?;
        let registry = self.group.shared.forum.registry.read();
        let group = registry.get(name).ok_or(Code::NoGroup)?;
        let shown = |(user, member): (&std::sync::Arc<str>, &Member)| {
            json!({
                "user_id": &**user,
                "username": member.name,
                "avatar": member.avatar,
                "role": role(group, user),
                "joined_at": member.joined_at,
            })
        };
        let members: Vec<_> = group.members.iter().skip(skip).take(size).map(shown).collect();
        Ok(json!({
            "members": members,
            "total": group.members.len(),
            "page": page,
            "page_size": size,
        }))
    }

    /// Members of the group, and services.
    fn check_reader(&self, group: &str) -> Result<(), Refused> {
        let caller = self.caller()?;
        if group.is_empty() {
            return Err(Refused::bad("group_id 不能为空"));
        }
        if let Caller::User(user) = caller {
            self.group.shared.forum.check_member(group, &user)?;
        }
        Ok(())
    }
}

/// A group as one of its members sees it. None: it is gone.
fn member_info(forum: &Forum, name: &str, user: &str) -> Result<Option<Value>, Code> {
    let registry = forum.registry.read();
    let Some(group) = registry.get(name) else {
        return Ok(None);
    };
    let mut info = info(name, group);
    if let Some(member) = group.members.get(user) {
        info["role"] = role(group, user).into();
        info["joined_at"] = member.joined_at.into();
    }
    drop(registry);
    info["unread_count"] = forum.unread(name, user)?.into();
    if let Some(last) = forum.past(name, u64::MAX, 0)?.first() {
        let post: Value = serde_json::from_str(&last.json).unwrap_or_default();
        info["last_message"] = post["content"].clone();
        info["last_message_at"] = last.created.into();
    }
    Ok(Some(info))
}

pub(super) fn info(name: &str, group: &Group) -> Value {
    let facts = &group.facts;
    json!({
        "group_id": name,
        "name": facts.name,
        "owner_id": facts.owner_id,
        "member_count": group.members.len(),
        "is_open": facts.is_open,
        "created_at": facts.created_at,
    })
}

fn role(group: &Group, user: &str) -> &'static str {
    if group.facts.owner_id == user { "owner" } else { "member" }
}

/// As they were sent.
fn shown(messages: &[Kept]) -> Vec<Value> {
    let read = |message: &Kept| serde_json::from_str(&message.json).ok();
    messages.iter().filter_map(read).collect()
}
