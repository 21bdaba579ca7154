//! What a channel does for its state: append, deliver, answer. In order, and what must wait for the disk waits
//! ([`CommitQueue`](super::commit_queue::CommitQueue)).

use std::{sync::Arc, task::Poll};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::{
        accounts::{Full, Kind},
        channels::channel::Channel,
        channels::commit_queue::{Asker, Ready},
        channels::operations::Task,
        channels::shared::Publishing,
        channels::undone::Owed,
        relief,
    },
    core::{
        budget::Level,
        channel::Judged,
        command::{Answer, Effect, Now, Publish, Reply},
        dedupe::Published,
        growth::Grown,
        message::{Body, Draft, Entry},
        replay::{self, Choice, Found, Wanted},
        serial::Serial,
        stats::{Source, Weighed},
        window::Gap,
    },
    error::Fault,
    log::{Done, Later, StoreError},
};

/// The log has an entry, or has it not and will not have it.
#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    serial: Serial,
    outcome: Result<(), StoreError>,
}

/// What was read of the past for the next effect.
#[derive(Message)]
#[rtype(result = "()")]
struct PastRead(Found);

/// Sends a channel what was read for it; when the reader fails, that it could not be read.
struct Reading {
    channel: Addr<Channel>,
    found: Found,
}

impl Reading {
    fn finish(mut self, found: Found) {
        self.found = found;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let found = std::mem::replace(&mut self.found, Ok(Vec::new()));
        self.channel.do_send(PastRead(found));
    }
}

impl Channel {
    /// Publishes. What it gives holds when nothing waits for the log any more.
    ///
    /// # Errors
    /// Why nothing is published.
    pub(super) fn publish(
        &mut self,
        source: Source,
        publish: Publish,
        ctx: &mut Context<Self>,
    ) -> Result<Publishing, Fault> {
        let weighed = Weighed::of(&publish.body);
        let outcome = self.try_publish(publish, ctx);
        self.traffic.borrow_mut().came_in(source, weighed, outcome.is_ok());
        self.note_opened(ctx);
        outcome
    }

    pub(super) fn try_publish(&mut self, publish: Publish, ctx: &mut Context<Self>) -> Result<Publishing, Fault> {
        if self.is_congested() {
            return Err(Fault::Busy);
        }
        let now = self.now();
        let draft = match self.state.judge(now, publish)? {
            Judged::Known(published) => return Ok(Publishing::Kept(published)),
            Judged::New(draft) if self.shared.is_none() || draft.is_empty() => draft,
            Judged::New(draft) => return self.ask_to_append(draft, ctx),
        };
        Ok(Publishing::Kept(self.append(now, draft, ctx)))
    }

    /// Answers a transport's publish, behind the answers that it waits for already.
    pub(super) fn conclude(&mut self, reply: Reply, outcome: Result<Publishing, Fault>) {
        let outcome = match (outcome, &mut self.shared) {
            (Ok(Publishing::Kept(published)), _) => Ok(published),
            (Ok(Publishing::Asked(ticket)), Some(shared)) => {
                self.owed = None;
                return shared.answer_to(ticket, Asker::Transport(reply));
            }
            (Ok(Publishing::Asked(_)), None) => return,
            (Err(fault), _) => Err(fault),
        };
        let Some(answer) = reply.outcome(outcome) else {
            return;
        };
        self.owed = None;
        match answer {
            _ if self.commit_queue.is_empty() => self.answer(reply.hub, reply.session, answer),
            Answer::Published { published, .. } => self.commit_queue.outcome(Asker::Transport(reply), published),
            answer => self.commit_queue.effect(Effect::Answer { hub: reply.hub, session: reply.session, answer }),
        }
    }

