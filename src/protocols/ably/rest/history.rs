//! Reading the past of a channel page by page (`docs/protocols/ably.md §8.1 - §8.4`).

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};

use crate::{
    actors::{
        accounts::{Charge, Full},
        broker::Broker,
        worker::Worker,
    },
    core::{
        capability::Operation,
        history::{Direction, ItemPosition, Kind, Page, Query},
        message::Entry,
        serial::Serial,
        stats::Traffic,
    },
    edge::http::{long::AnswerBody, query},
    error::{Fault, Found},
    ids::{ChannelName, Timestamp},
    limits,
    protocols::ably::{
        rest::{
            answer::RestAnswer,
            call::Call,
            chat,
            links::{self, Pages},
        },
        wire::{self, Format, items},
    },
};

/// GET `/channels/{c}/messages`.
pub async fn messages(call: &Call<'_>, channel: String) -> Result<RestAnswer, Fault> {
    read(call, channel, Kind::Messages, &[Operation::History]).await
}

/// GET `/channels/{c}/presence/history`. Ably's documents name all three operations (§7.7).
pub async fn presence(call: &Call<'_>, channel: String) -> Result<RestAnswer, Fault> {
    let operations = [Operation::History, Operation::Subscribe, Operation::Presence];
    read(call, channel, Kind::Presence, &operations).await
}

/// A page of the past; of one message the oldest first, unless something else is asked for.
pub async fn read(call: &Call<'_>, channel: String, kind: Kind, operations: &[Operation]) -> Result<RestAnswer, Fault> {
    read_as(call, channel, kind, operations, Shape::Ably).await
}

/// How the items of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Ably,
    /// As messages of a chat room.
    Chat,
}

/// The same, written in this shape.
pub async fn read_as(
    call: &Call<'_>,
    channel: String,
    kind: Kind,
    operations: &[Operation],
    shape: Shape,
) -> Result<RestAnswer, Fault> {
    let (caller, _, channel) = call.channel(channel, operations)?;
    let app = caller.access.app.id;
    let wanted = match links::cursor(&call.query)? {
        Some(cursor) => cursor,
        None => Cursor::of(&call.query, matches!(kind, Kind::Versions(_) | Kind::Annotations(_)))?,
    };
    let query = wanted.query(kind)?;
    let page = call.broker().history(&channel, query.clone()).await?;
    let is_first = wanted.after.is_none() && wanted.start.is_none() && wanted.end.is_none();
    if matches!(kind, Kind::Versions(_)) && is_first && page.places.is_empty() {
        return Err(Fault::NotFound { what: "a message with this serial" });
    }

    // What is published from now on is on none of the pages.
    let end = wanted.end.unwrap_or(call.now().millis());
    let current = Cursor { end: Some(end), ..wanted };
    let first = Cursor { after: None, ..current.clone() };
    let next =
        page.next.map(|place| Cursor { after: Some((place.serial.to_string(), place.index)), ..current.clone() });
    let limit = current.limit.to_string();
    let direction = if current.forwards { "forwards" } else { "backwards" };
    let pages = Pages { path: call.path(), query: &call.query, shown: &[("limit", &limit), ("direction", direction)] };
    let links = pages.links(&first, &current, next.as_ref())?;
    let format = call.form.body;
    let worker = Rc::clone(&call.rest.worker);
    if page.is_whole() {
        count(&worker, &page.items);
        let list = encode(&page.items, kind, format, shape);
        return Ok(call.long_answer(app, list)?.with_links(links));
    }
    let charge = call.charge(app, 2 * limits::PAGE_PORTION)?;
    let head = wire::begin_list(format, page.places.len());
    let left = page.places.len();
    let query = Query { limit: left, ..query };
    let broker = Arc::clone(call.broker());
    let rest = Rest { broker, channel, query, format, shape, left, charge, worker };
    let body = AnswerBody::whole(head).followed_by(rest.stream(page));
    Ok(RestAnswer::long(body).with_links(links))
}

/// Counts what is read as sent to the app's clients.
fn count(worker: &Worker, items: &[(Arc<Entry>, usize)]) {
    if let Some((first, _)) = items.first() {
        let read = |traffic: &mut Traffic| items.iter().for_each(|(entry, index)| traffic.was_read(entry, *index));
        worker.count_for(first.channel.app(), read);
    }
}

fn encode(items: &[(Arc<Entry>, usize)], kind: Kind, format: Format, shape: Shape) -> Bytes {
    match kind {
        _ if shape == Shape::Chat => wire::encode_value(format, &chat::message::all(items)),
        Kind::Messages => wire::encode_value(format, &items::messages(items, format)),
        Kind::Presence => wire::encode_value(format, &items::presence(items, format)),
        Kind::Versions(_) => wire::encode_value(format, &items::versions(items, format)),
        Kind::Annotations(_) => wire::encode_value(format, &wire::annotations(items, format)),
    }
}

/// The items of a long page, of which a portion at a time is read and written.
struct Rest {
    broker: Arc<Broker>,
    channel: ChannelName,
    /// Its limit is the number of items of the page.
    query: Query,
    format: Format,
    shape: Shape,
    /// Items that have not been written.
    left: usize,
    charge: Charge,
    worker: Rc<Worker>,
}

