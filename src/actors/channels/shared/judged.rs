//! What is judged by what was published before it, as who is present: while others publish, it may be judged by too little.
//!
//! One after the other is judged by what this node has taken, and appended if nothing of that kind was published since: otherwise
//! it is judged again when that was taken. So what is true of the state at one node is true of all.

use std::mem;

use actix::{AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::channels::{channel::Channel, operations::Task},
    core::{
        channel::Judged,
        dedupe::Published,
        message::{Draft, Entry},
    },
    error::Fault,
    ids::{ConnectionId, NodeId, Timestamp},
    limits,
    log::{
        StoreError,
        shared::{self as log, Told},
    },
};

/// The log has answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Appended(Result<Told, StoreError>);

/// The lease was renewed, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Renewed(Result<(), StoreError>);

impl Channel {
    /// A connection has no attachment any more: an enter of it may be on its way.
    pub(in crate::actors::channels) fn leave_behind_enters(
        &mut self,
        connection: ConnectionId,
        ctx: &mut Context<Self>,
    ) {
        if self.shared.is_some() && !self.operations.is_empty() && !self.state.has_connection(connection) {
            self.line_up(Task::Leave(connection, None), ctx);
        }
    }

    /// A connection is attached here: its members are this node's from now on.
    pub(in crate::actors::channels) fn adopt(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        if self.state.members().elsewhere(connection).is_some() {
            self.line_up(Task::Adopt(connection), ctx);
        }
    }

    /// Judges the first in the line, and asks the log to append what comes of it.
    pub(in crate::actors::channels) fn ask_first(&mut self, known: Result<(), Fault>, ctx: &mut Context<Self>) {
        let now = self.now();
        let draft = match self.operations.first() {
            None => return,
            Some(Task::Publish { publish, .. }) => {
                let publish = publish.clone();
                match known.and_then(|()| self.state.judge(now, publish)) {
                    Ok(Judged::New(draft)) if draft.is_empty() => {
                        let published = self.append(now, draft, ctx);
                        return self.finish_first(Ok(published));
                    }
                    Ok(Judged::New(draft)) => Some(draft),
                    Ok(Judged::Known(published)) => return self.finish_first(Ok(published)),
                    Err(fault) => return self.finish_first(Err(fault)),
                }
            }
            Some(Task::Leave(connection, owner)) => {
                let is_due = self.state.members().elsewhere(*connection) == *owner;
                is_due.then(|| self.state.leave_draft(*connection)).flatten()
            }
            Some(Task::Adopt(connection)) => self.state.adoption_draft(*connection),
            Some(Task::Delete(objects)) => self.state.deletion_draft(objects.clone()),
            Some(Task::Enter(lost)) => self.state.entry_draft(lost.clone()),
            Some(Task::Reap { node, is_read: false }) => {
                let node = *node;
                self.operations.read_first(Task::Reap { node, is_read: true });
                if let Some(shared) = &mut self.shared {
                    shared.held.asks_again = true;
                }
                return self.ask_log(ctx);
            }
            Some(Task::Reap { node, is_read: true }) => {
                let node = *node;
                self.operations.drop_first();
                return self.reap(node, ctx);
            }
        };
        match draft {
            Some(draft) => self.ask_to_append_judged(draft, ctx),
            None => self.operations.drop_first(),
        }
    }

    /// The members of a dead node leave; when there are none, it is forgotten here.
    fn reap(&mut self, node: NodeId, ctx: &mut Context<Self>) {
        let owned: Vec<_> = self.state.members().owned(Some(node)).collect();
        if let (true, Some(shared)) = (owned.is_empty(), &self.shared) {
            shared.log.leave(self.state.name(), node, Box::new(drop));
        }
        for connection in owned {
            self.line_up(Task::Leave(connection, Some(node)), ctx);
        }
    }

