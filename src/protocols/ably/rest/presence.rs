//! Who is present, page by page (`docs/protocols/ably.md §7.8`).

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        capability::Operation,
        presence::{MembersPage, MembersQuery},
    },
    error::Fault,
    ids::{ClientId, ConnectionId},
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
    let (caller, _, channel) = call.channel(channel, &[Operation::Subscribe, Operation::Presence])?;
    let current = match links::cursor::<Cursor>(&call.query)? {
        Some(cursor) => cursor,
        None => Cursor {
            client: call.query.get_any(&["clientId", "client_id"]).map(str::to_owned),
            connection: call.query.get_any(&["connectionId", "connection_id"]).map(str::to_owned),
            limit: history::limit(&call.query)?,
            after: None,
        },
    };
    let page = match current.query() {
        Some(query) => call.broker().members(&channel, query).await?,
        None => MembersPage::default(),
    };

    let first = Cursor { after: None, ..current.clone() };
    let last = page.members.last().filter(|_| page.has_more);
    let next = last.map(|last| Cursor {
        after: Some((last.client_id.as_str().to_owned(), last.connection.to_string())),
        ..current.clone()
    });
    let limit = current.page_limit().to_string();
    let pages = Pages { path: call.path(), query: &call.query, shown: &[("limit", &limit)] };
    let links = pages.links(&first, &current, next.as_ref())?;
    let body = call.encode(&items::members(&page.members, call.form.body));
    Ok(call.long_answer(caller.access.app.id, body)?.with_links(links))
}

impl Cursor {
    fn page_limit(&self) -> usize {
        self.limit.clamp(1, limits::PAGE_ITEMS_MAX)
    }

    /// None when nobody can have such a clientId or connectionId.
    fn query(&self) -> Option<MembersQuery> {
        let client = |text: &String| ClientId::new(text.clone());
        let connection = |text: &String| ConnectionId::parse(text);
        let limit = self.page_limit();
        let mut query = MembersQuery { limit, ..MembersQuery::default() };
        if let Some(wanted) = &self.client {
            query.client = Some(client(wanted)?);
        }
        if let Some(wanted) = &self.connection {
            query.connection = Some(connection(wanted)?);
        }
        if let Some((last, its_connection)) = &self.after {
            query.after = Some((client(last)?, connection(its_connection)?));
        }
        Some(query)
    }
}
