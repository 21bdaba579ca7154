//! What users mark as read, and what services change.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{Answer, Asked, Refused, reads::info, text_of};
use crate::{
    limits,
    protocols::group::{
        code::Code,
        forum::Enrolment,
        post::{Notice, uuid},
        registry::is_user,
    },
};

const POST: [Method; 1] = [Method::POST];

impl Asked<'_> {
    pub(super) async fn read(&self) -> Answer {
        self.only(&POST, "POST")?;
        let body = self.object()?;
        let user = self.user(text_of(&body["user_id"]))?;
        let ids = body["notification_ids"].as_array();
        let ids = ids.ok_or_else(|| Refused::bad("notification_ids 不能为空"))?;
        let ids: Option<Vec<String>> = ids.iter().map(text_of).collect();
        let ids = ids.ok_or_else(|| Refused::bad("notification_ids 参数无效"))?;
        let count = self.group.shared.forum.read_notices(&user, Some(&ids)).await?;
        Ok(json!({"updated_count": count}))
    }

    pub(super) async fn read_all(&self) -> Answer {
        self.only(&POST, "POST")?;
        let named = if self.body.is_empty() { None } else { text_of(&self.object()?["user_id"]) };
        let user = self.user(named)?;
        let count = self.group.shared.forum.read_notices(&user, None).await?;
        Ok(json!({"updated_count": count}))
    }

    /// Makes a group, or changes its name and owner; adds the members that are named.
    pub(super) async fn make_group(&self) -> Answer {
        self.only(&POST, "POST")?;
        self.service()?;
        let body = self.object()?;
        let group = match &body["group_id"] {
            Value::Null => uuid(),
            id => text_of(id).ok_or(Code::BadGroup)?,
        };
        let owner = text_of(&body["owner_id"]);
        let mut enrolments = match &body["members"] {
            Value::Null => Vec::new(),
            members => enrolments(members)?,
        };
        let is_named = |owner: &String| enrolments.iter().any(|one| one.user == *owner);
        let unnamed = owner.clone().filter(|owner| !is_named(owner));
        enrolments.extend(unnamed.map(|user| Enrolment { user, ..Enrolment::default() }));
        let forum = &self.group.shared.forum;
        let name = body["name"].as_str().map(str::to_owned);
        forum.make(&group, name, owner).await?;
        if !enrolments.is_empty() {
            forum.add(&group, &enrolments).await?;
        }
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
                    let named = named(&self.object()?)?.into_iter();
                    named.map(|enrolment| enrolment.user).collect::<Vec<_>>()
                }
            };
            let removed = forum.remove(group, &users).await?;
            return Ok(json!({"removed": removed}));
        }
        let added = forum.add(group, &named(&self.object()?)?).await?;
        Ok(json!({"added": added}))
    }

    /// Keeps a notification for its users and sends it to those who are here.
    pub(super) async fn notify(&self) -> Answer {
        self.only(&POST, "GET, POST")?;
        self.service()?;
        let body = self.object()?;
        let users = named(&body)?;
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let forum = &self.group.shared.forum;
        let notice = Notice {
            notification_id: text_of(&body["notification_id"]).unwrap_or_else(|| format!("notif_{}", uuid())),
            kind: text("type"),
            title: text("title"),
            content: text("content"),
            created_at: body["created_at"].as_u64().unwrap_or_else(|| forum.seconds()),
        };
        if notice.title.is_empty() && notice.content.is_empty() {
            return Err(Code::Missing(crate::protocols::group::code::Field::Content).into());
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
        (Value::Null, Value::Null) => enrolments(&json!([body])),
        (Value::Null, users) => enrolments(users),
        (members, _) => enrolments(members),
    }
}

/// Each a user, or `{"user_id","name","avatar"}`.
fn enrolments(list: &Value) -> Result<Vec<Enrolment>, Refused> {
    let list = list.as_array().ok_or_else(|| Refused::bad("请求格式错误"))?;
    let read = |item: &Value| {
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
    };
    list.iter().map(read).collect()
}
