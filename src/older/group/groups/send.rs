//! A message is stored (`docs/protocols/group.md §6`): known already? A number, its rows, and after the commit the ack and
//! the channel.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytestring::ByteString;

use super::{AnswerTo, Delivery, Groups, Storing};
use crate::{
    config::AckMode,
    core::{
        command::Publish,
        message::{EntryId, Message, Payload},
    },
    ids::{ChannelName, ClientId},
    limits,
    older::group::{
        code::Code,
        message::{GroupMessage, NEW_MESSAGE, digest, group_channel, message_id, to_json, uuid},
        reply::ReplyTo,
        repository::{self, At, Numbers},
        streams::Outgoing,
    },
    store::{Batch, StoreError},
};

const DAY_MILLIS: u64 = 24 * 3_600 * 1_000;

/// What became of a message at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The answer comes after the commit.
    Later,
    /// Acknowledged by this id.
    Now(String),
}

impl Groups {
    /// Stores a message of `message.sender_id`, who is answered when that is done. `data` is how the client wrote it: the
    /// same again within a day is the same message (§6, dedupe).
    pub fn send(self: &Arc<Self>, mut message: GroupMessage, data: &str, mut answer: AnswerTo) -> Result<Sent, Code> {
        self.check_room()?;
        if self.deliveries.is_full(&group_channel(&message.group_id)) {
            return Err(Code::NotStored);
        }
        if let Some(sender) = self.membership.read().member(&message.group_id, &message.sender_id) {
            (message.sender_name, message.sender_avatar) = (sender.name.clone(), sender.avatar.clone());
        }
        message.created_at = self.seconds();
        let is_fast = self.settings.ack_mode == AckMode::Fast;
        // By which it may be known.
        let mut names = Vec::new();
        let id = {
            let mut storing = self.storing.lock();
            let id = if answer.id.is_empty() {
                uuid()
            } else {
                let digest = digest(&message.sender_id, &message.group_id, &answer.id, data);
                let day = self.clock.now().millis() / DAY_MILLIS;
                let ids = [day.saturating_sub(1), day].map(|day| message_id(&digest, day));
                for id in &ids {
                    if let Some(known) = storing.get_mut(id) {
                        if is_fast {
                            return Ok(Sent::Now(id.clone()));
                        }
                        if self.answering.load(Ordering::Relaxed) >= limits::GROUP_OUTSTANDING {
                            return Err(Code::NotStored);
                        }
                        self.answering.fetch_add(1, Ordering::Relaxed);
                        known.waiting.push(answer);
                        return Ok(Sent::Later);
                    }
                }
                if !self.is_shared()
                    && let Some(known) = self.read(self.sent_before(&ids, &digest))?
                {
                    return Ok(Sent::Now(known));
                }
                names = ids.to_vec();
                let [_, today] = ids;
                today
            };
            if storing.len().max(self.answering.load(Ordering::Relaxed)) >= limits::GROUP_OUTSTANDING {
                return Err(Code::NotStored);
            }
            let _charge = answer.charge.take_if(|_| is_fast);
            let waiting = if is_fast { Vec::new() } else { vec![answer] };
            self.answering.fetch_add(waiting.len(), Ordering::Relaxed);
            storing.insert(id.clone(), Storing { waiting, _charge });
            id
        };
        message.message_id.clone_from(&id);
        if self.is_shared() {
            self.store_once(message, names);
            return Ok(if is_fast { Sent::Now(id) } else { Sent::Later });
        }
        let json = ByteString::from(to_json(&message));
        match self.bus.as_ref().map(|bus| bus.message(json.to_string(), &id)).transpose() {
            Ok(outgoing) => {
                let (groups, id) = (Arc::clone(self), id.clone());
                self.store(&message, json, outgoing, move |outcome| groups.settle(&id, &outcome));
            }
            Err(error) => {
                if let Some(more) = self.warning.allows(&self.clock) {
                    tracing::error!(%error, more, "a group message is refused");
                }
                self.settle(&id, &Err(Code::NotStored));
            }
        }
        Ok(if is_fast { Sent::Now(id) } else { Sent::Later })
    }

    /// Which of these ids is that of a message of the last 24 hours, if one is.
    fn sent_before(&self, ids: &[String], digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
        for id in ids {
            if let Some((number, _)) = self.repository.find(id)?
                && self.is_recent(number)
            {
                return Ok(Some(id.clone()));
            }
        }
        self.repository.seen(digest)
    }

    fn is_recent(&self, number: u64) -> bool {
        let age = self.clock.now().millis().saturating_sub(Numbers::time_of(number).millis());
        age < limits::GROUP_SEEN.as_millis() as u64
    }

