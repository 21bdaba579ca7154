//! One actor that keeps the statistics of all apps (`docs/protocols/ably.md §11.8`): it sums up what worker threads report, and
//! every few seconds adds it to the minute, the hour, the day and the month that it happened in, and writes those down. An app
//! where nothing happens costs a few additions a second, and its rows once a minute.
//!
//! Each run of a server has rows of its own; whoever reads merges what several runs know of one interval. So nothing is read
//! before it is written, and a run that was killed loses the last seconds at most.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    ops::RangeInclusive,
    sync::{Arc, Weak},
    time::Duration,
};

use actix::{Actor, AsyncContext as _, Context, Handler, Message, ResponseFuture};
use serde::{Deserialize, Serialize};

use crate::{
    actors::broker::Broker,
    clock::Clock,
    core::{
        hashing::FastMap,
        stats::{Interval, Level, Record, Sample, Traffic, Unit},
    },
    error::Fault,
    ids::{AppId, Timestamp},
    limits,
    store::{Batch, Scheduled, Store, StoreError},
};

/// A table for each unit.
const fn table(unit: Unit) -> &'static str {
    match unit {
        Unit::Minute => "stats_minutes",
        Unit::Hour => "stats_hours",
        Unit::Day => "stats_days",
        Unit::Month => "stats_months",
    }
}

/// The keys of rows that go, by when they do.
const fn expiry(unit: Unit) -> &'static str {
    match unit {
        Unit::Minute => "stats_minutes_end",
        Unit::Hour => "stats_hours_end",
        Unit::Day => "stats_days_end",
        Unit::Month => "stats_months_end",
    }
}

/// What worker threads count, by app.
pub type Tally = FastMap<AppId, Traffic>;

pub struct Stats {
    /// None: nothing is kept, and nobody can ask.
    store: Option<Arc<dyn Store>>,
    clock: Clock,
    /// Of this run of the server.
    run: u64,
    /// The one that was looked at last.
    minute: Option<Interval>,
    apps: HashMap<AppId, AppStats>,
    /// Who tells what was counted in a minute.
    broker: Weak<Broker>,
}

#[derive(Default)]
struct AppStats {
    connections: u64,
    channels: u64,
    /// What is in no record yet: of the minute that was looked at last.
    traffic: Traffic,
    levels: [Level; Sample::ALL.len()],
    current: [Option<Current>; Unit::ALL.len()],
}

/// An interval that is not over, or that something was counted in a moment ago.
struct Current {
    interval: Interval,
    record: Record,
    is_stored: bool,
    is_new: bool,
}

/// What one worker thread counted since its last report.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Counted(pub Tally);

/// From now on, what was counted in a minute is told on metachannels.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TellBy(pub Weak<Broker>);

/// What is known of minutes from elsewhere: each takes the place of what was told of it before.
#[derive(Message)]
#[rtype(result = "Result<(), Fault>")]
pub struct Fixtures {
    pub app: AppId,
    pub minutes: Vec<(Timestamp, Record)>,
}

/// Writes down what is not written yet.
#[derive(Message)]
#[rtype(result = "Result<(), Fault>")]
pub struct Flush;

/// The statistics of some intervals.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Page, Fault>")]
pub struct Wanted {
    #[serde(skip, default = "default_app")]
    pub app: AppId,
    pub unit: Unit,
    /// Starts of intervals.
    pub range: RangeInclusive<u64>,
    pub forwards: bool,
    pub limit: usize,
}

/// Those of them in which something happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub intervals: Vec<(Interval, Record)>,
    pub has_more: bool,
}

/// Where it is not written it stands beside.
const fn default_app() -> AppId {
    AppId::DEFAULT
}

impl Stats {
    pub fn new(store: Option<Arc<dyn Store>>, clock: Clock) -> Self {
        Self { store, clock, run: rand::random(), minute: None, apps: HashMap::new(), broker: Weak::new() }
    }

