//! Operations on messages: each is judged by what its message is, which the log may have to be asked for.
//!
//! Those that wait are carried out in their order. Plain messages do not wait for them.

use std::{collections::VecDeque, task::Poll};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::channels::{channel::Channel, commit_queue::Asker, shared::Publishing},
    core::{
        command::{Publish, Reply},
        message::Body,
        operation::MessageRef,
        stats::Source,
        versions::Needs,
    },
    error::Fault,
    limits,
    log::{MessageRead, StoreError},
};

/// What waits, oldest first.
#[derive(Default)]
pub(in crate::actors) struct Operations {
    waiting: VecDeque<Waiting>,
    /// The log has been asked for the message of the first.
    is_reading: bool,
}

struct Waiting {
    source: Source,
    publish: Publish,
    asker: Option<Asker>,
}

/// The message that the log was asked for.
#[derive(Message)]
#[rtype(result = "()")]
struct Learnt(MessageRead);

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading(Addr<Channel>, MessageRead);

impl Reading {
    fn finish(mut self, read: MessageRead) {
        self.1 = read;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let read = std::mem::replace(&mut self.1, Ok(None));
        self.0.do_send(Learnt(read));
    }
}

impl Operations {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The channel dies: the transports that wait for an answer. Requests notice that theirs was dropped.
    pub fn abandon(&mut self) -> impl Iterator<Item = Reply> + use<> {
        std::mem::take(&mut self.waiting).into_iter().filter_map(|waiting| match waiting.asker {
            Some(Asker::Transport(reply)) => Some(reply),
            Some(Asker::Request(_)) | None => None,
        })
    }
}

/// The message that has to be known before something can be published.
pub(super) fn target_of(publish: &Publish) -> Option<MessageRef> {
    match &publish.body {
        Body::Operation(operation) => Some(operation.target),
        _ => None,
    }
}

impl Channel {
    /// Publishes an operation when its turn comes, and answers it.
    pub(super) fn operate(&mut self, source: Source, publish: Publish, asker: Option<Asker>, ctx: &mut Context<Self>) {
        self.owed = None;
        let waiting = Waiting { source, publish, asker };
        if self.operations.len() >= limits::CHANNEL_HELD {
            return self.settle(waiting.asker, Err(Fault::Busy));
        }
        self.operations.waiting.push_back(waiting);
        self.go_on_operating(ctx);
    }

    /// Carries out those that have to wait no longer.
    pub(super) fn go_on_operating(&mut self, ctx: &mut Context<Self>) {
        while let Some(Waiting { publish, .. }) = self.operations.waiting.front()
            && !self.operations.is_reading
        {
            let Body::Operation(operation) = &publish.body else {
                return self.operate_first(Ok(()), ctx);
            };
            match self.state.versions.needs(operation) {
                Needs::Outcomes => return,
                Needs::Nothing => self.operate_first(Ok(()), ctx),
                Needs::Latest => {
                    let mut later = || -> Box<dyn FnOnce(MessageRead) + Send> {
                        let reading = Reading(ctx.address(), Err(StoreError::Closed));
                        Box::new(move |read| reading.finish(read))
                    };
                    match self.log.newest(operation.target, &mut later) {
                        Poll::Ready(read) => self.operate_by(read, ctx),
                        Poll::Pending => self.operations.is_reading = true,
                    }
                }
            }
        }
    }

    /// Carries out the first by what was read.
    fn operate_by(&mut self, read: MessageRead, ctx: &mut Context<Self>) {
        let known = read.map(|latest| latest.into_iter().for_each(|latest| self.state.versions.learn(latest)));
        let known = known.map_err(|error| {
            tracing::error!(%error, "a message cannot be read");
            error.to_fault()
        });
        self.operate_first(known, ctx);
    }

    fn operate_first(&mut self, known: Result<(), Fault>, ctx: &mut Context<Self>) {
        let Some(Waiting { source, publish, asker }) = self.operations.waiting.pop_front() else {
            return;
        };
        let target = target_of(&publish);
        let outcome = known.and_then(|()| self.publish(source, publish, ctx));
        if let Some(target) = target {
            self.state.versions.judged(target);
        }
        self.settle(asker, outcome);
    }

    fn settle(&mut self, asker: Option<Asker>, outcome: Result<Publishing, Fault>) {
        match (asker, outcome) {
            (Some(Asker::Transport(reply)), outcome) => self.conclude(reply, outcome),
            (Some(Asker::Request(asker)), Ok(publishing)) => self.tell_once_kept(asker, publishing),
            // The request may have ended.
            (Some(Asker::Request(asker)), Err(fault)) => drop(asker.send(Err(fault))),
            (None, _) => {}
        }
    }
}

impl Handler<Learnt> for Channel {
    type Result = ();

    fn handle(&mut self, Learnt(read): Learnt, ctx: &mut Self::Context) {
        self.operations.is_reading = false;
        self.operate_by(read, ctx);
        self.go_on_operating(ctx);
    }
}
