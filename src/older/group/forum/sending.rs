//! Taking a message in (`docs/protocols/group.md §6`): known already? A number, a row, and after the commit the channel and
//! the ack.

use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::{Forum, Line};
use crate::{
    actors::fanout::hub::TransportHandle,
    config::AckMode,
    core::message::{EntryId, Message, Payload},
    ids::{ClientId, Timestamp},
    limits,
    older::group::{
        code::Code,
        courier::Parcel,
        frame::Draft,
        post::{NEW_MESSAGE, Post, Sender, group_channel},
        reply::Reply,
        shelf::{self, Digest},
        streams::Outgoing,
    },
    store::{Batch, StoreError},
};

/// Where the ack goes.
#[derive(Clone)]
pub struct Answer {
    pub handle: TransportHandle,
    /// What the client calls its message; empty = nothing.
    pub id: String,
}

/// What became of a message at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The answer comes by the peer.
    Later,
    /// Acknowledged by this id.
    Now(String),
}

/// A message on its way to disk.
pub(super) struct Pending {
    message_id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<(), Code>>,
    /// Those who have sent it.
    waiting: Vec<Answer>,
}

impl Forum {
    /// Takes a message in. `data` is how the client wrote it: the same again is the same message (§6, dedupe).
    ///
    /// # Errors
    /// Why not; nothing was stored.
    pub fn send(self: &Arc<Self>, draft: Draft, user: &str, data: &str, answer: Answer) -> Result<Sent, Code> {
        if self.courier.is_full(&group_channel(&draft.group)) {
            return Err(Code::NotStored);
        }
        let is_fast = self.settings.ack_mode == AckMode::Fast;
        let digest = (!answer.id.is_empty()).then(|| digest(user, &draft.group, &answer.id, data));
        let sender = self.sender(&draft.group, user);
        let post = Post::of(draft, sender, self.seconds());
        let message_id = post.message_id.clone();
        let waiting = if is_fast { Vec::new() } else { vec![answer.clone()] };
        let pending =
            Arc::new(Pending { message_id: message_id.clone(), state: Mutex::new(State { outcome: None, waiting }) });
        if let Some(digest) = &digest {
            let mut sending = self.sending.lock();
            if let Some(known) = sending.get(digest) {
                return known.join(answer, is_fast);
            }
            if let Some(known) = self.shelf.seen(digest).map_err(|error| self.told(&error))? {
                return Ok(Sent::Now(known));
            }
            sending.insert(*digest, Arc::clone(&pending));
        }
        self.store(post, digest, pending);
        Ok(if is_fast { Sent::Now(message_id) } else { Sent::Later })
    }

    fn store(self: &Arc<Self>, post: Post, digest: Option<Digest>, pending: Arc<Pending>) {
        // Cannot fail: texts and numbers.
        let json = serde_json::to_string(&post).unwrap_or_default();
        let outgoing = match self.bus() {
            Some(bus) => match bus.message(json.clone(), &post.message_id) {
                Ok(outgoing) => Some(outgoing),
                Err(error) => {
                    if let Some(more) = self.warning.allows(&self.clock) {
                        tracing::error!(%error, more, "a group message is refused");
                    }
                    return self.settle(&pending, digest.as_ref(), Err(Code::NotStored));
                }
            },
            None => None,
        };
        let forum = Arc::clone(self);
        let until = self.clock.now().millis() + millis(limits::GROUP_SEEN);
        let seen = digest.map(|digest| (digest, Timestamp::from_millis(until)));
        self.number(post, json, seen, outgoing, move |outcome| {
            let outcome = outcome.map_err(|error| forum.not_stored(&error));
            forum.settle(&pending, digest.as_ref(), outcome);
        });
    }