    fn ask_to_append_judged(&mut self, draft: Draft, ctx: &Context<Self>) {
        let Some(shared) = &mut self.shared else { return };
        let (content, head) = (draft.content, shared.chain.head());
        let entry = Entry::of(draft, head, self.worker.broker.clock.now());
        let is_emptied = entry.publisher.is_some_and(|of| self.state.members().is_emptied_by(of, entry.presence()));
        let is_whole = self.state.versions.grow(&entry) || mem::take(&mut self.operations.is_bare);
        let judged = log::Judged { by: shared.judged, is_emptied, is_whole };
        let channel = ctx.address();
        let done = Box::new(move |told| channel.do_send(Appended(told)));
        shared.log.append(&entry, content, head, Some(judged), done);
        shared.asking = Some(entry);
        self.operations.is_asking = true;
    }

    fn finish_first(&mut self, outcome: Result<Published, Fault>) {
        let Some(task) = self.operations.take_first() else { return };
        self.settle_task(task, outcome);
    }

    /// The line waits until the log was read.
    fn fall_behind(&mut self, ctx: &Context<Self>) {
        if let Some(shared) = &mut self.shared {
            shared.held.asks_again = true;
        }
        self.operations.is_behind = true;
        self.ask_log(ctx);
    }

    /// The line goes on if it waits for this; `read`: what it was judged by too little was read since, or could not be.
    pub(super) fn resume_line(&mut self, read: Result<(), Fault>, ctx: &mut Context<Self>) {
        if mem::take(&mut self.operations.is_behind) {
            match read {
                Ok(()) => self.go_on_in_line(ctx),
                Err(fault) => self.refuse_line(&fault, ctx),
            }
        }
    }

    fn go_on_in_line(&mut self, ctx: &mut Context<Self>) {
        self.operations.is_asking = false;
        self.go_on_operating(ctx);
    }

    /// The log does not answer: whoever waits is refused, and what has to be done is tried again.
    fn refuse_line(&mut self, fault: &Fault, ctx: &mut Context<Self>) {
        let (publishes, askers) = self.operations.give_up();
        for task in publishes {
            self.settle_task(task, Err(fault.clone()));
        }
        for asker in askers {
            self.settle(Some(asker), Err(fault.clone()));
        }
        self.operations.is_asking = true;
        ctx.run_later(limits::CHAIN_AGAIN, |channel, ctx| channel.go_on_in_line(ctx));
    }
}

impl Handler<Appended> for Channel {
    type Result = ();

    fn handle(&mut self, Appended(told): Appended, ctx: &mut Self::Context) {
        let Some(shared) = &mut self.shared else { return };
        let Some(mut entry) = shared.asking.take() else { return };
        if !matches!(told, Ok(Told::Kept { .. })) {
            self.state.forgo(&entry);
        }
        match told {
            Ok(Told::Kept { previous, serial }) => {
                let (millis, _) = serial.place();
                (entry.serial, entry.timestamp) = (serial, Timestamp::from_millis(millis));
                if !entry.is_empty() {
                    self.count_published(&entry);
                }
                let (published, is_of_objects) = (Published::of(&entry), !entry.objects().is_empty());
                self.kept(previous, entry, ctx);
                if is_of_objects {
                    self.keep_objects(false, ctx);
                }
                self.finish_first(Ok(published));
                self.go_on_in_line(ctx);
                self.note_use(ctx);
            }
            // It is answered when it is here, so that what it has done can be told.
            Ok(Told::Again(published)) if shared.is_behind(published.serial) => self.fall_behind(ctx),
            Ok(Told::Again(published)) => {
                self.finish_first(Ok(published));
                self.go_on_in_line(ctx);
            }
            Ok(Told::Behind) => self.fall_behind(ctx),
            Ok(Told::Bare) => {
                self.operations.is_bare = true;
                self.go_on_in_line(ctx);
            }
            Ok(Told::Fenced) => {
                let channel = ctx.address();
                let done = move |renewed| channel.do_send(Renewed(renewed));
                shared.log.renew_for(self.state.name(), Box::new(done));
            }
            Err(error) => {
                let fault = self.worker.broker.not_taken(&error);
                self.refuse_line(&fault, ctx);
            }
        }
    }
}

impl Handler<Renewed> for Channel {
    type Result = ();

    fn handle(&mut self, Renewed(renewed): Renewed, ctx: &mut Self::Context) {
        match renewed {
            Ok(()) => self.go_on_in_line(ctx),
            Err(error) => {
                let fault = self.worker.broker.not_taken(&error);
                self.refuse_line(&fault, ctx);
            }
        }
    }
}
