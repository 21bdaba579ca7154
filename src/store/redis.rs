//! [`Store`] on the Redis that the nodes of a cluster share. One script carries out a batch, so it is done as a whole or not
//! at all; a batch that was cut off is sent again, and known by its id.
//!
//! Keys begin with `ls:{st:<protocol>}`, so what one batch touches is in one slot of a Redis Cluster:
//!
//! | key | type | content |
//! |---|---|---|
//! | `r:<table>`, `k:<table>` | hash, sorted set | rows; their keys in order |
//! | `v:<table>`, `d:<table>` | hash, sorted set | scheduled rows; their keys by due time |
//! | `c`, `b` | hash | cursors; bytes of each table |
//! | `o:<id>` | string | what a batch was answered, for a minute |
//!
//! A batch may also append to streams, whose keys are those of services: on one server, with the rows.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    engines::redis::{self, Call, CallError, Line, Run, Slots},
    ids::Timestamp,
    store::{Batch, Committed, Done, Found, Placed, Read, Row, Scheduled, Step, Store, StoreError},
};

const SCRIPTS: &[&str] = &[include_str!("redis/write.lua"), include_str!("redis/read.lua")];
const WRITE: usize = 0;
const READ: usize = 1;

/// The rows of one protocol.
pub struct RedisStore {
    link: Arc<Link>,
    /// What its keys begin with.
    prefix: String,
}

/// The connection that the stores of all protocols have together.
struct Link {
    line: Line,
    /// Names the batches of this run.
    run: u64,
    batches: AtomicU64,
    /// The thread of the line ends with it.
    _ends: oneshot::Sender<()>,
}

impl RedisStore {
    /// Connects in the background. A batch that `is_copied` is done when a replica of Redis has it. The line has a thread
    /// of its own: who waits for an answer on any other one gets it.
    ///
    /// # Errors
    /// There are no more threads.
    pub fn start(
        seeds: Vec<redis::Settings>,
        greeting: Option<Run>,
        is_copied: bool,
        deadline: Duration,
        clock: Clock,
        protocol: &str,
    ) -> Result<Self, StoreError> {
        let failed = |error: &dyn ToString| StoreError::Io(error.to_string().into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let (told, line) = mpsc::sync_channel(1);
        let (ends, ended) = oneshot::channel();
        let run = async move {
            let greeting = greeting.map(Arc::new);
            let copied = is_copied.then_some(WRITE);
            let _ = told.send(Line::start(&Slots::start(seeds), SCRIPTS, greeting, copied, deadline, clock));
            let _ = ended.await;
        };
        let thread = thread::Builder::new().name("store-redis".into());
        thread.spawn(move || runtime.block_on(run)).map_err(|error| failed(&error))?;
        let line = line.recv().map_err(|error| failed(&error))?;
        let link = Link { line, run: rand::random(), batches: AtomicU64::new(0), _ends: ends };
        Ok(Self { link: Arc::new(link), prefix: prefix(protocol) })
    }

    /// The rows of another protocol, by the same connection.
    pub fn of(&self, protocol: &str) -> Self {
        Self { link: Arc::clone(&self.link), prefix: prefix(protocol) }
    }

    fn call<T: 'static>(
        &self,
        script: usize,
        args: Vec<Bytes>,
        understand: impl FnOnce(&mut Parts<'_>) -> Result<T, StoreError> + Send + 'static,
        done: Done<T>,
    ) {
        let done = move |answer: Result<Vec<Bytes>, CallError>| {
            let outcome = answer.map_err(StoreError::from).and_then(|parts| understand(&mut Parts(&parts)));
            // A panic in what is done then must not end the line. The panic hook has logged where and why.
            if panic::catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
                tracing::error!("what was to follow a call of the store has panicked; the store goes on");
            }
        };
        let keys = vec![self.prefix.clone().into_bytes()];
        self.link.line.call(Call { script, keys, args, repeats: true, done: Box::new(done) });
    }

    /// Reads one thing, and waits for it.
    fn wait(&self, read: Read) -> Result<Found, StoreError> {
        let (told, found) = mpsc::sync_channel(1);
        self.look(vec![read], Box::new(move |result| drop(told.send(result))));
        let found = found.recv().map_err(|_| StoreError::Closed)??;
        found.into_iter().next().ok_or_else(strange)
    }
}

