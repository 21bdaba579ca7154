//! What was said.

use std::sync::Arc;

use super::{ApiRequest, Told};
use crate::{
    actors::accounts::Kind, edge::http::long::AnswerBody, error::Fault, ids::AppId, limits, older::group::code::Code,
};

/// Greater numbers are milliseconds.
const SECONDS_MAX: u64 = 100_000_000_000;

impl ApiRequest<'_> {
    /// Those of a group, the newest first.
    pub(super) async fn messages(&self) -> Result<Told, Code> {
        let group = self.parameter("group_id").unwrap_or_default();
        self.must_read(&group)?;
        let limit = self.number("limit", limits::GROUP_PAGE, 1, limits::GROUP_PAGE_MAX)?;
        let before = self.parameter("before_id");
        let of = group.clone();
        let page = self.groups().beside(move |groups| {
            let before = before.map_or(Ok(u64::MAX), |id| groups.find_in(&of, &id));
            let before = before.map_err(|code| if code == Code::NoMessage { Code::NoMessageBefore } else { code })?;
            // One more, to know whether there are.
            groups.numbers_before(&of, before, limit + 1)
        });
        let mut left = page.await?;
        let has_more = left.len() > limit;
        left.truncate(limit);
        let groups = Arc::clone(self.groups());
        let more = async move || {
            let mut messages = Vec::new();
            while messages.is_empty() && !left.is_empty() {
                let (group, numbers) = (group.clone(), std::mem::take(&mut left));
                let read = groups.beside(move |groups| {
                    let (messages, taken) = groups.portion(&group, &numbers)?;
                    Ok((messages, numbers[taken..].to_vec()))
                });
                (messages, left) = read.await.map_err(|_| Fault::Internal)?;
            }
            Ok(messages.into_iter().map(|message| message.json).collect())
        };
        self.shown(has_more, more, limits::PAGE_PORTION)
    }

    /// What came to a user's groups after a moment, the oldest first.
    pub(super) async fn offline_messages(&self) -> Result<Told, Code> {
        let user = self.user(self.parameter("user_id"))?;
        let after: Option<u64> = self.query.get("after_time").and_then(|after| after.parse().ok());
        let after = after.ok_or(Code::TooSmall { name: "after_time", least: 0 })?;
        let after = if after > SECONDS_MAX { after / 1_000 } else { after };
        let missed = self.groups().beside(move |groups| groups.missed_after(&user, after)).await?;
        let bytes: usize = missed.messages.iter().map(|message| message.json.len()).sum();
        let mut left = missed.messages;
        let more = async move || Ok(std::mem::take(&mut left).into_iter().map(|message| message.json).collect());
        self.shown(missed.has_more, more, 2 * bytes)
    }

    /// Messages as they were sent; `bytes` is what they keep until they are taken.
    fn shown<M>(&self, has_more: bool, more: M, bytes: usize) -> Result<Told, Code>
    where
        M: AsyncFnMut() -> Result<Vec<String>, Fault> + 'static,
    {
        let account = self.group.ingress.account_of_request(self.http, AppId::DEFAULT);
        let charge = account.charge(Kind::Answer, bytes).map_err(|full| Code::NoMemory(full.to_string()))?;
        let before = format!(r#"{{"code":0,"data":{{"has_more":{has_more},"messages":["#);
        Ok(Told::Long(AnswerBody::list(before, more, r#"]},"message":"success"}"#, charge)))
    }
}
