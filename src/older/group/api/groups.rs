//! Groups and who is in them.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::older::group::{
    code::Code,
    groups::{Enrolment, Groups},
    membership::Group,
    message::uuid,
};

/// Members that come or go: one, or several by one of the first two.
const MEMBERS: [&str; 7] = ["members", "user_ids", "user_id", "name", "username", "avatar", "avatar_url"];

impl ApiRequest<'_> {
    pub(super) fn group(&self, name: &str) -> ApiResult {
        self.must_read(name)?;
        self.shown_group(name)
    }

    /// Makes a group, or changes its name and owner; adds the members that are named.
    pub(super) async fn make_group(&self) -> ApiResult {
        self.must_be_service()?;
        let body = self.object(&["group_id", "name", "owner_id", "members"])?;
        let group = body.id("group_id")?.unwrap_or_else(uuid);
        let (name, owner) = (body.text("name")?, body.user_id("owner_id")?);
        let mut enrolments = body.list_of_users("members")?;
        if let Some(owner) = owner.as_ref().filter(|owner| !enrolments.iter().any(|one| one.user == **owner)) {
            enrolments.push(Enrolment::of(owner));
        }
        self.groups().make(&group, name, owner, &enrolments).await?;
        self.until_known_everywhere().await;
        self.shown_group(&group)
    }

    /// Who is answered finds it so at every node.
    async fn until_known_everywhere(&self) {
        self.groups().until_known_everywhere(&self.group.ingress.worker.broker).await;
    }

    fn shown_group(&self, name: &str) -> ApiResult {
        let membership = self.groups().known()?;
        Ok(info(name, membership.get(name).ok_or(Code::NoGroup)?))
    }

    pub(super) fn members(&self, name: &str) -> ApiResult {
        self.must_read(name)?;
        let page = self.page()?;
        let membership = self.groups().known()?;
        let group = membership.get(name).ok_or(Code::NoGroup)?;
        let of_page = group.members.iter().skip(page.skip).take(page.size);
        let shown = of_page.map(|(user, member)| {
            json!({
                "user_id": &**user,
                "username": member.name,
                "avatar": member.avatar,
                "role": role(group, user),
                "joined_at": member.joined_at,
            })
        });
        Ok(page.answer("members", shown.collect(), group.members.len()))
    }

    pub(super) async fn add_members(&self, group: &str) -> ApiResult {
        self.must_be_service()?;
        let added = self.groups().add(group, &self.object(&MEMBERS)?.users()?).await?;
        self.until_known_everywhere().await;
        Ok(json!({"added": added}))
    }

    pub(super) async fn remove_members(&self, group: &str) -> ApiResult {
        self.must_be_service()?;
        let users: Vec<String> = match self.parameter("user_id") {
            Some(users) => users.split(',').map(str::to_owned).collect(),
            None => self.object(&MEMBERS)?.users()?.into_iter().map(|one| one.user).collect(),
        };
        let removed = self.groups().remove(group, &users).await?;
        self.until_known_everywhere().await;
        Ok(json!({"removed": removed}))
    }

    /// The groups of a user, with what is unread.
    pub(super) async fn groups_of_user(&self, user: &str) -> ApiResult {
        let user = self.user(Some(user.to_owned()))?;
        let page = self.page()?;
        let list = self.groups().beside(move |groups| {
            let names = groups.groups_of(&user)?;
            let of_page = names.iter().skip(page.skip).take(page.size);
            let shown: Vec<Value> =
                of_page.filter_map(|name| shown(groups, name, &user).transpose()).collect::<Result<_, Code>>()?;
            Ok(page.answer("groups", shown, names.len()))
        });
        list.await
    }
}

fn info(name: &str, group: &Group) -> Value {
    json!({
        "group_id": name,
        "name": group.info.name,
        "owner_id": group.info.owner_id,
        "member_count": group.members.len(),
        "is_open": group.info.is_open,
        "created_at": group.info.created_at,
    })
}

fn role(group: &Group, user: &str) -> &'static str {
    if group.info.owner_id == user { "owner" } else { "member" }
}

/// A group as one of its members sees it. None: it is gone.
fn shown(groups: &Groups, name: &str, user: &str) -> Result<Option<Value>, Code> {
    let membership = groups.known()?;
    let Some(group) = membership.get(name) else {
        return Ok(None);
    };
    let mut info = info(name, group);
    if let Some(member) = group.members.get(user) {
        info["role"] = role(group, user).into();
        info["joined_at"] = member.joined_at.into();
    }
    drop(membership);
    info["unread_count"] = groups.unread(name, user)?.into();
    if let Some(last) = groups.before(name, u64::MAX, 1)?.first() {
        let message: Value = serde_json::from_str(&last.json).unwrap_or_default();
        info["last_message"] = message["content"].clone();
        info["last_message_at"] = last.created.into();
    }
    Ok(Some(info))
}