fn prefix(protocol: &str) -> String {
    format!("ls:{{st:{protocol}}}")
}

impl Store for RedisStore {
    fn submit(&self, batch: Batch, done: Done<Committed>) {
        let number = self.link.batches.fetch_add(1, Ordering::Relaxed);
        let mut args = vec![format!("{:016x}{number:x}", self.link.run).into()];
        // What rows are placed by comes before them.
        let rank = |step: &&Step| match step {
            Step::Expect { .. } => 0,
            Step::Append { .. } => 1,
            _ => 2,
        };
        let mut steps: Vec<&Step> = batch.steps.iter().collect();
        steps.sort_by_key(rank);
        let has_place = steps.iter().any(|step| matches!(step, Step::Append { .. }));
        // How many a batch has taken out, and of what, by the order of its steps.
        let answers: Vec<bool> = steps
            .iter()
            .filter_map(|step| match step {
                Step::TakeDue { .. } => Some(true),
                Step::Add { .. } => Some(false),
                _ => None,
            })
            .collect();
        steps.into_iter().for_each(|step| write_step(step, &mut args));
        let understand = move |parts: &mut Parts<'_>| {
            if &parts.next()?[..] == b"changed" {
                return Err(StoreError::Changed);
            }
            let mut committed = Committed::default();
            for is_taken in answers {
                if is_taken {
                    committed.taken.push(parts.due()?);
                } else {
                    committed.counters.push(parts.number()?);
                }
            }
            committed.place = has_place.then(|| parts.number()).transpose()?;
            Ok(committed)
        };
        self.call(WRITE, args, understand, done);
    }

    fn look(&self, reads: Vec<Read>, done: Done<Vec<Found>>) {
        let mut args = Vec::new();
        reads.iter().for_each(|read| write_read(read, &mut args));
        let understand = move |parts: &mut Parts<'_>| {
            parts.next()?;
            reads.iter().map(|read| parts.found(read)).collect()
        };
        self.call(READ, args, understand, done);
    }

    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.wait(Read::get(table, key))?.value()
    }

    fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.wait(Read::List { table: table.to_owned(), prefix, after, limit })?.rows()
    }

    fn due(&self, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
        self.wait(Read::due(table, until, limit))?.due()
    }

    fn scheduled(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.wait(Read::scheduled(table, key))?.value()
    }

    fn cursor(&self, name: &str) -> Result<u64, StoreError> {
        self.wait(Read::Cursor { name: name.to_owned() })?.number()
    }

    fn bytes(&self, table: &str) -> Result<u64, StoreError> {
        self.wait(Read::bytes(table))?.number()
    }
}

fn text(text: impl ToString) -> Bytes {
    text.to_string().into()
}

/// Redis counts to that.
fn count(limit: usize) -> Bytes {
    text(limit.min(i32::MAX as usize))
}

/// Numbers of cursors end there.
fn number(value: u64) -> Bytes {
    text(value.min(i64::MAX.cast_unsigned()))
}

fn write_step(step: &Step, args: &mut Vec<Bytes>) {
    let bytes = Bytes::copy_from_slice;
    let name = |table: &'static str| Bytes::from_static(table.as_bytes());
    let letter = |letter: &'static str| Bytes::from_static(letter.as_bytes());
    match step {
        Step::Expect { table, key, value } => {
            let (is_there, value) = value.as_deref().map_or(("", &[][..]), |value| ("1", value));
            args.extend([letter("e"), name(table), bytes(key), letter(is_there), bytes(value)]);
        }
        Step::Put { table, key, value } => args.extend([letter("p"), name(table), bytes(key), bytes(value)]),
        Step::Remove { table, key } => args.extend([letter("r"), name(table), bytes(key)]),
        Step::Schedule { table, row } => {
            let due = text(row.due.millis());
            args.extend([letter("s"), name(table), bytes(&row.key), bytes(&row.value), due]);
        }
        Step::Cancel { table, key } => args.extend([letter("c"), name(table), bytes(key)]),
        Step::TakeDue { table, until, limit } => {
            args.extend([letter("t"), name(table), text(until.millis()), count(*limit)]);
        }
        Step::SetCursor { name, value } => args.extend([letter("u"), text(name), number(*value)]),
        Step::Add { name, by } => args.extend([letter("a"), text(name), number(*by)]),
        Step::Append { stream, fields, keep } => {
            args.extend([letter("x"), text(stream), count(*keep), count(fields.len())]);
            args.extend(fields.iter().flat_map(|(name, value)| [text(name), bytes(value)]));
        }
        Step::PutPlaced { table, key, value, placed } => {
            let placed = match placed {
                Placed::BehindKey => "k",
                Placed::BehindKeyFalling => "f",
                Placed::BeforeValue => "v",
            };
            args.extend([letter("n"), name(table), bytes(key), bytes(value), letter(placed)]);
        }
    }
}