    /// Looks at the time: what is over is written down before the next minute begins.
    fn now(&mut self) -> Timestamp {
        let now = self.clock.now();
        let minute = Interval::at(Unit::Minute, now);
        if self.minute != Some(minute) {
            if let Some(over) = self.minute.replace(minute) {
                self.apps.values_mut().for_each(|stats| stats.settle(over.start));
                self.broker.upgrade().inspect(|broker| match broker.nodes() {
                    None => self.tell(over, broker),
                    Some(nodes) => broker.tell_minute_of_all(&nodes, over),
                });
            }
            self.write_soon();
            self.sweep(now);
        }
        now
    }

    fn tell(&self, minute: Interval, broker: &Broker) {
        for (app, stats) in &self.apps {
            let of_app = stats.current.iter().flatten().find(|current| current.interval == minute);
            if let Some(Current { record, .. }) = of_app {
                broker.tell_minute(*app, minute, record);
            }
        }
    }

    fn sample(&mut self, _: &mut Context<Self>) {
        self.now();
        self.apps.values_mut().for_each(AppStats::sample);
    }

    fn write_soon(&mut self) {
        let batch = self.unwritten(|_, stats| stats.traffic != Traffic::default());
        let Some((store, batch)) = self.store.clone().zip(batch) else {
            return;
        };
        actix_rt::spawn(async move {
            if let Err(error) = store.commit(batch).await {
                tracing::warn!(%error, "the statistics of the last seconds could not be written");
            }
        });
    }

    /// Writes down what has changed in records, as [`Self::unwritten`] finds it. Where nothing has, it is still behind all that
    /// was handed to the store before.
    fn write<F: Fn(AppId, &AppStats) -> bool>(
        &mut self,
        is_due: F,
    ) -> impl Future<Output = Result<(), StoreError>> + use<F> {
        let batch = self.unwritten(is_due).unwrap_or_default();
        let store = self.store.clone();
        async move {
            match store {
                Some(store) => store.commit(batch).await.map(drop),
                None => Ok(()),
            }
        }
    }

    /// What has changed in records, for which those of some apps are brought up to date; what is over is forgotten.
    fn unwritten(&mut self, is_due: impl Fn(AppId, &AppStats) -> bool) -> Option<Batch> {
        let now = self.now();
        let mut changed = false;
        let mut batch = Batch::new();
        for (app, stats) in &mut self.apps {
            if is_due(*app, stats) {
                stats.settle(now);
            }
            for current in stats.current.iter_mut().flatten().filter(|current| !current.is_stored) {
                changed = true;
                let end = current.is_new.then(|| end_of(current.interval)).flatten();
                batch = put(batch, *app, current.interval, self.run, &current.record, end);
                (current.is_stored, current.is_new) = (true, false);
            }
            for slot in &mut stats.current {
                slot.take_if(|current| current.interval.last() < now);
            }
        }
        self.apps.retain(|_, stats| stats.is_used());
        changed.then_some(batch)
    }

    /// Removes some of the rows that nobody needs any more.
    fn sweep(&self, now: Timestamp) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let take = |batch: Batch, unit| batch.take_due(expiry(unit), now, limits::STATS_SWEEP);
        let taken = store.commit(Unit::ALL.into_iter().fold(Batch::new(), take));
        actix_rt::spawn(async move {
            // What is not taken now is found the next time.
            let taken = taken.await.map(|committed| committed.taken).unwrap_or_default();
            let rows =
                Unit::ALL.into_iter().zip(taken).flat_map(|(unit, rows)| rows.into_iter().map(move |row| (unit, row)));
            let remove = |batch: Batch, (unit, row): (Unit, Scheduled)| batch.remove(table(unit), row.key);
            let mut rows = rows.peekable();
            if rows.peek().is_some() {
                store.submit(rows.fold(Batch::new(), remove), Box::new(drop));
            }
        });
    }
}

/// When the row of an interval goes; none: it stays.
fn end_of(interval: Interval) -> Option<Timestamp> {
    let kept = match interval.unit {
        Unit::Minute => limits::STATS_MINUTES,
        Unit::Hour => limits::STATS_HOURS,
        Unit::Day | Unit::Month => return None,
    };
    Some(after(interval.last(), kept))
}

