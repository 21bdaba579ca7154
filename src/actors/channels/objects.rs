//! The objects of a channel and the disk: they are read when somebody needs them, and kept behind the log.

use std::task::Poll;

use actix::{Addr, AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::channels::{channel::Channel, undone::Undone},
    core::{
        command::{Attached, Effect},
        modes::Modes,
    },
    error::Fault,
    log::{Done, ObjectsRead, StoreError},
};

/// What was read of the objects, for who attaches.
#[derive(Message)]
#[rtype(result = "()")]
struct Read(ObjectsRead);

/// Changes are on disk, or are not.
#[derive(Message)]
#[rtype(result = "()")]
struct Written(Result<(), StoreError>);

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading(Addr<Channel>, Option<ObjectsRead>);

impl Reading {
    fn finish(mut self, read: ObjectsRead) {
        self.1 = Some(read);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.do_send(Read(self.1.take().unwrap_or(Err(StoreError::Closed))));
    }
}

impl Channel {
    pub(super) fn has_to_read_objects(&self, attached: &Attached) -> bool {
        let wants = attached.subscription.filter.modes.has(Modes::OBJECT_SUBSCRIBE);
        wants && !self.state.knows_objects() && self.shared.is_none()
    }

    /// Reads the objects for who attaches; whatever comes behind that waits.
    pub(super) fn read_objects_for(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let mut later = || -> Box<dyn FnOnce(ObjectsRead) + Send> {
            let reading = Reading(ctx.address(), None);
            Box::new(move |read| reading.finish(read))
        };
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
            (Err(_), Effect::Attached { hub, attached, .. }) => {
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
        let Some((upto, rows)) = self.state.object_rows(all) else {
            return;
        };
        if self.is_unkept && !all {
            return;
        }
        self.is_unkept = false;
        self.keeping += 1;
        let channel = ctx.address();
        let done: Done<()> = Box::new(move |outcome| channel.do_send(Written(outcome)));
        self.worker.broker.log.keep_objects(self.state.name(), upto, &rows, done);
    }
}

impl Handler<Read> for Channel {
    type Result = ();

    fn handle(&mut self, Read(read): Read, ctx: &mut Self::Context) {
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
