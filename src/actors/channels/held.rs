//! Publishes that need to know of an older message first: its annotations are counted on from what they come to by now. They wait in
//! the commit queue, so their place among what the channel does is kept, and nobody blocks a thread meanwhile.

use std::task::Poll;

use actix::{Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::{
    actors::channels::channel::Channel,
    core::{command::Publish, dedupe::Published, message::MessageRef, stats::Source},
    error::Fault,
    limits,
    log::{AnnotatedRead, StoreError},
};

/// A publish that waits.
pub(in crate::actors) struct Held {
    pub publish: Publish,
    pub source: Source,
    /// Who asks by HTTP.
    pub request: Option<oneshot::Sender<Result<Published, Fault>>>,
    /// The message that it waits for.
    message: MessageRef,
    /// Messages that may be read for it: each of them once.
    reads: usize,
}

/// What was read for the publish that is next.
#[derive(Message)]
#[rtype(result = "()")]
struct MessageRead(AnnotatedRead);

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading {
    channel: Addr<Channel>,
    read: AnnotatedRead,
}

impl Reading {
    fn finish(mut self, read: AnnotatedRead) {
        self.read = read;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let read = std::mem::replace(&mut self.read, Ok(None));
        self.channel.do_send(MessageRead(read));
    }
}

impl Channel {
    /// A publish that can be judged at once; else one that waits.
    pub(super) fn judgeable(&self, publish: Publish, source: Source) -> Result<Publish, Box<Held>> {
        match self.state.unknown_message(&publish.body) {
            None => Ok(publish),
            Some(message) => {
                let reads = publish.body.len();
                Err(Box::new(Held { publish, source, request: None, message, reads }))
            }
        }
    }

    pub(super) fn hold(&mut self, held: Box<Held>, ctx: &mut Context<Self>) {
        if self.commit_queue.is_empty() {
            self.read_for_held(held, ctx);
        } else if self.commit_queue.held_back() < limits::HELD_PUBLISHES {
            self.commit_queue.held(held);
        } else {
            self.refuse_held(*held, Fault::Busy);
        }
    }

    /// It is its turn.
    pub(super) fn read_for_held(&mut self, mut held: Box<Held>, ctx: &mut Context<Self>) {
        loop {
            let Some(message) = self.state.unknown_message(&held.publish.body) else {
                let Held { publish, source, request, .. } = *held;
                let reply = publish.reply;
                let outcome = self.publish(source, publish, ctx);
                return self.settle(reply, request, outcome);
            };
            if held.reads == 0 {
                // What was read for it has had to make room for the rest.
                return self.refuse_held(*held, Fault::Busy);
            }
            held.reads -= 1;
            held.message = message;
            let mut later = || -> Box<dyn FnOnce(AnnotatedRead) + Send> {
                let unread = Err(StoreError::damaged("the reader has failed"));
                let reading = Reading { channel: ctx.address(), read: unread };
                Box::new(move |read| reading.finish(read))
            };
            match self.log.annotated(message, &mut later) {
                Poll::Pending => return self.commit_queue.reading_for(held),
                Poll::Ready(read) => match self.learn(message, read) {
                    Ok(()) => {}
                    Err(fault) => return self.refuse_held(*held, fault),
                },
            }
        }
    }

    fn learn(&mut self, message: MessageRef, read: AnnotatedRead) -> Result<(), Fault> {
        match read {
            Ok(Some(read)) => self.state.learn(message, read),
            Ok(None) => Err(Fault::NotFound { what: "message" }),
            Err(error) => {
                tracing::error!(%error, "the annotations of a message cannot be read");
                Err(Fault::Internal)
            }
        }
    }

    fn refuse_held(&mut self, held: Held, fault: Fault) {
        let Held { publish, request, .. } = held;
        self.settle(publish.reply, request, Err(fault));
    }
}

impl Handler<MessageRead> for Channel {
    type Result = ();

    fn handle(&mut self, MessageRead(read): MessageRead, ctx: &mut Self::Context) {
        let Some(held) = self.commit_queue.read_held() else {
            return;
        };
        match self.learn(held.message, read) {
            Ok(()) => self.read_for_held(held, ctx),
            Err(fault) => self.refuse_held(*held, fault),
        }
        self.release(ctx);
    }
}
