//! `GET groups/{id}/members`.

use std::sync::Arc;

use serde_json::json;

use super::{ApiRequest, ApiResult, group_info::role};
use crate::older::group::{code::Code, membership::Member};

impl ApiRequest<'_> {
    pub(super) fn members(&self, name: &str) -> ApiResult {
        self.must_read(name)?;
        let page = self.page()?;
        let membership = self.groups().membership.read();
        let group = membership.get(name).ok_or(Code::NoGroup)?;
        let shown = |(user, member): (&Arc<str>, &Member)| {
            json!({
                "user_id": &**user,
                "username": member.name,
                "avatar": member.avatar,
                "role": role(group, user),
                "joined_at": member.joined_at,
            })
        };
        let members: Vec<_> = group.members.iter().skip(page.skip).take(page.size).map(shown).collect();
        Ok(json!({
            "members": members,
            "total": group.members.len(),
            "page": page.number,
            "page_size": page.size,
        }))
    }
}
