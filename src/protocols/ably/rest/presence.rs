//! Who is present, page by page (`docs/protocols/ably.md §7.8`).

use serde::{Deserialize, Serialize};

use crate::{
    core::{capability::Operation, presence::Member},
    error::Fault,
    ids::ConnectionId,
    limits,
    protocols::ably::{
        rest::{
            answer::RestAnswer,
            call::Call,
            history,
            links::{self, Pages},
        },
        wire::items,
    },
};

/// All that a page depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "c")]
    client: Option<String>,
    #[serde(rename = "n")]
    connection: Option<String>,
    #[serde(rename = "l")]
    limit: usize,
    /// The last member of the page before: client and connection.
    #[serde(rename = "a")]
    after: Option<(String, String)>,
}

/// GET `/channels/{c}/presence`: by client id, whatever the order in which they came.
pub async fn members(call: &Call<'_>, channel: String) -> Result<RestAnswer, Fault> {
    let (_, _, channel) = call.channel(channel, &[Operation::Subscribe, Operation::Presence])?;
    let current = match links::cursor::<Cursor>(&call.query)? {
        Some(cursor) => cursor,
        None => Cursor {
            client: call.query.get("clientId").map(str::to_owned),
            connection: call.query.get("connectionId").map(str::to_owned),
            limit: history::limit(&call.query)?,
            after: None,
        },
    };
    let mut members = call.broker().members(&channel).await?;
    members.retain(|member| current.wants(member));
    let limit = current.limit.clamp(1, limits::PAGE_ITEMS_MAX);
    let has_more = members.len() > limit;
    members.truncate(limit);

    let first = Cursor { after: None, ..current.clone() };
    let last = members.last().filter(|_| has_more);
    let next = last.map(|last| Cursor {
        after: Some((last.client_id.as_str().to_owned(), last.connection.to_string())),
        ..current.clone()
    });
    let limit = limit.to_string();
    let pages = Pages { path: call.path(), query: &call.query, shown: &[("limit", &limit)] };
    let links = pages.links(&first, &current, next.as_ref())?;
    let body = call.encode(&items::members(&members, call.form.body));
    Ok(RestAnswer::ok(body).with_links(links))
}

impl Cursor {
    fn wants(&self, member: &Member) -> bool {
        let client = member.client_id.as_str();
        let is_wanted = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|wanted| wanted == given);
        is_wanted(&self.client, client)
            && is_wanted(&self.connection, &member.connection.to_string())
            && self.after.as_ref().is_none_or(|(last, its_connection)| {
                // As the members are sorted: connections by their bytes, not by their texts.
                let its_connection = ConnectionId::parse(its_connection);
                (client, Some(member.connection)) > (last.as_str(), its_connection)
            })
    }
}
