//! A message is stored (`docs/protocols/group.md §6`): known already? A number, its rows, and after the commit the ack and
//! the channel.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{AnswerTo, Groups};
use crate::{
    config::AckMode,
    core::{
        command::Publish,
        message::{EntryId, Message, Payload},
    },
    ids::ClientId,
    limits,
    older::group::{
        code::Code,
        delivery::Delivery,
        message::{GroupMessage, NEW_MESSAGE, digest, group_channel, message_id, to_json, uuid},
        reply::ReplyTo,
        repository::{self, Numbers},
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

/// A message on its way to disk.
pub(super) struct Pending(Mutex<State>);

struct State {
    outcome: Option<Result<(), Code>>,
    /// Those who have sent it.
    waiting: Vec<AnswerTo>,
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
        message.created_at = self.seconds();
        let is_fast = self.settings.ack_mode == AckMode::Fast;
        let waiting = if is_fast { Vec::new() } else { vec![answer.clone()] };
        let pending = Arc::new(Pending(Mutex::new(State { outcome: None, waiting })));
        if answer.id.is_empty() {
            message.message_id = uuid();
        } else {
            let digest = digest(&message.sender_id, &message.group_id, &answer.id, data);
            let day = self.clock.now().millis() / DAY_MILLIS;
            let [yesterday, today] = [day.saturating_sub(1), day].map(|day| message_id(&digest, day));
            let mut sending = self.sending.lock();
            for id in [&yesterday, &today] {
                if let Some(known) = sending.get(id) {
                    return known.join(id, answer, is_fast);
                }
            }
            if let Some(known) =
                self.known(&[yesterday, today.clone()], &digest).map_err(|error| self.to_code(&error))?
            {
                return Ok(Sent::Now(known));
            }
            sending.insert(today.clone(), Arc::clone(&pending));
            message.message_id = today;
        }
        let id = message.message_id.clone();
        let (sent, json) = (id.clone(), to_json(&message));
        let outgoing = self.bus.as_ref().map(|bus| bus.message(json.clone(), &id)).transpose();
        match outgoing {
            Ok(outgoing) => {
                let groups = Arc::clone(self);
                self.store(message, json, outgoing, move |outcome| {
                    let outcome = outcome.map_err(|error| groups.not_stored(error));
                    groups.settle(&pending, &id, outcome);
                });
            }
            Err(error) => {
                if let Some(more) = self.warning.allows(&self.clock) {
                    tracing::error!(%error, more, "a group message is refused");
                }
                self.settle(&pending, &id, Err(Code::NotStored));
            }
        }
        Ok(if is_fast { Sent::Now(sent) } else { Sent::Later })
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

    /// Gives a message its number, writes it, and publishes it after the commit; `done` comes before that.
    pub(super) fn store(
        self: &Arc<Self>,
        message: GroupMessage,
        json: String,
        mut outgoing: Option<Outgoing>,
        done: impl FnOnce(Result<(), &StoreError>) + Send + 'static,
    ) {
        let (groups, came) = (Arc::clone(self), self.clock.uptime());
        let mut numbers = self.numbers.lock();
        let (number, batch) = numbers.give(self.clock.now(), Batch::new());
        let mut batch = repository::put_message(batch, number, &message, &json);
        if let Some(outgoing) = &mut outgoing {
            batch = outgoing.row(batch);
        }
        let committed = move |outcome: &Result<_, StoreError>| {
            // First, so that its sender knows by its id what then comes to it as to the others.
            done(outcome.as_ref().map(|_| ()));
            if outcome.is_ok() {
                groups.numbers.lock().committed(number);
                groups.counters.stored(groups.clock.uptime().saturating_sub(came));
                groups.publish(&message, json, EntryId::Frame { connection: groups.publisher, msg_serial: number });
                if let Some(outgoing) = outgoing {
                    outgoing.send();
                }
            }
        };
        // Under the lock, so that commits are in the order of numbers. When the store refuses at once, what is called
        // takes no other lock of ours than those of the message itself.
        drop(self.repository.commit_then(batch, committed));
        drop(numbers);
    }

    /// Brings a message, whose JSON is `json`, to the channel of its group.
    pub(super) fn publish(&self, message: &GroupMessage, json: String, id: EntryId) {
        let content = Message {
            name: NEW_MESSAGE.into(),
            payload: Payload::json(json.into()),
            client_id: ClientId::new(&*message.sender_id),
            extras: None,
        };
        let delivery = Delivery::Publish(Box::new(Publish::message(id, content)));
        self.deliveries.push(group_channel(&message.group_id), delivery);
    }

    /// Answers those who wait for a message.
    fn settle(&self, pending: &Pending, id: &str, outcome: Result<(), Code>) {
        let waiting = {
            let mut state = pending.0.lock();
            state.outcome = Some(outcome.clone());
            std::mem::take(&mut state.waiting)
        };
        for answer in waiting {
            self.answer(&answer, id, &outcome);
        }
        self.sending.lock().remove(id);
    }

    /// Acknowledges `about`, or says why not.
    pub fn answer(&self, AnswerTo { handle, id }: &AnswerTo, about: &str, outcome: &Result<(), Code>) {
        let reply = ReplyTo { id, now: self.clock.now() };
        handle.send(match outcome {
            Ok(()) => vec![reply.ack(about, true)],
            Err(code) => {
                self.counters.refused(code);
                vec![reply.error(code), reply.ack(id, false)]
            }
        });
    }
}

impl Pending {
    /// Somebody has sent the same again.
    fn join(&self, id: &str, answer: AnswerTo, is_fast: bool) -> Result<Sent, Code> {
        let mut state = self.0.lock();
        match &state.outcome {
            Some(Err(code)) => Err(code.clone()),
            None if !is_fast => {
                state.waiting.push(answer);
                Ok(Sent::Later)
            }
            Some(Ok(())) | None => Ok(Sent::Now(id.to_owned())),
        }
    }
}