    /// Gives a message its number, writes it, and publishes it after the commit; then tells.
    pub(super) fn number(
        self: &Arc<Self>,
        post: Post,
        json: String,
        seen: Option<(Digest, Timestamp)>,
        outgoing: Option<Outgoing>,
        told: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let mut line = self.line.lock();
        let number = line.last + 1;
        line.last = number;
        let mut batch = shelf::put_message(Batch::new(), number, &post, &json);
        batch = line.note_hour(batch, self.seconds() / 3_600, number);
        if let Some((digest, until)) = &seen {
            batch = shelf::put_seen(batch, digest, &post.message_id, *until);
        }
        let mut outgoing = outgoing;
        if let Some(outgoing) = &mut outgoing {
            batch = outgoing.row(batch);
        }
        let (forum, came) = (Arc::clone(self), self.clock.uptime());
        let done = Box::new(move |outcome: Result<_, StoreError>| {
            let stored = outcome.map(drop);
            // First, so that its sender knows by its id what then comes to it as to the others.
            told(stored.clone());
            if stored.is_ok() {
                let after = forum.clock.uptime().saturating_sub(came);
                forum.figures.stored(after);
                forum.publish(&post, json, number);
                if let Some(outgoing) = outgoing {
                    outgoing.send();
                }
            }
        });
        // Under the lock, so that commits are in the order of numbers; told at once it takes no lock of ours but
        // those of the message itself.
        self.shelf.submit(batch, done);
    }

    fn publish(&self, post: &Post, json: String, number: u64) {
        self.courier.hand_over(Parcel::Publish {
            channel: group_channel(&post.group_id),
            id: EntryId::Frame { connection: self.postmark, msg_serial: number },
            message: message(post, json),
            is_ephemeral: false,
        });
    }

    /// Tells those who wait for it.
    fn settle(&self, pending: &Pending, digest: Option<&Digest>, outcome: Result<(), Code>) {
        let waiting = {
            let mut state = pending.state.lock();
            state.outcome = Some(outcome);
            std::mem::take(&mut state.waiting)
        };
        let now = self.clock.now();
        for Answer { handle, id } in waiting {
            let reply = Reply { id: &id, now };
            let frames = match outcome {
                Ok(()) => vec![reply.ack(&pending.message_id, true)],
                Err(code) => {
                    self.figures.refused(code);
                    vec![reply.error(code), reply.ack(&id, false)]
                }
            };
            handle.send(frames);
        }
        if let Some(digest) = digest {
            self.sending.lock().remove(digest);
        }
    }

    /// Who a member is to the others of its group.
    fn sender(&self, group: &str, user: &str) -> Sender {
        let registry = self.registry.read();
        let member = registry.member(group, user);
        let (name, avatar) =
            member.map_or_else(Default::default, |member| (member.name.clone(), member.avatar.clone()));
        Sender { id: user.to_owned(), name, avatar }
    }
}

impl Pending {
    /// Somebody has sent the same again.
    fn join(&self, answer: Answer, is_fast: bool) -> Result<Sent, Code> {
        let mut state = self.state.lock();
        match state.outcome {
            Some(Err(code)) => Err(code),
            None if !is_fast => {
                state.waiting.push(answer);
                Ok(Sent::Later)
            }
            Some(Ok(())) | None => Ok(Sent::Now(self.message_id.clone())),
        }
    }
}

impl Line {
    fn note_hour(&mut self, batch: Batch, hour: u64, number: u64) -> Batch {
        // A clock that was set back adds no hour behind the last one.
        if self.hours.range(hour..).next().is_some() {
            return batch;
        }
        self.hours.insert(hour, number);
        shelf::put_hour(batch, hour, number)
    }
}

/// What stands for a post on its channel; `json` is the post.
pub(super) fn message(post: &Post, json: String) -> Message {
    Message {
        name: NEW_MESSAGE.into(),
        payload: Payload::json(json.into()),
        client_id: ClientId::new(&*post.sender_id),
        extras: None,
    }
}

/// The same user sends the same to the same group by the same name.
fn digest(user: &str, group: &str, id: &str, data: &str) -> Digest {
    let mut hash = Sha256::new();
    for part in [user, group, id, data] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