fn write_read(read: &Read, args: &mut Vec<Bytes>) {
    let letter = |letter: &'static str| Bytes::from_static(letter.as_bytes());
    match read {
        Read::Get { table, key } => args.extend([letter("g"), text(table), Bytes::copy_from_slice(key)]),
        Read::List { table, prefix, after, limit } => {
            let from = match after {
                Some(after) if after >= prefix => [b"(", &after[..]].concat(),
                _ => [b"[", &prefix[..]].concat(),
            };
            args.extend([letter("l"), text(table), from.into(), end_of(prefix), count(*limit)]);
        }
        Read::Due { table, until, limit } => {
            args.extend([letter("d"), text(table), text(until.millis()), count(*limit)]);
        }
        Read::DueKeys { table, until, limit } => {
            args.extend([letter("k"), text(table), text(until.millis()), count(*limit)]);
        }
        Read::Scheduled { table, key } => args.extend([letter("s"), text(table), Bytes::copy_from_slice(key)]),
        Read::Cursor { name } => args.extend([letter("c"), text(name)]),
        Read::Bytes { table } => args.extend([letter("b"), text(table)]),
    }
}

/// Where keys that begin with `prefix` end, as Redis writes it.
fn end_of(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else { return Bytes::from_static(b"+") };
    let mut end = [b"(", &prefix[..=last]].concat();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    end.into()
}

/// What is left of an answer.
struct Parts<'a>(&'a [Bytes]);

fn strange() -> StoreError {
    StoreError::damaged("an answer of redis cannot be read")
}

impl<'a> Parts<'a> {
    fn next(&mut self) -> Result<&'a Bytes, StoreError> {
        let (first, rest) = self.0.split_first().ok_or_else(strange)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        std::str::from_utf8(self.next()?).ok().and_then(|text| text.parse().ok()).ok_or_else(strange)
    }

    fn row(&mut self) -> Result<Row, StoreError> {
        Ok(Row { key: self.next()?.to_vec(), value: self.next()?.to_vec() })
    }

    fn due(&mut self) -> Result<Vec<Scheduled>, StoreError> {
        let count = self.number()?;
        let row = |_| {
            let due = Timestamp::from_millis(self.number()?);
            let Row { key, value } = self.row()?;
            Ok(Scheduled { due, key, value })
        };
        (0..count).map(row).collect()
    }

    fn found(&mut self, read: &Read) -> Result<Found, StoreError> {
        Ok(match read {
            Read::Get { .. } | Read::Scheduled { .. } => {
                let is_there = self.number()? == 1;
                Found::Value(is_there.then(|| self.next()).transpose()?.map(|value| value.to_vec()))
            }
            Read::List { .. } => {
                let count = self.number()?;
                Found::Rows((0..count).map(|_| self.row()).collect::<Result<_, _>>()?)
            }
            Read::Due { .. } | Read::DueKeys { .. } => Found::Due(self.due()?),
            Read::Cursor { .. } | Read::Bytes { .. } => Found::Number(self.number()?),
        })
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Late => Self::Late,
            CallError::Full => Self::Busy,
            error @ (CallError::NotCopied | CallError::Redis(_)) => Self::Unreachable(error.to_string().into()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