    /// Does what the state asks for, in order: now, or when the log has kept what comes before it.
    pub(super) fn carry_out(&mut self, effects: impl IntoIterator<Item = Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Append(draft) => self.let_leave(draft, ctx),
                effect if self.commit_queue.is_empty() => self.perform(effect, ctx),
                effect => {
                    if matches!(effect, Effect::Answer { .. } | Effect::Attached { .. }) {
                        // If it is not carried out, it is answered by `CommitQueue::abandon`.
                        self.owed = None;
                    }
                    self.commit_queue.effect(effect);
                }
            }
        }
    }

    /// Members of a connection leave, or objects are deleted: at once where nobody else publishes to the log.
    fn let_leave(&mut self, draft: Draft, ctx: &mut Context<Self>) {
        match (&self.shared, draft.publisher, draft.body) {
            (Some(_), Some(connection), _) => self.line_up(Task::Leave(connection, None), ctx),
            (Some(_), None, Body::Objects(deleted)) => {
                self.line_up(Task::Delete(deleted.into_iter().map(|deleted| deleted.object).collect()), ctx);
            }
            (_, _, body) => drop(self.append(self.now(), Draft { body, ..draft }, ctx)),
        }
    }

    pub(super) fn append(&mut self, now: Now, draft: Draft, ctx: &mut Context<Self>) -> Published {
        let entry = self.state.stamp(now, draft);
        let published = Published::of(&entry);
        if entry.is_empty() {
            return published;
        }
        let serial = entry.serial;
        let mut later = || -> Done<()> {
            let channel = ctx.address();
            Box::new(move |outcome| channel.do_send(Committed { serial, outcome }))
        };
        let appended = match entry.is_ephemeral {
            true => Poll::Ready(Ok(())),
            false => self.keep(now, &entry, &mut later),
        };
        match appended {
            Poll::Ready(Ok(())) if self.commit_queue.is_empty() => self.deliver(now, entry, ctx),
            Poll::Ready(Ok(())) => self.commit_queue.kept(entry),
            Poll::Ready(outcome) => {
                self.commit_queue.entry(entry);
                ctx.notify(Committed { serial, outcome });
            }
            Poll::Pending => self.commit_queue.entry(entry),
        }
        published
    }

    /// Appends to the log. When there is no memory for it, what is cheaper to lose goes first: windows of channels that nobody
    /// is attached to, the oldest of this channel, then of all channels of the app, or of the largest if the server has no room.
    fn keep(
        &mut self,
        now: Now,
        entry: &Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        self.was_used = true;
        loop {
            match self.log.append(now.uptime, Arc::clone(entry), later) {
                Poll::Ready(Err(StoreError::Memory(full)))
                    if full.kind == Kind::Window && self.makes_room(entry, full) => {}
                outcome => return outcome,
            }
        }
    }

    fn makes_room(&mut self, entry: &Entry, full: Full) -> bool {
        let broker = &self.worker.broker;
        let app = (full.level == Level::App).then(|| self.state.name().app());
        broker.directory.relieve(app, broker) || self.log.give_up(entry.cost()) || relief::shrink(broker, app)
    }

    /// Does what has waited and waits no longer.
    pub(super) fn release(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        while let Some(ready) = self.commit_queue.next() {
            match ready {
                Ready::Effect(effect) => self.perform(effect, ctx),
                Ready::Deliver(entry) => self.deliver(now, entry, ctx),
                Ready::Withdraw(entry) => self.state.withdraw(&entry),
                Ready::Outcome(Asker::Transport(reply), outcome) => {
                    if let Some(answer) = reply.outcome(outcome) {
                        self.answer(reply.hub, reply.session, answer);
                    }
                }
                Ready::Outcome(Asker::Request(asker), outcome) => {
                    // The request may have ended.
                    let _ = asker.send(outcome);
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, now: Now, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        self.state.take(now, &entry);
        match entry.body {
            Body::Presence(_) => self.count_soon(ctx),
            Body::Operation(ref operation) => {
                self.state.versions.taken(&entry);
                if operation.grown().is_some_and(Grown::is_whole_due) {
                    self.log.keep_whole(&entry);
                }
            }
            Body::Annotations(_) => {
                for annotation in entry.annotations() {
                    if let Some(annotated) = self.state.summary_to_keep(annotation.target) {
                        self.log.keep_summary(annotation.target, annotated);
                    }
                }
                self.tell_summaries_in_time(ctx);
            }
            // Where nodes share the log, who has published them keeps them, and the others with the next sweep.
            Body::Objects(_) if self.shared.is_none() => self.keep_objects(false, ctx),
            _ => {}
        }
        // Of a log that nodes share each counts what it has published itself, when it is told.
        if self.shared.is_none() {
            self.count_published(&entry);
        }
        for hub in self.state.hubs() {
            self.tell_entry(hub, &entry);
        }
    }

    pub(super) fn count_published(&self, entry: &Entry) {
        if !matches!(entry.body, Body::Occupancy(_) | Body::Summary(_)) {
            self.worker.count(|counters| counters.published += 1);
            if self.is_persisted && !entry.is_ephemeral {
                self.traffic.borrow_mut().was_persisted(entry);
            }
        }
    }

    pub(super) fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Append(draft) => self.let_leave(draft, ctx),
            Effect::Answer { answer: Answer::Broken(ref attached), .. } if self.has_to_read_objects(attached) => {
                self.read_objects_for(effect, ctx)
            }
            Effect::Answer { hub, session, mut answer } => {
                if let Answer::Broken(attached) = &mut answer {
                    self.add_objects(attached);
                }
                self.owed = None;
                self.answer(hub, session, answer);
            }
            Effect::Complete(append) => self.complete_first(append, ctx),
            Effect::OccupancyChanged => self.count_soon(ctx),
            Effect::Attached { ref attached, .. } if self.has_to_read_objects(attached) => {
                self.read_objects_for(effect, ctx)
            }
            Effect::Attached { hub, ref start, ref attached } => {
                // Until the past is read, which may go wrong.
                self.owed = Some(Owed::Attachment { hub, id: attached.subscription.id });
                let wall = self.worker.broker.clock.now();
                match replay::wanted(start, attached.is_change, wall) {
                    None => self.finish(effect, Ok(Vec::new()), ctx),
                    Some(wanted) => {
                        let choice = Choice::for_reader(&attached.subscription);
                        self.read_for(effect, wanted, &choice, ctx);
                    }
                }
            }
            Effect::Replay { after, .. } => self.read_for(effect, Wanted::After(after), &Choice::all(), ctx),
        }
    }

    fn read_for(&mut self, effect: Effect, wanted: Wanted, choice: &Arc<Choice>, ctx: &mut Context<Self>) {
        let mut later = || -> Box<dyn FnOnce(Found) + Send> {
            let reading = Reading { channel: ctx.address(), found: Err(Gap::Expired) };
            Box::new(move |found| reading.finish(found))
        };
        match self.log.read(wanted, choice, &mut later) {
            Poll::Ready(found) => self.finish(effect, found, ctx),
            Poll::Pending => {
                self.owed = None;
                self.commit_queue.reading(effect);
            }
        }
    }

    /// Carries out an effect for which the past was read.
    fn finish(&mut self, effect: Effect, found: Found, ctx: &mut Context<Self>) {
        match effect {
            Effect::Attached { hub, start, attached } => {
                let session = attached.subscription.id.session;
                let bytes = self.worker.broker.settings.get().replay_bytes;
                let unsettled = self.state.unsettled();
                let choice = Choice::for_reader(&attached.subscription);
                let recent = || choice.of_all(&self.log.recent());
                let mut attached = replay::fill(*attached, &start, found, recent, || self.log.past(), unsettled, bytes);
                self.add_objects(&mut attached);
                self.owed = None;
                let missed = (attached.resumed && !attached.is_change).then_some(attached.position);
                self.answer(hub, session, Answer::Attached(Box::new(attached)));
                if let Some(position) = missed {
                    self.state.tell_summaries_again(self.now(), position);
                    self.tell_summaries_in_time(ctx);
                }
            }
            Effect::Replay { hub, .. } => match found {
                Ok(missed) => {
                    for entry in missed {
                        self.tell_entry(hub, &entry);
                    }
                }
                Err(gap) => tracing::error!(%gap, "messages were lost with a channel actor"),
            },
            Effect::Append(_) | Effect::Answer { .. } | Effect::Complete(_) | Effect::OccupancyChanged => {}
        }
    }
}

impl Handler<Committed> for Channel {
    type Result = ();

    fn handle(&mut self, Committed { serial, outcome }: Committed, ctx: &mut Self::Context) {
        let broker = &self.worker.broker;
        if let Err(error) = &outcome
            // The server ends: nothing is wrong with the disk.
            && *error != StoreError::Closed
            && let Some(more) = broker.disk_warning.allows(&broker.clock)
        {
            tracing::error!(%error, more, "a message was refused: it could not be written to disk");
        }
        self.commit_queue.committed(serial, &outcome);
        self.release(ctx);
        if !self.operations.is_empty() {
            self.go_on_operating(ctx);
        }
    }
}

impl Handler<PastRead> for Channel {
    type Result = ();

    fn handle(&mut self, PastRead(found): PastRead, ctx: &mut Self::Context) {
        if let Some(effect) = self.commit_queue.read() {
            self.finish(effect, found, ctx);
            self.release(ctx);
            if !self.operations.is_empty() {
                self.go_on_operating(ctx);
            }
        }
    }
}
