//! What was said.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::{
    limits,
    older::group::{code::Code, repository::StoredMessage},
};

/// Greater numbers are milliseconds.
const SECONDS_MAX: u64 = 100_000_000_000;

impl ApiRequest<'_> {
    /// Those of a group, the newest first.
    pub(super) async fn messages(&self) -> ApiResult {
        let group = self.parameter("group_id").unwrap_or_default();
        self.must_read(&group)?;
        let limit = self.number("limit", limits::GROUP_PAGE, 1, limits::GROUP_PAGE_MAX)?;
        let before = self.parameter("before_id");
        let page = self.groups().beside(move |groups| {
            let before = before.map_or(Ok(u64::MAX), |id| groups.find_in(&group, &id));
            let before = before.map_err(|code| if code == Code::NoMessage { Code::NoMessageBefore } else { code })?;
            // One more, to know whether there are.
            let mut messages = groups.before(&group, before, limit + 1)?;
            let has_more = messages.len() > limit;
            messages.truncate(limit);
            Ok(shown(&messages, has_more))
        });
        page.await
    }

    /// What came to a user's groups after a moment, the oldest first.
    pub(super) async fn offline_messages(&self) -> ApiResult {
        let user = self.user(self.parameter("user_id"))?;
        let after: Option<u64> = self.query.get("after_time").and_then(|after| after.parse().ok());
        let after = after.ok_or(Code::TooSmall { name: "after_time", least: 0 })?;
        let after = if after > SECONDS_MAX { after / 1_000 } else { after };
        let missed = self.groups().beside(move |groups| groups.missed_after(&user, after)).await?;
        Ok(shown(&missed.messages, missed.has_more))
    }
}

/// As they were sent.
fn shown(messages: &[StoredMessage], has_more: bool) -> Value {
    let messages = messages.iter().filter_map(|message| serde_json::from_str(&message.json).ok());
    json!({"messages": messages.collect::<Vec<Value>>(), "has_more": has_more})
}
