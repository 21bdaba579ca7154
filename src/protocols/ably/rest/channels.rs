//! Which channels there are, and how many use one (`docs/protocols/ably.md §11.6, §11.7`).

use std::collections::BTreeMap;

use futures_util::future;
use serde::{Deserialize, Serialize};

use crate::{
    core::{capability::Operation, occupancy::Occupancy},
    error::{Fault, Found},
    ids::ChannelName,
    limits,
    protocols::ably::rest::{
        answer::RestAnswer,
        call::{Call, Caller},
        history,
        links::{self, Pages},
    },
};

/// The first version that lists names only, unless asked for more.
const NAMES_SINCE: u32 = 3;

/// The details of a channel.
#[derive(Serialize)]
struct ChannelDetails<'a> {
    #[serde(rename = "channelId")]
    channel_id: &'a str,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    #[serde(rename = "isActive")]
    is_active: bool,
    occupancy: Metrics,
}

#[derive(Serialize)]
struct Metrics {
    metrics: BTreeMap<&'static str, usize>,
}

impl<'a> ChannelDetails<'a> {
    fn new(channel_id: &'a str, occupancy: Occupancy) -> Self {
        let metrics = occupancy.named().into_iter().collect();
        let status = Status { is_active: true, occupancy: Metrics { metrics } };
        Self { channel_id, status }
    }
}

/// GET `/channels/{c}`.
pub async fn status(call: &Call<'_>, channel: String) -> Result<RestAnswer, Fault> {
    let operations = [(Operation::ChannelMetadata, "channel-metadata")];
    let (_, name, channel) = call.channel(channel, &operations)?;
    let occupancy = call.broker().occupancy(&channel).await?;
    let details = ChannelDetails::new(&name.whole, occupancy);
    Ok(RestAnswer::ok(call.encode(&details)))
}

/// All that a page depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "p")]
    prefix: String,
    #[serde(rename = "v")]
    by_value: bool,
    #[serde(rename = "l")]
    limit: usize,
    /// The last name of the page before.
    #[serde(rename = "a")]
    after: Option<String>,
}

/// GET `/channels`: the app's channels that are in use, by name.
pub async fn enumerate(call: &Call<'_>) -> Result<RestAnswer, Fault> {
    let Caller { access, .. } = call.caller()?;
    if !access.capability.allows("*", Operation::ChannelMetadata) {
        return Err(access.not_permitted("channel-metadata", "*"));
    }
    let current = match links::cursor::<Cursor>(&call.query)? {
        Some(cursor) => cursor,
        None => Cursor::of(call)?,
    };
    let limit = current.limit.clamp(1, limits::PAGE_ITEMS_MAX);
    let mut names = call.rest.worker.broker.directory.names(access.app.id);
    names.retain(|name| {
        let is_behind = |after: &String| name.as_str() > after.as_str();
        name.as_str().starts_with(&current.prefix)
            && access.may_know(name)
            && current.after.as_ref().is_none_or(is_behind)
    });
    let has_more = names.len() > limit;
    names.truncate(limit);

    let first = Cursor { after: None, ..current.clone() };
    let last = names.last().filter(|_| has_more);
    let next = last.map(|last| Cursor { after: Some(last.as_str().to_owned()), ..current.clone() });
    let limit = limit.to_string();
    let pages = Pages { path: call.path(), query: &call.query, shown: &[("limit", &limit)] };
    let links = pages.links(&first, &current, next.as_ref())?;
    let body = if current.by_value {
        let occupancies = names.iter().map(|name| call.broker().occupancy(name));
        let occupancies = future::join_all(occupancies).await;
        let details = names.iter().zip(occupancies);
        // A channel that ends at this moment is no fault of who lists them.
        let details = details.filter_map(|(name, occupancy)| Some(ChannelDetails::new(name.as_str(), occupancy.ok()?)));
        call.encode(&details.collect::<Vec<_>>())
    } else {
        let names: Vec<&str> = names.iter().map(ChannelName::as_str).collect();
        call.encode(&names)
    };
    Ok(RestAnswer::ok(body).with_links(links))
}

impl Cursor {
    fn of(call: &Call<'_>) -> Result<Self, Fault> {
        let by_value = match call.query.get("by") {
            None => call.version < NAMES_SINCE,
            Some("id") => false,
            Some("value") => true,
            Some(other) => {
                let found = Found::text(other);
                return Err(Fault::BadParameter { name: "by", found, rule: "id or value" });
            }
        };
        Ok(Self {
            prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
            by_value,
            limit: history::limit(&call.query)?,
            after: None,
        })
    }
}
