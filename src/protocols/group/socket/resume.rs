//! What a client missed while it was away (`docs/protocols/group.md §6`, resume).

use std::collections::HashSet;

use bytes::Bytes;

use super::{NO_ROOM, Socket};
use crate::{
    actors::link::Link,
    ids::{ChannelName, Timestamp},
    limits,
    protocols::group::{
        code::Code,
        forum::Missed,
        reply::{Reply, Resumed, new_message},
    },
};

/// A client that has said which message it had last, until it has got the rest.
pub struct Resuming {
    /// What it calls its request.
    id: String,
    last: String,
    /// Channels that have not answered yet.
    awaited: HashSet<ChannelName>,
    /// What comes meanwhile.
    held: Vec<(Option<u64>, Bytes)>,
    is_too_much: bool,
}

impl Resuming {
    pub fn new(id: &str, last: &str, channels: Vec<ChannelName>) -> Self {
        Self {
            id: id.to_owned(),
            last: last.to_owned(),
            awaited: channels.into_iter().collect(),
            held: Vec::new(),
            is_too_much: false,
        }
    }

    pub fn hold(&mut self, number: Option<u64>, frame: Bytes) {
        if self.held.len() < limits::GROUP_HELD {
            self.held.push((number, frame));
        } else {
            self.is_too_much = true;
        }
    }
}

impl Socket {
    /// A channel has answered: when all have, nothing is missed from here on, and what was can be sent.
    pub(super) fn note_answer(&mut self, channel: &ChannelName, link: &mut Link<'_>) {
        let Some(resuming) = &mut self.resuming else {
            return;
        };
        resuming.awaited.remove(channel);
        if resuming.awaited.is_empty()
            && let Some(resuming) = self.resuming.take()
        {
            self.catch_up(resuming, link);
        }
    }

    fn catch_up(&mut self, resuming: Resuming, link: &mut Link<'_>) {
        let Some(user) = self.user() else { return };
        if resuming.is_too_much {
            return link.close(NO_ROOM);
        }
        let reply = Reply { id: &resuming.id, now: link.now() };
        match self.missed(&user, &resuming.last) {
            Ok(Missed { messages, has_more }) => {
                let resumed = Resumed { missed: messages.len(), has_more };
                link.send_frame(reply.auth_success(&user, Some(resumed)));
                for message in messages {
                    let then = Timestamp::from_millis(message.created.saturating_mul(1_000));
                    link.send_missed(new_message(&message.json, then));
                    self.sent.insert(message.number);
                }
            }
            Err(code) => {
                link.send_frame(reply.auth_success(&user, None));
                self.refuse(code, &resuming.id, link);
            }
        }
        for (number, frame) in resuming.held {
            if !number.is_some_and(|number| self.sent.remove(&number)) {
                link.send_frame(frame);
            }
        }
    }

    fn missed(&self, user: &str, last: &str) -> Result<Missed, Code> {
        let forum = &self.shared.forum;
        let (number, group) = forum.find(last)?;
        // As if it were not there: whoever is no member has not got it from us.
        forum.check_member(&group, user).map_err(|_| Code::NoMessage)?;
        forum.missed(user, number, limits::GROUP_RESUMED)
    }
}
