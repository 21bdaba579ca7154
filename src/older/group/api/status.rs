//! `GET users/status`: of anybody, without credentials, as the older server.

use serde_json::json;

use super::{ApiRequest, ApiResult};
use crate::older::group::code::Code;

impl ApiRequest<'_> {
    pub(super) async fn status(&self) -> ApiResult {
        self.must_be_get()?;
        let user = self.parameter("user_id").ok_or(Code::NoUser)?;
        let status = self.groups().status(&user).await?;
        Ok(json!({
            "is_online": status.is_online,
            "last_seen": status.last_seen,
            "last_online_at": status.last_online_at,
            "last_offline_at": status.last_offline_at,
        }))
    }
}
