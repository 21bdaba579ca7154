//! `POST groups`: makes a group, or changes its name and owner; adds the members that are named.

use super::{ApiRequest, ApiResult, group_info::info};
use crate::older::group::{code::Code, groups::Enrolment, message::uuid};

impl ApiRequest<'_> {
    pub(super) async fn make_group(&self) -> ApiResult {
        self.must_be_post()?;
        self.must_be_service()?;
        let body = self.object(&["group_id", "name", "owner_id", "members"])?;
        let group = body.id("group_id")?.unwrap_or_else(uuid);
        let (name, owner) = (body.text("name")?, body.user_id("owner_id")?);
        let mut enrolments = body.list_of_users("members")?;
        let is_named = |owner: &String| enrolments.iter().any(|one| one.user == *owner);
        let unnamed = owner.clone().filter(|owner| !is_named(owner));
        enrolments.extend(unnamed.map(|user| Enrolment { user, ..Enrolment::default() }));
        self.groups().make(&group, name, owner, &enrolments).await?;
        let membership = self.groups().membership.read();
        Ok(info(&group, membership.get(&group).ok_or(Code::NoGroup)?))
    }
}