impl Rest {
    /// Begins with `page`. The list has said how many there are, so one that cannot be read breaks the answer off.
    fn stream(self, page: Page) -> impl Stream<Item = Result<Bytes, Fault>> {
        stream::try_unfold((self, Some(page)), async |(mut rest, page)| {
            if rest.left == 0 {
                return Ok(None);
            }
            let Page { items, places, .. } = match page {
                Some(page) => page,
                None => rest.read().await?,
            };
            let last = items.len().checked_sub(1).and_then(|last| places.get(last)).ok_or(Fault::Internal)?;
            count(&rest.worker, &items);
            let is_first = rest.left == rest.query.limit;
            rest.query.after = Some(*last);
            rest.left = rest.left.saturating_sub(items.len());
            let list = encode(&items, rest.query.kind, rest.format, rest.shape);
            let piece = wire::piece_of_list(rest.format, &list, items.len(), is_first, rest.left == 0);
            rest.charge.set(2 * piece.len()).map_err(Full::to_fault)?;
            Ok(Some((piece, (rest, None))))
        })
    }

    async fn read(&mut self) -> Result<Page, Fault> {
        let query = Query { limit: self.left, ..self.query.clone() };
        self.broker.history(&self.channel, query).await
    }
}

/// All that a page depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "s")]
    start: Option<u64>,
    #[serde(rename = "e")]
    end: Option<u64>,
    /// A serial, and the messages up to it and including it.
    #[serde(rename = "u")]
    until: Option<String>,
    #[serde(rename = "f")]
    forwards: bool,
    #[serde(rename = "l")]
    limit: usize,
    #[serde(rename = "a")]
    after: Option<(String, usize)>,
}

impl Cursor {
    /// What a first request asks for.
    fn of(query: &query::Query, forwards: bool) -> Result<Self, Fault> {
        let (start, end) = (moment(query, "start")?, moment(query, "end")?);
        if let Some((start, _)) = start.zip(end).filter(|(start, end)| start > end) {
            return Err(Fault::BadParameter { name: "start", found: Found::number(start), rule: "not after end" });
        }
        let forwards = if query.has("direction") { is_forwards(query)? } else { forwards };
        let until = query.get_any(&["from_serial", "fromSerial"]);
        Ok(Self { start, end, until: until.map(str::to_owned), forwards, limit: limit(query)?, after: None })
    }

    fn query(&self, kind: Kind) -> Result<Query, Fault> {
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&self.limit) {
            return Err(links::bad_cursor("another limit"));
        }
        let after = self.after.as_ref().map(|(serial, index)| {
            let serial = Serial::parse(serial).ok_or_else(|| links::bad_cursor(serial))?;
            let index = *index;
            Ok(ItemPosition { serial, index })
        });
        let until = self.until.as_deref().map(|until| {
            Serial::parse(until).ok_or_else(|| {
                let (found, rule) = (Found::text(until), "the channelSerial of an ATTACHED");
                Fault::BadParameter { name: "from_serial", found, rule }
            })
        });
        Ok(Query {
            kind,
            start: self.start.map(Timestamp::from_millis),
            end: self.end.map(Timestamp::from_millis),
            until: until.transpose()?,
            direction: if self.forwards { Direction::Forwards } else { Direction::Backwards },
            limit: self.limit,
            after: after.transpose()?,
        })
    }
}

fn moment(query: &query::Query, name: &'static str) -> Result<Option<u64>, Fault> {
    let moment = query.get(name).filter(|text| !text.is_empty());
    let rule = "milliseconds since 1970, or such as 2026-08-06T13:05:10Z";
    let bad = |text| Fault::BadParameter { name, found: Found::text(text), rule };
    let parse = |text: &str| text.parse().ok().or_else(|| Timestamp::parse_rfc3339(text).map(Timestamp::millis));
    moment.map(|text| parse(text).ok_or_else(|| bad(text))).transpose()
}

/// In which order a list is wanted; backwards unless it is said.
///
/// # Errors
/// [`Fault::BadParameter`] when it is neither.
pub fn is_forwards(query: &query::Query) -> Result<bool, Fault> {
    match query.get("direction") {
        None | Some("backwards") => Ok(false),
        Some("forwards") => Ok(true),
        Some(other) => {
            let found = Found::text(other);
            Err(Fault::BadParameter { name: "direction", found, rule: "forwards or backwards" })
        }
    }
}

/// How many items a page may have.
///
/// # Errors
/// [`Fault::BadParameter`] when it is not one of the numbers that it may be.
pub fn limit(query: &query::Query) -> Result<usize, Fault> {
    let Some(text) = query.get("limit") else {
        return Ok(limits::PAGE_ITEMS);
    };
    let limit = text.parse().ok();
    let limit = limit.filter(|limit| (1..=limits::PAGE_ITEMS_MAX).contains(limit));
    limit.ok_or_else(|| Fault::BadParameter { name: "limit", found: Found::text(text), rule: "1 to 1000" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_cannot_be() {
        for (bad, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("start=2&end=1", "start"),
            ("start=yesterday", "start"),
            ("end=1.5", "end"),
            ("direction=sideways", "direction"),
        ] {
            let refused = Cursor::of(&query::Query::parse(bad), false);
            assert!(matches!(refused, Err(Fault::BadParameter { name: n, .. }) if n == name), "{bad}: {refused:?}");
        }
        let cursor = Cursor::of(&query::Query::parse("end=2026-08-06T15:05:10%2B02:00&start=5"), false);
        assert_eq!(cursor.map(|cursor| (cursor.start, cursor.end)), Ok((Some(5), Some(1_786_021_510_000))));
        let cursor = Cursor::of(&query::Query::parse("from_serial=x"), false);
        let refused = cursor.map(|cursor| cursor.query(Kind::Messages).err());
        assert!(matches!(refused, Ok(Some(Fault::BadParameter { name: "from_serial", .. }))));
    }

    #[test]
    fn defaults() {
        let cursor = Cursor::of(&query::Query::parse(""), false);
        let expected = Cursor { start: None, end: None, until: None, forwards: false, limit: 100, after: None };
        assert_eq!(cursor, Ok(expected));
    }
}