fn after(moment: Timestamp, time: Duration) -> Timestamp {
    Timestamp::from_millis(moment.millis() + time.as_millis() as u64)
}

/// Writes the row of an interval, which goes at `end`.
fn put(batch: Batch, app: AppId, interval: Interval, run: u64, record: &Record, end: Option<Timestamp>) -> Batch {
    let key = key(app, interval.start.millis(), run);
    // Cannot fail: texts and numbers are written into memory.
    let value = serde_json::to_vec(record).unwrap_or_default();
    let batch = batch.put(table(interval.unit), key.clone(), value);
    match end {
        Some(end) => batch.schedule(expiry(interval.unit), end, key, Vec::new()),
        None => batch,
    }
}

/// Rows sort by app, then by time.
fn key(app: AppId, start: u64, run: u64) -> Vec<u8> {
    [app.as_str().as_bytes(), &start.to_be_bytes(), &run.to_be_bytes()].concat()
}

fn start_of(key: &[u8]) -> Option<u64> {
    let (rest, _run) = key.split_last_chunk::<8>()?;
    rest.last_chunk().map(|start| u64::from_be_bytes(*start))
}

impl AppStats {
    fn add(&mut self, traffic: Traffic) {
        let present = |known: u64, opened: u64, closed: u64| (known + opened).saturating_sub(closed);
        self.connections = present(self.connections, traffic.connections.opened, traffic.connections.closed);
        self.channels = present(self.channels, traffic.channels.opened, traffic.channels.closed);
        self.traffic += traffic;
        self.sample();
    }

    fn sample(&mut self) {
        if self.connections > 0 || self.channels > 0 {
            self.levels[Sample::Connections as usize].note(self.connections);
            self.levels[Sample::Channels as usize].note(self.channels);
        }
    }

    /// Brings the records up to date; all of it has happened in the minute of `moment`.
    fn settle(&mut self, moment: Timestamp) {
        let (traffic, levels) = (mem::take(&mut self.traffic), mem::take(&mut self.levels));
        if traffic == Traffic::default() && levels == [Level::default(); 2] {
            return;
        }
        let numbers: Vec<_> = traffic.named().collect();
        self.change(moment, |record| {
            numbers.iter().for_each(|(name, number)| record.add(name, *number));
            Sample::ALL.into_iter().zip(levels).for_each(|(what, level)| record.sample(what, level));
        });
    }

    fn change(&mut self, now: Timestamp, change: impl Fn(&mut Record)) {
        for (unit, slot) in Unit::ALL.into_iter().zip(&mut self.current) {
            let interval = Interval::at(unit, now);
            // One that is over was written down by [`Stats::now`].
            if slot.as_ref().is_none_or(|current| current.interval != interval) {
                *slot = Some(Current { interval, record: Record::default(), is_stored: true, is_new: true });
            }
            if let Some(current) = slot {
                change(&mut current.record);
                current.is_stored = false;
            }
        }
    }

    fn is_used(&self) -> bool {
        let is_there = self.connections > 0 || self.channels > 0;
        is_there || self.traffic != Traffic::default() || self.current.iter().any(Option::is_some)
    }
}

impl Actor for Stats {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(limits::STATS_SAMPLE, Self::sample);
        ctx.run_interval(limits::STATS_FLUSH, |stats, _| stats.write_soon());
    }
}

impl Handler<Counted> for Stats {
    type Result = ();

    fn handle(&mut self, Counted(tally): Counted, _: &mut Self::Context) {
        self.now();
        for (app, traffic) in tally {
            self.apps.entry(app).or_default().add(traffic);
        }
    }
}

impl Handler<TellBy> for Stats {
    type Result = ();

    fn handle(&mut self, TellBy(broker): TellBy, _: &mut Self::Context) {
        self.broker = broker;
    }
}

impl Handler<Flush> for Stats {
    type Result = ResponseFuture<Result<(), Fault>>;

