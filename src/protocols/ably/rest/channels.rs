//! Which channels there are, and how many use one (`docs/protocols/ably.md §11.6, §11.7`).

use std::collections::{BTreeMap, HashSet};

use futures_util::future;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    actors::channels::meta::META,
    core::{capability::Operation, occupancy::Occupancy},
    error::{Fault, Found},
    ids::{AppId, ChannelName},
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

fn details(channel_id: &str, occupancy: Occupancy) -> Value {
    let metrics: BTreeMap<_, _> = occupancy.named().into_iter().collect();
    json!({"channelId": channel_id, "name": channel_id, "status": {"isActive": true, "occupancy": {"metrics": metrics}}})
}

/// GET `/channels/{c}`.
pub async fn status(call: &Call<'_>, channel: String) -> Result<RestAnswer, Fault> {
    let (_, name, channel) = call.channel(channel, &[Operation::ChannelMetadata])?;
    let occupancy = call.broker().occupancy(&channel).await?;
    Ok(RestAnswer::ok(call.encode(&details(&name.whole, occupancy))))
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
        return Err(access.not_permitted(Operation::ChannelMetadata.name(), "*"));
    }
    let _turn = Turn::take(&call.rest.shared.enumerating, access.app.id)?;
    let current = match links::cursor::<Cursor>(&call.query)? {
        Some(cursor) => cursor,
        None => Cursor::of(call)?,
    };
    let limit = current.limit.clamp(1, limits::PAGE_ITEMS_MAX);
    let broker = &call.rest.worker.broker;
    let (mut names, mut after) = (Vec::new(), current.after.clone());
    let has_more = loop {
        let found = broker.channel_names(access.app.id, &current.prefix, after.as_deref(), limit + 1).await?;
        let is_end = found.len() <= limit;
        after = found.last().map(|name| name.as_str().to_owned());
        names.extend(found.into_iter().filter(|name| access.may_know(name) && !name.as_str().starts_with(META)));
        if is_end || names.len() > limit {
            break names.len() > limit;
        }
    };
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
        let listed = names.iter().zip(occupancies);
        // A channel that ends at this moment is no fault of who lists them.
        let listed = listed.filter_map(|(name, occupancy)| Some(details(name.as_str(), occupancy.ok()?)));
        call.encode(&listed.collect::<Vec<_>>())
    } else {
        let names: Vec<&str> = names.iter().map(ChannelName::as_str).collect();
        call.encode(&names)
    };
    Ok(call.long_answer(access.app.id, body)?.with_links(links))
}

/// The turn of one request to list the channels of an app; given back when it is dropped.
struct Turn<'a>(&'a Mutex<HashSet<AppId>>, AppId);

impl<'a> Turn<'a> {
    fn take(all: &'a Mutex<HashSet<AppId>>, app: AppId) -> Result<Self, Fault> {
        if all.lock().insert(app) { Ok(Self(all, app)) } else { Err(Fault::Enumerating) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_lists_its_channels_for_one_request_at_a_time() {
        let (all, app) = (Mutex::default(), AppId::random());
        let turn = Turn::take(&all, app);
        assert_eq!(Turn::take(&all, app).err(), Some(Fault::Enumerating));
        assert!(Turn::take(&all, AppId::random()).is_ok());
        drop(turn);
        assert!(Turn::take(&all, app).is_ok());
    }
}
