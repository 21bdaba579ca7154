//! `GET groups/{id}`: what is known of a group.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::older::group::{code::Code, membership::Group};

impl ApiRequest<'_> {
    pub(super) fn group_info(&self, name: &str) -> ApiResult {
        self.must_be_get()?;
        self.must_read(name)?;
        let membership = self.groups().membership.read();
        Ok(info(name, membership.get(name).ok_or(Code::NoGroup)?))
    }
}

pub(super) fn info(name: &str, group: &Group) -> Value {
    json!({
        "group_id": name,
        "name": group.info.name,
        "owner_id": group.info.owner_id,
        "member_count": group.members.len(),
        "is_open": group.info.is_open,
        "created_at": group.info.created_at,
    })
}

pub(super) fn role(group: &Group, user: &str) -> &'static str {
    if group.info.owner_id == user { "owner" } else { "member" }
}
