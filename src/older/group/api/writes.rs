//! What users mark as read, and what services change.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{Answer, Asked, Refused, id, only_fields, reads::info, text, text_of};
use crate::{
    limits,
    older::group::{
        code::Code,
        forum::Enrolment,
        post::{Notice, uuid},
        registry::is_user,
    },
};

const POST: [Method; 1] = [Method::POST];

/// One member.
const MEMBER: [&str; 5] = ["user_id", "name", "username", "avatar", "avatar_url"];
/// Members that come or go: one, or several by one of the first two.
const MEMBERS: [&str; 7] = ["members", "user_ids", "user_id", "name", "username", "avatar", "avatar_url"];
/// A notification and whom it is for.
const NOTICE: [&str; 8] =
    ["user_id", "user_ids", "members", "notification_id", "type", "title", "content", "created_at"];

impl Asked<'_> {
    pub(super) async fn read(&self) -> Answer {
        self.only(&POST, "POST")?;
        let body = self.object(&["user_id", "notification_ids"])?;
        let user = self.user(id(&body, "user_id")?)?;
        let ids = body["notification_ids"].as_array();
        let ids = ids.ok_or_else(|| Refused::bad("notification_ids 不能为空"))?;
        let ids: Option<Vec<String>> = ids.iter().map(text_of).collect();
        let ids = ids.ok_or_else(|| Refused::bad("notification_ids 参数无效"))?;
        let count = self.group.shared.forum.read_notices(&user, Some(ids)).await?;
        Ok(json!({"updated_count": count}))
    }

    pub(super) async fn read_all(&self) -> Answer {
        self.only(&POST, "POST")?;
        let named = if self.body.is_empty() { None } else { id(&self.object(&["user_id"])?, "user_id")? };
        let user = self.user(named)?;
        let count = self.group.shared.forum.read_notices(&user, None).await?;
        Ok(json!({"updated_count": count}))
    }

    /// Makes a group, or changes its name and owner; adds the members that are named.
    pub(super) async fn make_group(&self) -> Answer {
        self.only(&POST, "POST")?;
        self.service()?;
        let body = self.object(&["group_id", "name", "owner_id", "members"])?;
        let group = match &body["group_id"] {
            Value::Null => uuid(),
            id => text_of(id).ok_or(Code::BadGroup)?,
        };
        let (name, owner) = (text(&body, "name")?, id(&body, "owner_id")?);
        let mut enrolments = match &body["members"] {
            Value::Null => Vec::new(),
            members => enrolments(members)?,
        };
        let is_named = |owner: &String| enrolments.iter().any(|one| one.user == *owner);
        let unnamed = owner.clone().filter(|owner| !is_named(owner));
        enrolments.extend(unnamed.map(|user| Enrolment { user, ..Enrolment::default() }));
        let forum = &self.group.shared.forum;
        forum.make(&group, name, owner, &enrolments).await?;
        let registry = forum.registry.read();
        Ok(info(&group, registry.get(&group).ok_or(Code::NoGroup)?))
    }

    /// POST adds, DELETE removes; `user_id`, `user_ids` or `members`.
    pub(super) async fn change_members(&self, group: &str) -> Answer {
        self.only(&[Method::POST, Method::DELETE], "GET, POST, DELETE")?;
        self.service()?;
        let forum = &self.group.shared.forum;
        if self.request.method() == Method::DELETE {
            let in_query = self.parameter("user_id").filter(|users| !users.is_empty());
            let users = match in_query {
                Some(users) => users.split(',').map(str::to_owned).collect(),
                None => {
                    let named = named(&self.object(&MEMBERS)?)?.into_iter();
                    named.map(|enrolment| enrolment.user).collect::<Vec<_>>()
                }
            };
            let removed = forum.remove(group, &users).await?;
            return Ok(json!({"removed": removed}));
        }
        let added = forum.add(group, &named(&self.object(&MEMBERS)?)?).await?;
        Ok(json!({"added": added}))
    }

    /// Keeps a notification for its users and sends it to those who are here.
    pub(super) async fn notify(&self) -> Answer {
        self.only(&POST, "GET, POST")?;
        self.service()?;
        let body = self.object(&NOTICE)?;
        let users = named(&body)?;
        let text = |name: &str| text(&body, name).map(Option::unwrap_or_default);
        let forum = &self.group.shared.forum;
        let notice = Notice {
            notification_id: id(&body, "notification_id")?.unwrap_or_else(|| format!("notif_{}", uuid())),
            kind: text("type")?,
            title: text("title")?,
            content: text("content")?,
            created_at: match &body["created_at"] {
                Value::Null => forum.seconds(),
                seconds => seconds.as_u64().ok_or_else(|| Refused::bad("created_at 参数无效 (not Unix seconds)"))?,
            },
        };
        if notice.title.is_empty() && notice.content.is_empty() {
            return Err(Code::Missing(crate::older::group::code::Field::Content).into());
        }
        if notice.notification_id.len() > limits::MESSAGE_ID_BYTES {
            return Err(Refused::bad("notification_id 参数无效"));
        }
        let mut count = 0;
        for enrolment in users {
            count += usize::from(forum.notify(&enrolment.user, notice.clone()).await?);
        }
        Ok(json!({"notification_id": notice.notification_id, "notified": count}))
    }

    pub(super) fn reload(&self) -> Answer {
        self.only(&POST, "POST")?;
        self.service()?;
        match self.group.shared.reload() {
            Ok(networks) => Ok(json!({"networks": networks})),
            Err(problem) => Err(Refused::bad(problem)),
        }
    }
}

/// The users that a body names, by `user_id`, `user_ids` or `members`.
fn named(body: &Value) -> Result<Vec<Enrolment>, Refused> {
    match (&body["members"], &body["user_ids"]) {
        (Value::Null, Value::Null) => Ok(vec![enrolment(body)?]),
        (Value::Null, users) => enrolments(users),
        (members, _) => enrolments(members),
    }
}

/// Each a user, or `{"user_id","name","avatar"}`.
fn enrolments(list: &Value) -> Result<Vec<Enrolment>, Refused> {
    let list = list.as_array().ok_or_else(|| Refused::bad("请求格式错误"))?;
    let read = |item: &Value| {
        only_fields(item, &MEMBER)?;
        enrolment(item)
    };
    list.iter().map(read).collect()
}

fn enrolment(item: &Value) -> Result<Enrolment, Refused> {
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| item.get(name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let user = if item.is_object() { text_of(&item["user_id"]) } else { text_of(item) };
    let user = user.filter(|user| is_user(user));
    Ok(Enrolment {
        user: user.ok_or_else(|| Refused::bad("缺少 user_id 参数"))?,
        name: text(["name", "username"]),
        avatar: text(["avatar", "avatar_url"]),
    })
}
