//! A message is stored (`docs/protocols/group.md §6`): known already? A number, its rows, and after the commit the ack and
//! the channel.

use std::sync::{Arc, atomic::Ordering};

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
        repository::{self, Numbers},
        streams::Outgoing,
    },
    store::StoreError,
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
    pub fn send(self: &Arc<Self>, mut message: GroupMessage, data: &str, answer: AnswerTo) -> Result<Sent, Code> {
        if self.deliveries.is_full(&group_channel(&message.group_id)) {
            return Err(Code::NotStored);
        }
        if let Some(sender) = self.membership.read().member(&message.group_id, &message.sender_id) {
            (message.sender_name, message.sender_avatar) = (sender.name.clone(), sender.avatar.clone());
        }
        let bus = self.bus.as_ref();
        if bus.is_some_and(|bus| bus.is_ordered() && !bus.is_up()) {
            return Err(Code::NotStored);
        }
        message.created_at = self.seconds();
        let is_fast = self.settings.ack_mode == AckMode::Fast;
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
                if let Some(known) = self.read(self.known(&ids, &digest))? {
                    return Ok(Sent::Now(known));
                }
                let [_, today] = ids;
                today
            };
            if storing.len().max(self.answering.load(Ordering::Relaxed)) >= limits::GROUP_OUTSTANDING {
                return Err(Code::NotStored);
            }
            let waiting = if is_fast { Vec::new() } else { vec![answer] };
            self.answering.fetch_add(waiting.len(), Ordering::Relaxed);
            let since = self.clock.uptime();
            storing.insert(id.clone(), Storing { waiting, is_written: !self.is_ordered(), since });
            id
        };
        message.message_id.clone_from(&id);
        let json = ByteString::from(to_json(&message));
        match bus.map(|bus| bus.message(json.to_string(), &id)).transpose() {
            // It is stored when it comes back, in the order that it has then.
            Ok(Some(outgoing)) if self.is_ordered() => outgoing.send(),
            Ok(outgoing) => {
                let (groups, id) = (Arc::clone(self), id.clone());
                self.store(&message, json, outgoing, None, move |outcome| groups.settle(&id, &outcome));
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
    fn known(&self, ids: &[String], digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let now = self.clock.now().millis();
        for id in ids {
            if let Some((number, _)) = self.repository.find(id)?
                && now.saturating_sub(Numbers::time_of(number).millis()) < limits::GROUP_SEEN.as_millis() as u64
            {
                return Ok(Some(id.clone()));
            }
        }
        self.repository.seen(digest)
    }

    /// Writes a message, under a new number or one that it has, and publishes it after the commit; `done` comes before that, so that its sender knows by its id what
    /// then comes to it as to the others.
    pub(super) fn store(
        self: &Arc<Self>,
        message: &GroupMessage,
        json: ByteString,
        outgoing: Option<Outgoing>,
        number: Option<u64>,
        done: impl FnOnce(Result<(), Code>) + Send + 'static,
    ) {
        let (came, channel, sender) =
            (self.clock.uptime(), group_channel(&message.group_id), ClientId::new(&*message.sender_id));
        let content = json.clone();
        let put = |batch, number| repository::put_message(batch, number, message, &json);
        let then = move |groups: &Arc<Self>, number, outcome: Result<(), &StoreError>| {
            let outcome = outcome.map_err(|error| groups.not_stored(error));
            let is_stored = outcome.is_ok();
            done(outcome);
            if is_stored {
                let took = groups.clock.uptime().saturating_sub(came);
                groups.counters.count(|figures| {
                    figures.stored += 1;
                    figures.storing += took;
                });
                let id = EntryId::Frame { connection: groups.publisher, msg_serial: number };
                groups.publish(channel, sender, content, id);
            }
        };
        drop(match number {
            None => self.commit_numbered(put, outgoing, then),
            Some(number) => self.commit_at(number, put, then),
        });
    }

    /// Brings the JSON of a message to the channel of its group.
    pub(super) fn publish(&self, channel: ChannelName, client_id: Option<ClientId>, json: ByteString, id: EntryId) {
        let content = Message { name: NEW_MESSAGE.into(), payload: Payload::json(json), client_id, extras: None };
        self.deliveries.push(channel, Delivery::Publish(Box::new(Publish::message(id, content))));
    }

    /// A message is on disk, or is not: answers those who have sent it.
    pub(super) fn settle(&self, id: &str, outcome: &Result<(), Code>) {
        let settled = self.storing.lock().remove(id).unwrap_or_default();
        self.answer_all(id, &settled, outcome);
    }

    /// Refuses what the stream has not given back in time: Redis may have lost it. If it comes all the same it is
    /// stored, and whoever sends it again with its id is then told so.
    pub(super) fn give_up(&self) {
        let now = self.clock.uptime();
        let is_lost =
            |storing: &Storing| !storing.is_written && now.saturating_sub(storing.since) >= limits::GROUP_RETURN;
        let lost: Vec<(String, Storing)> = self.storing.lock().extract_if(|_, storing| is_lost(storing)).collect();
        if !lost.is_empty() {
            tracing::warn!(messages = lost.len(), "group messages are refused: the stream has not given them back");
        }
        for (id, settled) in &lost {
            self.answer_all(id, settled, &Err(Code::NotStored));
        }
    }

    fn answer_all(&self, id: &str, settled: &Storing, outcome: &Result<(), Code>) {
        self.answering.fetch_sub(settled.waiting.len(), Ordering::Relaxed);
        for answer in &settled.waiting {
            self.answer(answer, id, outcome);
        }
    }

    /// Acknowledges `about`, or says why not.
    pub fn answer(&self, AnswerTo { handle, id }: &AnswerTo, about: &str, outcome: &Result<(), Code>) {
        let reply = ReplyTo { id, now: self.clock.now() };
        handle.send(match outcome {
            Ok(()) => vec![reply.ack(about, true)],
            Err(code) => {
                self.counters.refused(code);
                vec![reply.error(code, None), reply.ack(id, false)]
            }
        });
    }
}
