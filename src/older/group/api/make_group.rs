//! `POST groups`: makes a group, or changes its name and owner; adds the members that are named.

use serde_json::Value;

use super::{
    ApiRequest, ApiResult,
    fields::{id, list_of_users, text, text_of},
    group_info::info,
};
use crate::older::group::{code::Code, groups::Enrolment, message::uuid};

impl ApiRequest<'_> {
    pub(super) async fn make_group(&self) -> ApiResult {
        self.must_be_post()?;
        self.must_be_service()?;
        let body = self.object(&["group_id", "name", "owner_id", "members"])?;
        let group = match &body["group_id"] {
            Value::Null => uuid(),
            id => text_of(id).ok_or(Code::BadGroup)?,
        };
        let (name, owner) = (text(&body, "name")?, id(&body, "owner_id")?);
        let mut enrolments = match &body["members"] {
            Value::Null => Vec::new(),
            members => list_of_users(members)?,
        };
        let is_named = |owner: &String| enrolments.iter().any(|one| one.user == *owner);
        let unnamed = owner.clone().filter(|owner| !is_named(owner));
        enrolments.extend(unnamed.map(|user| Enrolment { user, ..Enrolment::default() }));
        self.groups().make(&group, name, owner, &enrolments).await?;
        let membership = self.groups().membership.read();
        Ok(info(&group, membership.get(&group).ok_or(Code::NoGroup)?))
    }
}
