//! Operations on messages: each is judged by what its message is, which the log may have to be asked for. Where nodes share the log,
//! whoever enters or leaves waits in the same line (`shared/judged.rs`).
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
        channel::Lost,
        command::{Publish, Reply},
        dedupe::Published,
        message::Body,
        objects::ObjectId,
        operation::MessageRef,
        stats::{Source, Weighed},
        versions::Needs,
    },
    error::Fault,
    ids::{ConnectionId, NodeId},
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
    /// The shared log was asked to append the first, or to tell what it is judged by.
    pub is_asking: bool,
    /// The first was judged by too little: it waits until the log was read.
    pub is_behind: bool,
    /// The shared log has not what the first appends to.
    pub is_bare: bool,
}

struct Waiting {
    task: Task,
    /// None: it has not had to wait yet.
    charge: Option<Charge>,
}

/// What is done in its turn; all but publishes only where nodes share the log.
pub(in crate::actors) enum Task {
    Publish {
        source: Source,
        publish: Publish,
        asker: Option<Asker>,
    },
    /// All members of a connection leave, if this node owns them, or the one that is named.
    Leave(ConnectionId, Option<NodeId>),
    /// The members of a connection that is attached here are owned here.
    Adopt(ConnectionId),
    /// Members that the log has lost enter again.
    Enter(Lost),
    /// Objects that cannot be reached are deleted.
    Delete(Vec<ObjectId>),
    /// All members that a dead node owned leave: those that there are when the log was read.
    Reap {
        node: NodeId,
        is_read: bool,
    },
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
        std::mem::take(&mut self.waiting).into_iter().filter_map(|waiting| match waiting.task {
            Task::Publish { asker: Some(Asker::Transport(reply)), .. } => Some(reply),
            _ => None,
        })
    }

    pub fn first(&self) -> Option<&Task> {
        self.waiting.front().map(|waiting| &waiting.task)
    }

    pub fn drop_first(&mut self) {
        self.waiting.pop_front();
    }

    /// The first, which is done.
    pub fn take_first(&mut self) -> Option<Task> {
        self.reads = 0;
        self.waiting.pop_front().map(|waiting| waiting.task)
    }

    /// The first waits until the log was read.
    pub fn read_first(&mut self, task: Task) {
        if let Some(first) = self.waiting.front_mut() {
            first.task = task;
        }
        (self.is_asking, self.is_behind) = (true, true);
    }

    /// Nobody is to wait any longer: the publishes, and who waited for a leave. Leaves stay, since whoever was told that it could
    /// not leave yet is not there any more; a dead node is reaped anew.
    pub fn give_up(&mut self) -> (Vec<Task>, Vec<Asker>) {
        let (mut publishes, mut askers) = (Vec::new(), Vec::new());
        for mut waiting in std::mem::take(&mut self.waiting) {
            match &mut waiting.task {
                Task::Publish { publish, asker, .. } if publish.body.is_leave() => {
                    askers.extend(asker.take());
                    self.waiting.push_back(waiting);
                }
                Task::Publish { .. } => publishes.push(waiting.task),
                Task::Reap { .. } => {}
                _ => self.waiting.push_back(waiting),
            }
        }
        (publishes, askers)
    }

    /// Whether a dead node is seen to already.
    pub fn reaps(&self, node: NodeId) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting.task, Task::Reap { node: dead, .. } if dead == node))
    }
}

impl Channel {
    /// Whether this is judged by what was published before, so that it may have to wait for that.
    pub(super) const fn waits_in_line(&self, publish: &Publish) -> bool {
        match publish.body {
            Body::Operation(_) | Body::Annotations(_) | Body::Objects(_) => true,
            Body::Presence(_) => self.shared.is_some(),
            _ => false,
        }
    }

    /// Publishes an operation when its turn comes, and answers it.
    pub(super) fn operate(&mut self, source: Source, publish: Publish, asker: Option<Asker>, ctx: &mut Context<Self>) {
        self.owed = None;
        if self.operations.len() >= limits::CHANNEL_HELD {
            return self.settle(asker, Err(Fault::Busy));
        }
        self.line_up(Task::Publish { source, publish, asker }, ctx);
        self.pay_for_the_last();
    }

    /// Does something when its turn comes.
    pub(super) fn line_up(&mut self, task: Task, ctx: &mut Context<Self>) {
        self.operations.waiting.push_back(Waiting { task, charge: None });
        self.go_on_operating(ctx);
    }

    /// What has to wait, for those before it or for the log, is charged to the app.
    fn pay_for_the_last(&mut self) {
        let account = self.worker.broker.accounts.app(self.state.name().app());
        let Some(Waiting { task: Task::Publish { publish, .. }, charge }) = self.operations.waiting.back_mut() else {
            return;
        };
        match account.charge(Kind::Inbound, publish.body.cost()) {
            Ok(paid) => *charge = Some(paid),
            Err(full) => {
                if let Some(Waiting { task: Task::Publish { asker, .. }, .. }) = self.operations.waiting.pop_back() {
                    self.settle(asker, Err(full.to_fault()));
                }
            }
        }
    }

    /// Carries out those that have to wait no longer.
    pub(super) fn go_on_operating(&mut self, ctx: &mut Context<Self>) {
        while let Some(Waiting { task, .. }) = self.operations.waiting.front()
            && !self.operations.is_reading
            && !self.operations.is_asking
        {
            let Task::Publish { publish, .. } = task else {
                self.ask_first(Ok(()), ctx);
                continue;
            };
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
                        false => self.read_objects_to_operate(ctx),
                    }
                    continue;
                }
                _ => {
                    self.operate_first(Ok(()), ctx);
                    continue;
                }
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
        if self.shared.is_some() {
            return self.ask_first(known, ctx);
        }
        let Some(Task::Publish { source, publish, asker }) = self.operations.take_first() else {
            return;
        };
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

    /// What has come of a task, when the log has it.
    pub(super) fn settle_task(&mut self, task: Task, outcome: Result<Published, Fault>) {
        let Task::Publish { source, publish, asker } = task else { return };
        self.traffic.borrow_mut().came_in(source, Weighed::of(&publish.body), outcome.is_ok());
        if let Body::Operation(operation) = &publish.body {
            self.state.versions.judged(operation.target);
        }
        self.settle(asker, outcome.map(Publishing::Kept));
    }

    pub(super) fn settle(&mut self, asker: Option<Asker>, outcome: Result<Publishing, Fault>) {
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
