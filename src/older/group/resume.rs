//! What a client missed while it was away (`docs/protocols/group.md §6`, resume).

use std::{collections::HashSet, sync::Arc};

use actix_web::rt;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    actors::{accounts::Charge, transport::context::TransportContext},
    error::CloseReason,
    ids::{ChannelName, Timestamp},
    limits,
    older::group::{
        code::Code,
        groups::Missed,
        reply::{ReplyTo, new_message},
        repository::StoredMessage,
        socket::{NO_ROOM, Socket},
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
    /// For that; none where nobody pays.
    charge: Option<Charge>,
    /// Why something was not held.
    too_much: Option<CloseReason>,
    /// What was missed, while it is read.
    found: Option<oneshot::Receiver<Result<Missed, Code>>>,
}

impl Resuming {
    /// `charge` pays for what comes meanwhile.
    pub fn new(id: &str, last: String, channels: Vec<ChannelName>, charge: Option<Charge>) -> Self {
        let (id, awaited) = (id.to_owned(), channels.into_iter().collect());
        Self { id, last, awaited, held: Vec::new(), charge, too_much: None, found: None }
    }

    pub fn hold(&mut self, number: Option<u64>, frame: Bytes) {
        let paid = self.charge.as_mut().map_or(Ok(()), |charge| charge.set(charge.bytes() + frame.len()));
        match paid {
            Err(full) => self.too_much = Some(full.to_close_reason()),
            Ok(()) if self.held.len() == limits::GROUP_HELD => self.too_much = Some(NO_ROOM),
            Ok(()) => self.held.push((number, frame)),
        }
    }
}

impl Socket {
    /// A channel has answered: when all have, nothing is missed from here on, and what was can be read.
    pub(super) fn note_attached(&mut self, channel: &ChannelName, transport: &TransportContext<'_>) {
        let Ok(user) = self.user() else { return };
        let Some(resuming) = &mut self.resuming else { return };
        if !resuming.awaited.remove(channel) || !resuming.awaited.is_empty() {
            return;
        }
        // Up to thousands of groups: beside this thread. What comes meanwhile is held.
        let (groups, last, handle) = (Arc::clone(&self.shared.groups), resuming.last.clone(), transport.handle());
        let (read, found) = oneshot::channel();
        resuming.found = Some(found);
        rt::spawn(async move {
            // Nobody takes it any more when the connection has ended.
            let _ = read.send(groups.beside(move |groups| groups.missed_since(&user, &last)).await);
            handle.nudge();
        });
    }

    /// Sends what was missed, if it has been read.
    pub(super) fn catch_up(&mut self, transport: &mut TransportContext<'_>) {
        let found = self.resuming.as_mut().and_then(|resuming| resuming.found.as_mut()?.try_recv().ok());
        let (Some(found), Ok(user)) = (found, self.user()) else { return };
        let Some(resuming) = self.resuming.take() else { return };
        if let Some(reason) = resuming.too_much {
            return transport.close(reason);
        }
        let reply = ReplyTo { id: &resuming.id, now: transport.now() };
        transport.send_frame(reply.auth_success(&user, found.as_ref().ok()));
        match found {
            Ok(Missed { messages, .. }) => {
                self.sent.extend(messages.iter().map(|message| message.number));
                let frame = |message: StoredMessage| {
                    let then = Timestamp::from_millis(message.created.saturating_mul(1_000));
                    new_message(&message.json, then)
                };
                transport.send_missed(messages.into_iter().map(frame).collect());
            }
            Err(code) => self.refuse(&code, &resuming.id, transport),
        }
        for (number, frame) in resuming.held {
            if !number.is_some_and(|number| self.sent.remove(&number)) {
                transport.send_frame(frame);
            }
        }
    }
}
