//! `POST notifications/read`, `POST notifications/read-all`: what a user has read.

use serde_json::json;

use super::{
    ApiRequest, ApiResult,
    fields::{id, text_of},
};
use crate::older::group::code::Code;

impl ApiRequest<'_> {
    pub(super) async fn read_notifications(&self) -> ApiResult {
        self.must_be_post()?;
        let body = self.object(&["user_id", "notification_ids"])?;
        let user = self.user(id(&body, "user_id")?)?;
        let ids = body["notification_ids"].as_array().ok_or(Code::NoList("notification_ids"))?;
        let ids: Option<Vec<String>> = ids.iter().map(text_of).collect();
        let ids = ids.ok_or(Code::BadParameter("notification_ids"))?;
        let count = self.groups().read_notifications(&user, Some(ids)).await?;
        Ok(json!({"updated_count": count}))
    }

    pub(super) async fn read_all_notifications(&self) -> ApiResult {
        self.must_be_post()?;
        let named = if self.body.is_empty() { None } else { id(&self.object(&["user_id"])?, "user_id")? };
        let user = self.user(named)?;
        let count = self.groups().read_notifications(&user, None).await?;
        Ok(json!({"updated_count": count}))
    }
}
