//! Messages that were changed or annotated, as Redis has them beside the log: so a message is found without reading all that
//! came after it.
//!
//! Of each such message a list of versions and one of annotations: `s`, place, what all up to there comes to (a version that has
//! the whole message, or a summary); behind it `e`, place, entry. They are written by the script that appends the entry, and go
//! when the stream no longer has the newest entry of them.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{Done, KEEP, Keys, MESSAGES, SharedLog, Written, counted, keys, understand, wire};
use crate::{
    core::{
        budget::Account,
        message::{Body, Entry},
        operation::{Change, Latest, MessageRef},
        serial::{Place, Serial},
        summaries::Annotated,
        summary::Summary,
    },
    engines::redis::Call,
    ids::{ChannelName, Timestamp},
    limits,
    log::{StoreError, disk::encoding},
};

/// What an append of this entry says of messages: keys, and arguments.
pub fn touches(keys: &Keys, entry: &Entry, is_whole: bool) -> (Vec<Vec<u8>>, Vec<Bytes>) {
    let targets = entry.touches().map(|(target, _)| name(target));
    match &entry.body {
        Body::Operation(_) => {
            let kind = Bytes::from_static(if is_whole { b"s" } else { b"e" });
            let targets: Vec<Bytes> = targets.collect();
            let lists = targets.iter().map(|target| list(keys.versions(), target)).collect();
            (lists, [kind].into_iter().chain(targets).collect())
        }
        _ => {
            let targets: Vec<Bytes> = targets.collect();
            let lists = targets.iter().map(|target| list(keys.annotations(), target)).collect();
            (lists, [Bytes::from_static(b"n")].into_iter().chain(targets).collect())
        }
    }
}

fn name(target: MessageRef) -> Bytes {
    let (place, index) = target.place();
    [&wire::place_bytes(place)[..], &index.to_be_bytes()].concat().into()
}

fn list(mut prefix: Vec<u8>, target: &[u8]) -> Vec<u8> {
    prefix.extend_from_slice(target);
    prefix
}

/// What the log has of one message.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Its own entry.
    own: Option<Arc<Entry>>,
    /// Oldest first, each with all before it but for those that were kept no longer.
    versions: Vec<Arc<Entry>>,
    /// What was counted up to a place, and the annotations behind it.
    counted: Option<(Place, Summary)>,
    annotations: Vec<Arc<Entry>>,
}

impl Touched {
    /// The message as it was before a place; none: as it is.
    pub fn latest(&self, target: MessageRef, before: Option<Place>) -> Option<Latest> {
        let is_before = |entry: &&Arc<Entry>| before.is_none_or(|before| entry.serial.place() < before);
        let is_known = |entry: &&Arc<Entry>| entry.operation().is_some_and(|operation| operation.is_complete());
        if let Some(newest) = self.versions.iter().rev().filter(is_before).find(is_known) {
            return Some(Latest { entry: Arc::clone(newest), index: 0 });
        }
        let (entry, index) = (self.own.clone()?, usize::from(target.index));
        (index < entry.messages().len()).then_some(Latest { entry, index })
    }

    /// The message and what its annotations come to.
    pub fn annotated(&self, target: MessageRef) -> Option<Annotated> {
        let mut annotated = Annotated::new(self.own.as_ref()?, target.index)?;
        if let Some((upto, summary)) = &self.counted {
            annotated = annotated.goes_on_from(*upto, summary.clone());
        }
        self.annotations.iter().for_each(|entry| annotated.apply(target, entry));
        Some(annotated)
    }

    fn read(
        channel: &ChannelName,
        target: MessageRef,
        account: &Account,
        own: &Bytes,
        lists: [&[Bytes]; 2],
    ) -> Option<Self> {
        let own = if own.is_empty() { None } else { Some(Written::parse(own.clone())?.link(channel)?.entry) };
        // Of another life of the log are those whose place is the same.
        if own.as_ref().is_some_and(|own| own.serial != target.serial) {
            return Some(Self::default());
        }
        let mut touched = Self { own, ..Self::default() };
        let [versions, annotations] = lists;
        for item in versions {
            let entry = Arc::new(entry_of(channel, target, item)?);
            if let (Some(operation), Some(before)) = (entry.operation(), touched.latest(target, None))
                && operation.change == Change::Append
            {
                operation.grow(&before, Some(account));
            }
            touched.versions.push(entry);
        }
        for item in annotations {
            match item.first()? {
                b's' => {
                    let place = wire::place(item.get(1..11)?)?;
                    touched.counted = Some((place, encoding::decode_summary(item.slice(11..))?));
                }
                _ => touched.annotations.push(Arc::new(entry_of(channel, target, item)?)),
            }
        }
        Some(touched)
    }
}

