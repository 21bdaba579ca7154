//! `GET messages`: those of a group, the newest first.

use serde_json::{Value, json};

use super::{ApiRequest, ApiResult};
use crate::{
    limits,
    older::group::{code::Code, repository::StoredMessage},
};

impl ApiRequest<'_> {
    pub(super) async fn messages(&self) -> ApiResult {
        self.must_be_get()?;
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
            Ok(json!({"messages": shown(&messages), "has_more": has_more}))
        });
        page.await
    }
}

/// As they were sent.
pub(super) fn shown(messages: &[StoredMessage]) -> Vec<Value> {
    messages.iter().filter_map(|message| serde_json::from_str(&message.json).ok()).collect()
}
