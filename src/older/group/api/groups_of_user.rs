//! `GET users/{id}/groups`: the groups of a user, with what is unread.

use serde_json::{Value, json};

use super::{
    ApiRequest, ApiResult,
    group_info::{info, role},
};
use crate::older::group::{code::Code, groups::Groups};

impl ApiRequest<'_> {
    pub(super) async fn groups_of_user(&self, user: &str) -> ApiResult {
        self.must_be_get()?;
        let user = self.user(Some(user.to_owned()))?;
        let page = self.page()?;
        let list = self.groups().beside(move |groups| {
            let names = groups.groups_of(&user);
            let of_page = names.iter().skip(page.skip).take(page.size);
            let shown: Vec<Value> =
                of_page.filter_map(|name| shown(groups, name, &user).transpose()).collect::<Result<_, Code>>()?;
            Ok(json!({"groups": shown, "total": names.len(), "page": page.number, "page_size": page.size}))
        });
        list.await
    }
}

/// A group as one of its members sees it. None: it is gone.
fn shown(groups: &Groups, name: &str, user: &str) -> Result<Option<Value>, Code> {
    let membership = groups.membership.read();
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