    fn handle(&mut self, _: Flush, _: &mut Self::Context) -> Self::Result {
        let written = self.write(|_, _| true);
        Box::pin(async move { written.await.map_err(|error| error.to_fault()) })
    }
}

impl Handler<Fixtures> for Stats {
    type Result = ResponseFuture<Result<(), Fault>>;

    fn handle(&mut self, Fixtures { app, minutes }: Fixtures, _: &mut Self::Context) -> Self::Result {
        let Some(store) = self.store.clone() else {
            return Box::pin(async { Err(Fault::Internal) });
        };
        let end = after(self.clock.now(), limits::STATS_MINUTES);
        let mut told: BTreeMap<u64, Record> = BTreeMap::new();
        for (moment, record) in minutes {
            told.entry(moment.millis()).or_default().merge(record);
        }
        let mut batch = Batch::new();
        for (moment, record) in &told {
            for unit in Unit::ALL {
                // A minute has a row of its own in each interval, so that one that comes again takes the place of the first.
                let interval = Interval::at(unit, Timestamp::from_millis(*moment));
                batch = put(batch, app, interval, *moment, record, Some(end));
            }
        }
        Box::pin(async move { store.commit(batch).await.map(drop).map_err(|error| error.to_fault()) })
    }
}

impl Handler<Wanted> for Stats {
    type Result = ResponseFuture<Result<Page, Fault>>;

    fn handle(&mut self, wanted: Wanted, _: &mut Self::Context) -> Self::Result {
        let Some(store) = self.store.clone() else {
            return Box::pin(async { Ok(Page::default()) });
        };
        let app = wanted.app;
        let written = self.write(move |of, _| of == app);
        Box::pin(async move {
            written.await.map_err(|error| error.to_fault())?;
            let read = actix_rt::task::spawn_blocking(move || wanted.read(&*store)).await;
            let page = read.map_err(|_| Fault::Internal)?;
            page.map_err(|error| {
                tracing::error!(%error, "statistics cannot be read");
                error.to_fault()
            })
        })
    }
}

impl Wanted {
    fn read(&self, store: &dyn Store) -> Result<Page, StoreError> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let mut found = BTreeMap::new();
        if self.forwards {
            self.collect(store, first, last, self.limit + 1, &mut found)?;
        } else {
            // Backwards by windows, each twice as wide as the one before: rows can only be read forwards.
            let (mut end, mut width) = (last, (self.limit as u64 + 1) * self.unit.longest().as_millis() as u64);
            loop {
                let start = end.saturating_sub(width).max(first);
                self.collect(store, start, end, usize::MAX, &mut found)?;
                if found.len() > self.limit || start <= first {
                    break;
                }
                (end, width) = (start - 1, width.saturating_mul(2));
            }
        }
        let has_more = found.len() > self.limit;
        let interval = |(start, record)| (Interval { unit: self.unit, start: Timestamp::from_millis(start) }, record);
        let found = found.into_iter().map(interval);
        let intervals =
            if self.forwards { found.take(self.limit).collect() } else { found.rev().take(self.limit).collect() };
        Ok(Page { intervals, has_more })
    }

    /// Merges the rows of the intervals that start from `first` to `last`, until there are `enough`.
    fn collect(
        &self,
        store: &dyn Store,
        first: u64,
        last: u64,
        enough: usize,
        found: &mut BTreeMap<u64, Record>,
    ) -> Result<(), StoreError> {
        let mut rows = store.scan(table(self.unit), self.app.as_str().as_bytes(), limits::STATS_SWEEP);
        if let Some(before) = first.checked_sub(1) {
            rows = rows.after(key(self.app, before, u64::MAX));
        }
        for row in rows {
            let row = row?;
            let start = start_of(&row.key).ok_or_else(|| StoreError::damaged("a key of the statistics"))?;
            if start > last || found.len() >= enough && !found.contains_key(&start) {
                break;
            }
            let record = serde_json::from_slice(&row.value);
            let record: Record = record.map_err(|_| StoreError::damaged("a row of the statistics"))?;
            found.entry(start).or_default().merge(record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