/// The entry of an item, by the message that it concerns.
fn entry_of(channel: &ChannelName, target: MessageRef, item: &Bytes) -> Option<Entry> {
    let place = wire::place(item.get(1..11)?)?;
    let mut entry = encoding::decode(channel, Serial::at(target.serial.epoch(), place), item.slice(11..))?;
    entry.timestamp = Timestamp::from_millis(place.0);
    Some(entry)
}

impl SharedLog {
    /// What the log has of these messages; of those that it has not it has nothing to say.
    pub fn messages(&self, channel: &ChannelName, targets: Vec<MessageRef>, done: Done<HashMap<MessageRef, Touched>>) {
        self.more_messages(channel.clone(), targets, HashMap::new(), done);
    }

    fn more_messages(
        &self,
        channel: ChannelName,
        mut targets: Vec<MessageRef>,
        mut known: HashMap<MessageRef, Touched>,
        done: Done<HashMap<MessageRef, Touched>>,
    ) {
        if targets.is_empty() {
            return done(Ok(known));
        }
        let keys = Keys::of(&channel);
        let mut args = vec![Bytes::from(limits::REPLICA_BYTES.to_string())];
        for target in &targets {
            args.extend([name(*target), keys::id(target.serial.place()).into()]);
        }
        let script_keys = [keys.log()[..2].to_vec(), vec![keys.versions(), keys.annotations()]].concat();
        let (log, account) = (self.clone(), self.0.memory.account(channel.app()));
        let read = move |answer: Result<Vec<Bytes>, _>| {
            let read = understand(answer, |parts| {
                let (mut rest, mut read) = (parts.get(1..)?, Vec::new());
                for target in &targets {
                    let Some((own, lists)) = rest.split_first() else { break };
                    let (versions, lists) = counted(lists)?;
                    let (annotations, others) = counted(lists)?;
                    read.push((*target, Touched::read(&channel, *target, &account, own, [versions, annotations])?));
                    rest = others;
                }
                Some(read)
            });
            match read {
                Err(error) => done(Err(error)),
                Ok(read) if read.is_empty() => done(Err(StoreError::damaged("redis has told nothing of a message"))),
                Ok(read) => {
                    targets.drain(..read.len());
                    known.extend(read);
                    log.more_messages(channel, targets, known, done);
                }
            }
        };
        self.0.reads.call(Call { script: MESSAGES, keys: script_keys, args, repeats: true, done: Box::new(read) });
    }

    /// Finds out what appends among these entries have made of their messages, where that does not follow from each other.
    pub(super) fn complete(
        &self,
        channel: &ChannelName,
        entries: Vec<Arc<Entry>>,
        done: impl FnOnce(Vec<Arc<Entry>>) + Send + 'static,
    ) {
        let is_open = |entry: &&Arc<Entry>| entry.operation().is_some_and(|operation| !operation.is_complete());
        let mut targets: Vec<_> = entries.iter().filter(is_open).flat_map(|entry| entry.touches()).collect();
        targets.sort_unstable();
        targets.dedup();
        let targets: Vec<_> = targets.into_iter().map(|(target, _)| target).collect();
        let account = self.0.memory.account(channel.app());
        let found = move |found: Result<HashMap<MessageRef, Touched>, StoreError>| {
            // What cannot be read is shown as it was appended.
            let found = found.unwrap_or_default();
            for entry in &entries {
                if let Some(operation) = entry.operation().filter(|operation| !operation.is_complete())
                    && let Some(touched) = found.get(&operation.target)
                    && let Some(before) = touched.latest(operation.target, Some(entry.serial.place()))
                {
                    operation.grow(&before, Some(&account));
                }
            }
            done(entries);
        };
        self.messages(channel, targets, Box::new(found));
    }

    /// What all versions or annotations of a message up to a place come to takes their place.
    pub(super) fn keep(&self, channel: &ChannelName, list: Listed, target: MessageRef, upto: Place, body: Vec<u8>) {
        let keys = Keys::of(channel);
        let prefix = match list {
            Listed::Versions => keys.versions(),
            Listed::Annotations => keys.annotations(),
        };
        let life = self.bounds(channel).0 + limits::HEAD_LIFE.as_millis();
        let args = vec![Bytes::copy_from_slice(&wire::place_bytes(upto)), body.into(), life.to_string().into()];
        let keys = vec![self::list(prefix, &name(target))];
        self.0.appends.call(Call { script: KEEP, keys, args, repeats: true, done: Box::new(drop) });
    }
}

/// Which list of a message.
#[derive(Clone, Copy)]
pub(super) enum Listed {
    Versions,
    Annotations,
}