    /// Writes a message into the store of all nodes and appends it to their stream, by which it comes to the channel at each of
    /// them, unless one of `names` says that it is there.
    fn store_once(self: &Arc<Self>, message: GroupMessage, names: Vec<String>) {
        let (came, id, json) = (self.clock.uptime(), message.message_id.clone(), to_json(&message));
        // Nothing waits for a place in the batch.
        let outgoing = self.bus.as_ref().and_then(|bus| bus.message(json.clone(), &id).ok());
        let batch = names.iter().fold(Batch::new(), |batch, name| repository::expect_new(batch, name));
        let batch = repository::put_message(batch, At::Place, &message, &json);
        drop(self.commit(batch, outgoing, move |groups, outcome| {
            if outcome == Err(&StoreError::Changed) {
                return groups.find_sent(message, names);
            }
            if outcome.is_ok() {
                groups.count_stored(came);
            }
            groups.settle(&id, &outcome.map_err(|error| groups.not_stored(error)));
        }));
    }

    /// A message is known by one of `names`, unless that is too old.
    fn find_sent(self: &Arc<Self>, message: GroupMessage, names: Vec<String>) {
        let (groups, asked) = (Arc::clone(self), names.clone());
        self.repository.find_all(&asked, move |found| {
            let id = message.message_id.clone();
            let is_recent =
                |found: &Option<(u64, String)>| found.as_ref().is_some_and(|(number, _)| groups.is_recent(*number));
            let known = found.map(|found| found.iter().position(is_recent).and_then(|at| names.get(at)));
            match known {
                Ok(Some(known)) => groups.settle_as(&id, known, &Ok(())),
                Ok(None) if names.len() > 1 => groups.store_once(message, vec![id]),
                Ok(None) => groups.settle(&id, &Err(Code::NotStored)),
                Err(error) => groups.settle(&id, &Err(groups.not_stored(&error))),
            }
        });
    }

    fn count_stored(&self, came: Duration) {
        let took = self.clock.uptime().saturating_sub(came);
        self.counters.count(|figures| {
            figures.stored += 1;
            figures.storing += took;
        });
    }

    /// Writes a message under a new number and publishes it after the commit; `done` comes before that, so that its sender knows by
    /// its id what then comes to it as to the others.
    pub(super) fn store(
        self: &Arc<Self>,
        message: &GroupMessage,
        json: ByteString,
        outgoing: Option<Outgoing>,
        done: impl FnOnce(Result<(), Code>) + Send + 'static,
    ) {
        let (came, channel, sender) =
            (self.clock.uptime(), group_channel(&message.group_id), ClientId::new(&*message.sender_id));
        let content = json.clone();
        let put = |batch, number| repository::put_message(batch, At::Number(number), message, &json);
        let then = move |groups: &Arc<Self>, number, outcome: Result<(), &StoreError>| {
            let outcome = outcome.map_err(|error| groups.not_stored(error));
            let is_stored = outcome.is_ok();
            done(outcome);
            if is_stored {
                groups.count_stored(came);
                groups.publish(channel, sender, content, groups.entry_id(number));
            }
        };
        drop(self.commit_numbered(put, outgoing, then));
    }

    /// Names a message among the entries of its channel, and tells its number.
    pub(super) const fn entry_id(&self, number: u64) -> EntryId {
        EntryId::Frame { connection: self.publisher, msg_serial: number }
    }

    /// Brings the JSON of a message to the channel of its group.
    pub(super) fn publish(&self, channel: ChannelName, client_id: Option<ClientId>, json: ByteString, id: EntryId) {
        let content = Message { name: NEW_MESSAGE.into(), payload: Payload::json(json), client_id, extras: None };
        self.deliveries.push(channel, Delivery::Publish(Box::new(Publish::message(id, content))));
    }

    /// A message is on disk, or is not: answers those who have sent it.
    pub(super) fn settle(&self, id: &str, outcome: &Result<(), Code>) {
        self.settle_as(id, id, outcome);
    }

    /// The same of one that is known by the id `known`.
    fn settle_as(&self, id: &str, known: &str, outcome: &Result<(), Code>) {
        loop {
            let waiting = {
                let mut storing = self.storing.lock();
                let waiting = storing.get_mut(id).map(|one| mem::take(&mut one.waiting)).unwrap_or_default();
                if waiting.is_empty() {
                    // Only now: what comes to them by the channel waits for that.
                    storing.remove(id);
                    break;
                }
                waiting
            };
            self.answering.fetch_sub(waiting.len(), Ordering::Relaxed);
            waiting.iter().for_each(|answer| self.answer(answer, known, outcome));
        }
        if let Some(nodes) = &self.nodes {
            nodes.note_settled();
        }
    }

    /// Acknowledges `about`, or says why not.
    pub fn answer(&self, AnswerTo { handle, id, .. }: &AnswerTo, about: &str, outcome: &Result<(), Code>) {
        let reply = ReplyTo { id, now: self.clock.now() };
        handle.send(match outcome {
            Ok(()) => vec![reply.ack(about, true)],
            Err(code) => {
                self.counters.refused(code);
                let failed = code.is_failure().then(|| reply.ack(id, false));
                [reply.error(code, None)].into_iter().chain(failed).collect()
            }
        });
    }
}
