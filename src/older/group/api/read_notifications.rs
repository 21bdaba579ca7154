//! `POST notifications/read`, `POST notifications/read-all`: what a user has read.

use serde_json::json;

use super::{ApiRequest, ApiResult};

impl ApiRequest<'_> {
    pub(super) async fn read_notifications(&self) -> ApiResult {
        self.must_be_post()?;
        let body = self.object(&["user_id", "notification_ids"])?;
        let user = self.user(body.id("user_id")?)?;
        let ids = body.ids("notification_ids")?;
        let count = self.groups().read_notifications(&user, Some(ids)).await?;
        Ok(json!({"updated_count": count}))
    }

    pub(super) async fn read_all_notifications(&self) -> ApiResult {
        self.must_be_post()?;
        let named = if self.body.is_empty() { None } else { self.object(&["user_id"])?.id("user_id")? };
        let user = self.user(named)?;
        let count = self.groups().read_notifications(&user, None).await?;
        Ok(json!({"updated_count": count}))
    }
}
