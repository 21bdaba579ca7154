//! Operations on messages: each is judged by what its message is, which the log may have to be asked for.
//!
//! Those that wait are carried out in their order. Plain messages do not wait for them.

use std::{collections::VecDeque, task::Poll};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::{
        accounts::{Charge, Kind},
        channels::{channel::Channel, commit_queue::Asker, shared::Publishing},
    },
    core::{
        command::{Publish, Reply},
        message::Body,
        operation::MessageRef,
        stats::Source,
        versions::Needs,
    },
    error::Fault,
    limits,
    log::{AnnotatedRead, MessageRead, ObjectsRead, StoreError},
};

/// What waits, oldest first.
#[derive(Default)]
pub(in crate::actors) struct Operations {
    waiting: VecDeque<Waiting>,
    /// The log has been asked for the message of the first.
    is_reading: bool,
    /// How often it was, for a message of these annotations.
    reads: usize,
}

struct Waiting {
    source: Source,
    publish: Publish,
    asker: Option<Asker>,
    /// None: it has not had to wait yet.
    charge: Option<Charge>,
}

/// What the log was asked for.
#[derive(Message)]
#[rtype(result = "()")]
enum Learnt {
    Message(MessageRead),
    Annotated(MessageRef, AnnotatedRead),
    Objects(ObjectsRead),
    Recalled(MessageRef, AnnotatedRead),
}

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading(Addr<Channel>, Option<Learnt>);

