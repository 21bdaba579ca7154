//! Statistics of an app (`docs/protocols/ably.md §11.8`).

use std::collections::BTreeMap;

use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    actors::stats::{Fixtures, Wanted},
    core::{
        capability::Operation,
        stats::{Interval, Record, Unit},
    },
    edge::http::query::Query,
    error::{Fault, Found},
    ids::{AppId, Timestamp},
    limits,
    protocols::ably::rest::{
        answer::RestAnswer,
        call::Call,
        history,
        links::{self, Pages},
    },
    protocols::ably::wire,
};

/// The first version whose entries are flat.
const FLAT_SINCE: u32 = 3;

/// All that a page depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "u")]
    unit: Unit,
    /// Starts of the first and of the last interval.
    #[serde(rename = "s")]
    start: u64,
    #[serde(rename = "e")]
    end: u64,
    #[serde(rename = "f")]
    forwards: bool,
    #[serde(rename = "l")]
    limit: usize,
    /// The start of the last interval of the page before.
    #[serde(rename = "a")]
    after: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlatItem<'a> {
    interval_id: &'a str,
    unit: Unit,
    schema: &'static str,
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_progress: Option<&'a str>,
    entries: BTreeMap<String, u64>,
}

/// GET `/stats`.
pub async fn page(call: &Call<'_>) -> Result<RestAnswer, Fault> {
    let app = permitted(call)?;
    let current = match links::cursor::<Cursor>(&call.query)? {
        Some(cursor) if (1..=limits::PAGE_ITEMS_MAX).contains(&cursor.limit) => cursor,
        Some(_) => return Err(links::bad_cursor("another limit")),
        None => Cursor::of(&call.query, call.now())?,
    };
    let Cursor { unit, start, end, forwards, limit, after } = current;
    let range = match after {
        Some(after) if forwards => after.saturating_add(1)..=end,
        Some(after) => start..=after.saturating_sub(1),
        None => start..=end,
    };
    let wanted = Wanted { app, unit, range, forwards, limit };
    let page = call.rest.worker.broker.statistics(wanted).await?;

    let first = Cursor { after: None, ..current.clone() };
    let last = page.intervals.last().filter(|_| page.has_more);
    let next = last.map(|(last, _)| Cursor { after: Some(last.start.millis()), ..current.clone() });
    let limit = limit.to_string();
    let direction = if forwards { "forwards" } else { "backwards" };
    let shown = [("unit", unit.name()), ("limit", &limit), ("direction", direction)];
    let links =
        Pages { path: call.path(), query: &call.query, shown: &shown }.links(&first, &current, next.as_ref())?;

    let minute = Interval::at(Unit::Minute, call.now()).id();
    let items = page.intervals.iter();
    let body = if call.version >= FLAT_SINCE {
        let ids: Vec<String> = items.clone().map(|(interval, _)| interval.id()).collect();
        let flat = items.zip(&ids).map(|((interval, record), id)| FlatItem {
            interval_id: id,
            unit,
            schema: Interval::SCHEMA,
            app_id: app.as_str(),
            in_progress: (interval.last() >= call.now()).then_some(&minute),
            entries: record.entries(),
        });
        call.encode(&flat.collect::<Vec<_>>())
    } else {
        let nested = items.map(|(interval, record)| {
            let mut item = record.nested();
            item.insert("intervalId".to_owned(), interval.id().into());
            item.insert("unit".to_owned(), unit.name().into());
            if interval.last() >= call.now() {
                item.insert("inProgress".to_owned(), minute.clone().into());
            }
            item
        });
        call.encode(&nested.collect::<Vec<_>>())
    };
    Ok(RestAnswer::ok(body).with_links(links))
}

/// POST `/stats`: what happened before the server was there, for test suites.
pub async fn add(call: &Call<'_>, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    if !call.rest.sandbox {
        return Err(Fault::MethodNotAllowed { allowed: "GET, HEAD" });
    }
    let app = permitted(call)?;
    let (format, body) = call.body(payload, limits::REQUEST_BODY_BYTES).await?;
    let fixtures: Vec<Map<String, Value>> = wire::decode_value(format, &body)?;
    if fixtures.len() > limits::FRAME_ITEMS {
        return Err(Fault::TooManyMessages { limit: limits::FRAME_ITEMS });
    }
    let minutes = fixtures.iter().map(fixture).collect::<Result<_, Fault>>()?;
    call.broker().stats.send(Fixtures { app, minutes }).await.map_err(|_| Fault::Busy)??;
    Ok(RestAnswer::created(call.encode(&[(); 0])))
}

fn permitted(call: &Call<'_>) -> Result<AppId, Fault> {
    let access = call.caller()?.access;
    if !access.capability.allows("*", Operation::Stats) {
        return Err(access.not_permitted(Operation::Stats.name(), "*"));
    }
    Ok(access.app.id)
}

fn fixture(fixture: &Map<String, Value>) -> Result<(Timestamp, Record), Fault> {
    let id = fixture.get("intervalId").and_then(Value::as_str);
    let interval = id.and_then(Interval::parse).ok_or_else(|| bad_interval("intervalId", id))?;
    let record = Record::of_fixture(fixture).ok_or_else(|| {
        let what = "a fixture of statistics holds numbers only, by the names of the schema of version 2";
        Fault::Malformed { what: what.into() }
    })?;
    Ok((interval.start, record))
}

fn bad_interval(name: &'static str, found: Option<&str>) -> Fault {
    let rule = "milliseconds since 1970, or an interval such as 2026-08-06:13:05, 2026-08-06:13, 2026-08-06 or 2026-08";
    Fault::BadParameter { name, found: Found::optional(found), rule }
}

impl Cursor {
    /// What a first request asks for.
    fn of(query: &Query, now: Timestamp) -> Result<Self, Fault> {
        let unit = match query.get_any(&["unit", "by"]) {
            None => Unit::Minute,
            Some(name) => Unit::by_name(name).ok_or_else(|| Fault::BadParameter {
                name: "unit",
                found: Found::text(name),
                rule: "minute, hour, day or month",
            })?,
        };
        let start = bound(query, "start")?.map_or(0, |interval| interval.start.millis());
        let end = bound(query, "end")?.map_or(now, Interval::last).millis();
        if start > end {
            return Err(Fault::BadParameter { name: "start", found: Found::number(start), rule: "not after end" });
        }
        let start_of = |moment| Interval::at(unit, Timestamp::from_millis(moment)).start.millis();
        let forwards = history::is_forwards(query)?;
        Ok(Self {
            unit,
            start: start_of(start),
            end: start_of(end),
            forwards,
            limit: history::limit(query)?,
            after: None,
        })
    }
}

/// A moment counts as its minute.
fn bound(query: &Query, name: &'static str) -> Result<Option<Interval>, Fault> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let moment = || Some(Interval::at(Unit::Minute, Timestamp::from_millis(text.parse().ok()?)));
    Interval::parse(text).or_else(moment).map(Some).ok_or_else(|| bad_interval(name, Some(text)))
}
