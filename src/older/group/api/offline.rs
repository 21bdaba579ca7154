//! `GET messages/offline`: what came to a user's groups after a moment, the oldest first.

use serde_json::json;

use super::{ApiRequest, ApiResult, messages::shown};
use crate::older::group::code::Code;

/// Greater numbers are milliseconds.
const SECONDS_MAX: u64 = 100_000_000_000;

impl ApiRequest<'_> {
    pub(super) async fn offline(&self) -> ApiResult {
        self.must_be_get()?;
        let user = self.user(self.parameter("user_id"))?;
        let after: Option<u64> = self.query.get("after_time").and_then(|after| after.parse().ok());
        let after = after.ok_or(Code::TooSmall { name: "after_time", least: 0 })?;
        let after = if after > SECONDS_MAX { after / 1_000 } else { after };
        let missed = self.groups().beside(move |groups| groups.missed_after(&user, after)).await?;
        Ok(json!({"messages": shown(&missed.messages), "has_more": missed.has_more}))
    }
}