impl Reading {
    fn finish(mut self, learnt: Learnt) {
        self.1 = Some(learnt);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.do_send(self.1.take().unwrap_or(Learnt::Message(Err(StoreError::Closed))));
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

/// Whether a message, or the objects, have to be known before this can be published.
pub(super) const fn needs_a_message(publish: &Publish) -> bool {
    matches!(publish.body, Body::Operation(_) | Body::Annotations(_) | Body::Objects(_))
}

impl Channel {
    /// Publishes an operation when its turn comes, and answers it.
    pub(super) fn operate(&mut self, source: Source, publish: Publish, asker: Option<Asker>, ctx: &mut Context<Self>) {
        self.owed = None;
        let waiting = Waiting { source, publish, asker, charge: None };
        if self.operations.len() >= limits::CHANNEL_HELD {
            return self.settle(waiting.asker, Err(Fault::Busy));
        }
        self.operations.waiting.push_back(waiting);
        self.go_on_operating(ctx);
        self.pay_for_the_last();
    }

    /// What has to wait, for those before it or for the log, is charged to the app.
    fn pay_for_the_last(&mut self) {
        let Some(last) = self.operations.waiting.back_mut() else {
            return;
        };
        let account = self.worker.broker.accounts.app(self.state.name().app());
        match account.charge(Kind::Inbound, last.publish.body.cost()) {
            Ok(charge) => last.charge = Some(charge),
            Err(full) => {
                let asker = self.operations.waiting.pop_back().and_then(|last| last.asker);
                self.settle(asker, Err(full.to_fault()));
            }
        }
    }

    /// Carries out those that have to wait no longer.
    pub(super) fn go_on_operating(&mut self, ctx: &mut Context<Self>) {
        while let Some(Waiting { publish, .. }) = self.operations.waiting.front()
            && !self.operations.is_reading
        {
            let operation = match &publish.body {
                Body::Operation(operation) => operation,
                Body::Annotations(annotations) => {
                    match self.state.unknown_message(annotations) {
                        None => self.operate_first(Ok(()), ctx),
                        // What was read has made room for the rest.
                        Some(_) if self.operations.reads > annotations.len() => {
                            self.operate_first(Err(Fault::Busy), ctx)
                        }
                        Some(message) => self.read_annotated(message, ctx),
                    }
                    continue;
                }
                Body::Objects(_) => {
                    match self.state.knows_objects() {
                        true => self.operate_first(Ok(()), ctx),
                        false if self.shared.is_some() => {
                            self.operate_first(Err(Fault::NotShared { what: "objects" }), ctx)
                        }
                        false => self.read_objects_to_operate(ctx),
                    }
                    continue;
                }
                _ => return self.operate_first(Ok(()), ctx),
            };
            match self.state.versions.needs(operation) {
                Needs::Outcomes => return,
                Needs::Nothing => self.operate_first(Ok(()), ctx),
                Needs::Latest => {
                    let mut later = || -> Box<dyn FnOnce(MessageRead) + Send> {
                        let reading = Reading(ctx.address(), None);
                        Box::new(move |read| reading.finish(Learnt::Message(read)))
                    };
                    match self.log.newest(operation.target, &mut later) {
                        Poll::Ready(read) => self.operate_by(read, ctx),
                        Poll::Pending => self.operations.is_reading = true,
                    }
                }
            }
        }
    }

    /// Learns what an earlier run, or a channel that died, knew of messages that were annotated lately: who comes back may have
    /// missed it.
    pub(super) fn recall_summaries(&mut self, messages: Vec<MessageRef>, ctx: &mut Context<Self>) {
        for message in messages {
            let mut later = || -> Box<dyn FnOnce(AnnotatedRead) + Send> {
                let reading = Reading(ctx.address(), Some(Learnt::Recalled(message, Ok(None))));
                Box::new(move |read| reading.finish(Learnt::Recalled(message, read)))
            };
            if let Poll::Ready(read) = self.log.annotated(message, &mut later) {
                self.recall_summary(message, read);
            }
        }
    }

    /// Without it only the next annotation of the message tells its summary.
    fn recall_summary(&mut self, message: MessageRef, read: AnnotatedRead) {
        if let Ok(read @ Some(_)) = read
            && self.state.annotated(message).is_none()
        {
            let _ = self.state.learn(message, read);
        }
    }

    fn read_annotated(&mut self, message: MessageRef, ctx: &mut Context<Self>) {
        let mut later = || -> Box<dyn FnOnce(AnnotatedRead) + Send> {
            let reading = Reading(ctx.address(), None);
            Box::new(move |read| reading.finish(Learnt::Annotated(message, read)))
        };
        self.operations.reads += 1;
        match self.log.annotated(message, &mut later) {
            Poll::Ready(read) => self.learn_annotated(message, read, ctx),
            Poll::Pending => self.operations.is_reading = true,
        }
    }

    fn read_objects_to_operate(&mut self, ctx: &mut Context<Self>) {
        let mut later = || -> Box<dyn FnOnce(ObjectsRead) + Send> {
            let reading = Reading(ctx.address(), None);
            Box::new(move |read| reading.finish(Learnt::Objects(read)))
        };
        match self.worker.broker.log.objects(self.state.name(), &mut later) {
            Poll::Ready(read) => self.learn_objects_to_operate(read, ctx),
            Poll::Pending => self.operations.is_reading = true,
        }
    }

    fn learn_objects_to_operate(&mut self, read: ObjectsRead, ctx: &mut Context<Self>) {
        if let Err(fault) = self.learn_objects(read) {
            self.operate_first(Err(fault), ctx);
        }
    }

    /// The first annotates a message of which this was read.
    fn learn_annotated(&mut self, message: MessageRef, read: AnnotatedRead, ctx: &mut Context<Self>) {
        let known = read.map_err(|error| {
            tracing::error!(%error, "the annotations of a message cannot be read");
            error.to_fault()
        });
        if let Err(fault) = known.and_then(|read| self.state.learn(message, read)) {
            self.operate_first(Err(fault), ctx);
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
        let Some(Waiting { source, publish, asker, charge: _ }) = self.operations.waiting.pop_front() else {
            return;
        };
        self.operations.reads = 0;
        let target = match &publish.body {
            Body::Operation(operation) => Some(operation.target),
            _ => None,
        };
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

    fn handle(&mut self, learnt: Learnt, ctx: &mut Self::Context) {
        if let Learnt::Recalled(message, read) = learnt {
            self.recall_summary(message, read);
            self.state.tell_summary(self.now(), message);
            return self.tell_summaries_in_time(ctx);
        }
        self.operations.is_reading = false;
        match learnt {
            Learnt::Recalled(..) => {}
            Learnt::Message(read) => self.operate_by(read, ctx),
            Learnt::Annotated(message, read) => self.learn_annotated(message, read, ctx),
            Learnt::Objects(read) => self.learn_objects_to_operate(read, ctx),
        }
        self.go_on_operating(ctx);
    }
}
