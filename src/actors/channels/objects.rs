//! The objects of a channel and where they are kept, on disk, or where nodes share the log beside that: they are read when
//! somebody needs them, and kept behind the log.

use std::{mem, task::Poll};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::{
    actors::channels::{channel::Channel, undone::Undone},
    core::{
        command::{Answer, Attached, Effect},
        modes::Modes,
    },
    error::Fault,
    log::{Done, ObjectsRead, StoreError},
};

/// What was read of the objects.
#[derive(Message)]
#[rtype(result = "()")]
struct Read(ObjectsRead, Whom);

/// Whom they are read for.
#[derive(Clone, Copy)]
enum Whom {
    Attached,
    Requests,
}

/// Changes are on disk, or are not.
#[derive(Message)]
#[rtype(result = "()")]
struct Written(Result<(), StoreError>);

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading(Addr<Channel>, Whom, Option<ObjectsRead>);

impl Reading {
    fn later(channel: Addr<Channel>, whom: Whom) -> Box<dyn FnOnce(ObjectsRead) + Send> {
        let mut reading = Self(channel, whom, None);
        Box::new(move |read| {
            // All of it, or what is dropped unread would not be told.
            let reading = &mut reading;
            reading.2 = Some(read);
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.do_send(Read(self.2.take().unwrap_or(Err(StoreError::Closed)), self.1));
    }
}

impl Channel {
    /// Whether the objects could be read, when that is known.
    pub(super) fn read_objects_for_requests(&mut self, ctx: &Context<Self>) -> oneshot::Receiver<Result<(), Fault>> {
        let (asker, known) = oneshot::channel();
        self.asked_for_objects.push(asker);
        if self.asked_for_objects.len() == 1 {
            let mut later = || Reading::later(ctx.address(), Whom::Requests);
            if let Poll::Ready(read) = self.worker.broker.log.objects(self.state.name(), &mut later) {
                self.tell_requests(read);
            }
        }
        known
    }

    fn tell_requests(&mut self, read: ObjectsRead) {
        let outcome = self.learn_objects(read);
        for asker in mem::take(&mut self.asked_for_objects) {
            // The request may have ended.
            let _ = asker.send(outcome.clone());
        }
    }

    pub(super) fn has_to_read_objects(&self, attached: &Attached) -> bool {
        attached.subscription.filter.modes.has(Modes::OBJECT_SUBSCRIBE) && !self.state.knows_objects()
    }

    /// Who attaches for objects gets them.
    pub(super) fn add_objects(&mut self, attached: &mut Attached) {
        if attached.subscription.filter.modes.has(Modes::OBJECT_SUBSCRIBE) {
            attached.objects = self.state.objects();
        }
    }

    /// Reads the objects for who attaches; whatever comes behind that waits.
    pub(super) fn read_objects_for(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let mut later = || Reading::later(ctx.address(), Whom::Attached);
        match self.worker.broker.log.objects(self.state.name(), &mut later) {
            Poll::Ready(read) => self.attach_with_objects(effect, read, ctx),
            Poll::Pending => {
                self.owed = None;
                self.commit_queue.reading(effect);
            }
        }
    }

    fn attach_with_objects(&mut self, effect: Effect, read: ObjectsRead, ctx: &mut Context<Self>) {
        match (self.learn_objects(read), &effect) {
            (Err(_), Effect::Attached { hub, attached, .. })
            | (Err(_), Effect::Answer { hub, answer: Answer::Broken(attached), .. }) => {
                self.owed = None;
                self.tell_undone(*hub, Undone::Failed(attached.subscription.id));
            }
            _ => self.perform(effect, ctx),
        }
    }

    /// # Errors
    /// They cannot be read.
    pub(super) fn learn_objects(&mut self, read: ObjectsRead) -> Result<(), Fault> {
        let kept = read.map_err(|error| {
            tracing::error!(%error, "the objects of a channel cannot be read");
            error.to_fault()
        })?;
        self.state.learn_objects(kept.with(self.log.recent()));
        Ok(())
    }

    /// Hands what has changed to the disk. Nobody waits for that: the log has it, and what is not kept is kept at the next sweep.
    pub(super) fn keep_objects(&mut self, is_sweep: bool, ctx: &Context<Self>) {
        let all = is_sweep && self.is_unkept;
        let Some(changes) = self.state.object_changes(all) else {
            return;
        };
        if self.is_unkept && !all {
            return;
        }
        self.is_unkept = false;
        self.keeping += 1;
        let channel = ctx.address();
        let done: Done<()> = Box::new(move |outcome| channel.do_send(Written(outcome)));
        self.worker.broker.log.keep_objects(self.state.name(), &changes, done);
    }
}

impl Handler<Read> for Channel {
    type Result = ();

    fn handle(&mut self, Read(read, whom): Read, ctx: &mut Self::Context) {
        if let Whom::Requests = whom {
            return self.tell_requests(read);
        }
        if let Some(effect) = self.commit_queue.read() {
            self.attach_with_objects(effect, read, ctx);
            self.release(ctx);
            if !self.operations.is_empty() {
                self.go_on_operating(ctx);
            }
        }
    }
}

impl Handler<Written> for Channel {
    type Result = ();

    fn handle(&mut self, Written(outcome): Written, _: &mut Self::Context) {
        self.keeping -= 1;
        if let Err(error) = outcome {
            self.is_unkept = true;
            let broker = &self.worker.broker;
            if error != StoreError::Closed
                && let Some(more) = broker.disk_warning.allows(&broker.clock)
            {
                tracing::error!(%error, more, "objects of a channel are not on disk yet: they could not be written");
            }
        }
    }
}
