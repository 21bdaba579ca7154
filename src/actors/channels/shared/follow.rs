//! How a channel follows a log that other nodes write to as well: what it hears, what it reads because it was late or lost, and
//! the break when it cannot go on.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    actors::channels::{channel::Channel, operations::Task},
    core::{
        chain::{Broken, Chain, Linked, Tail},
        command::{Effect, Now},
        message::{Body, Entry},
        operation::{Latest, MessageRef},
        serial::Serial,
        window::Gap,
    },
    error::Fault,
    limits,
    log::{
        Done, StoreError,
        shared::{Break, Joined, Look, Looked, News, Touched, Written},
    },
};

#[derive(Message)]
#[rtype(result = "()")]
struct Heard(News);

/// What the log has behind the newest entry here.
#[derive(Message)]
#[rtype(result = "()")]
struct CaughtUp(Result<Tail, StoreError>);

/// When a channel that it hears nothing of looks at its log.
pub(super) struct Quiet {
    /// The newest entry when it was looked at last.
    head: Serial,
    /// Monotonic.
    due: Duration,
    is_looking: bool,
    /// Something may have been missed since it was asked.
    looks_again: bool,
}

impl Quiet {
    pub const fn new(head: Serial) -> Self {
        Self { head, due: Duration::ZERO, is_looking: false, looks_again: false }
    }
}

/// The log was looked at.
#[derive(Message)]
#[rtype(result = "()")]
struct LookedAt(Result<Looked, StoreError>);

#[derive(Message)]
#[rtype(result = "()")]
struct Rejoined(Result<Joined, StoreError>);

/// It is the turn of a channel with objects.
#[derive(Message)]
#[rtype(result = "()")]
struct JoinAgain(OwnedSemaphorePermit);

/// The message of an append that waits to be delivered, as it was before; none: it could not be read.
#[derive(Message)]
#[rtype(result = "()")]
struct Completed(Option<Latest>);

pub(super) fn hears(channel: Addr<Channel>) -> impl Fn(News) + Send + 'static {
    // What finds the mailbox full is missed, and read when the next one does not link.
    move |news| drop(channel.try_send(Heard(news)))
}

impl Channel {
    /// Reads what the log has behind the newest entry here, unless it is being read.
    pub(in crate::actors::channels) fn ask_log(&mut self, ctx: &Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        if let Some(after) = shared.chain.ask() {
            shared.held.asks_again = false;
            let channel = ctx.address();
            shared.log.tail(self.state.name(), after, Box::new(move |tail| channel.do_send(CaughtUp(tail))));
        }
    }

    /// Looks whether the log has what was not heard of, when nothing was for a while.
    pub(in crate::actors::channels) fn look_if_quiet(&mut self, ctx: &Context<Self>) {
        let now = self.now().uptime;
        let Some(shared) = &mut self.shared else { return };
        let head = shared.chain.head();
        if shared.quiet.head != head {
            (shared.quiet.head, shared.quiet.due) = (head, now + limits::HEADS_QUIET);
        } else if shared.quiet.due <= now {
            self.look(false, ctx);
        }
    }

    fn look(&mut self, is_urgent: bool, ctx: &Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        if shared.quiet.is_looking {
            shared.quiet.looks_again |= is_urgent;
            return;
        }
        shared.quiet.is_looking = true;
        let (own, others) = shared.seating.counts();
        let (channel, address) = (self.state.name().clone(), ctx.address());
        let done = Box::new(move |looked| address.do_send(LookedAt(looked)));
        shared.log.look(Look { channel, seen: shared.chain.head(), own, others, is_urgent, done });
    }

    /// Takes what links, and looks again later when something is late.
    fn advance(&mut self, taken: Result<Vec<Linked>, Broken>, ctx: &mut Context<Self>) {
        let now = self.now();
        match taken {
            Ok(entries) => {
                for linked in entries {
                    self.take(now, linked, ctx);
                }
                self.look_later(now, ctx);
            }
            Err(Broken) => self.rejoin(ctx),
        }
    }

    fn take(&mut self, now: Now, Linked { node, entry, .. }: Linked, ctx: &mut Context<Self>) {
        let Some(shared) = &mut self.shared else { return };
        let node = (shared.log.node() != node).then_some(node);
        if entry.is_judged() {
            shared.judged = entry.serial.place();
        }
        self.was_used = true;
        let lost = self.state.follow(now, &entry, node);
        self.recall_annotated(&entry, ctx);
        let is_known = self.complete(&entry);
        let mut later = || -> Done<()> { Box::new(drop) };
        // A copy is never refused.
        let _ = self.log.append(now.uptime, Arc::clone(&entry), &mut later);
        // An entry that tells an owner has nothing to show.
        if !is_known {
            self.carry_out([Effect::Complete(entry)], ctx);
        } else if !entry.is_empty() {
            self.hand_out(now, entry, ctx);
        }
        if let Some(lost) = lost {
            self.line_up(Task::Enter(lost), ctx);
        }
    }

    /// Finds out what an append has made of its message; false: the message has to be read.
    fn complete(&self, entry: &Entry) -> bool {
        let Some(append) = entry.operation().filter(|operation| !operation.is_complete()) else { return true };
        let Some(latest) = self.log.at_hand(append.target) else { return false };
        append.grow(&latest, Some(&self.worker.broker.accounts.app(self.state.name().app())));
        true
    }

    /// Reads the message of an append, which is delivered then, and whatever comes behind it after it.
    pub(in crate::actors::channels) fn complete_first(&mut self, append: Arc<Entry>, ctx: &Context<Self>) {
        let (Some(shared), Some(operation)) = (&self.shared, append.operation()) else { return };
        let (target, place, channel) = (operation.target, append.serial.place(), ctx.address());
        let read = move |read: Result<HashMap<MessageRef, Touched>, StoreError>| {
            let known = read.ok().and_then(|read| read.get(&target)?.latest(target, Some(place)));
            channel.do_send(Completed(known));
        };
        shared.log.messages(self.state.name(), vec![target], Box::new(read));
        self.commit_queue.reading(Effect::Complete(append));
    }

    /// What other nodes have annotated is told here as well: what is not known of it is read.
    fn recall_annotated(&mut self, entry: &Entry, ctx: &mut Context<Self>) {
        let mut targets: Vec<_> = entry.annotations().iter().map(|annotation| annotation.target).collect();
        targets.retain(|target| self.state.annotated(*target).is_none());
        self.recall_summaries(targets, ctx);
    }

    pub(super) fn hand_out(&mut self, now: Now, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        match self.commit_queue.is_empty() {
            true => self.deliver(now, entry, ctx),
            false => self.commit_queue.kept(entry),
        }
    }

    /// Who waited until the log was read goes on.
    fn log_was_read(&mut self, read: Result<(), Fault>, ctx: &mut Context<Self>) {
        if let Some(shared) = &mut self.shared {
            shared.held.awaits_log = false;
            for asker in mem::take(&mut shared.held.requests) {
                // The request may have ended.
                let _ = asker.send(read.clone());
            }
        }
        self.release_held(ctx);
        self.resume_line(read, ctx);
    }

    fn look_later(&mut self, now: Now, ctx: &mut Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_waiting) else { return };
        let Some(due) = shared.chain.due() else { return };
        shared.is_waiting = true;
        ctx.run_later(due.saturating_sub(now.uptime), |channel, ctx| {
            let now = channel.now();
            let Some(shared) = &mut channel.shared else { return };
            shared.is_waiting = false;
            if shared.chain.due().is_some_and(|due| due <= now.uptime) {
                channel.ask_log(ctx);
            }
            channel.look_later(now, ctx);
        });
    }

    /// The copy cannot go on where it stands: it begins anew.
    fn rejoin(&mut self, ctx: &mut Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        (shared.is_joining, shared.is_away) = (true, true);
        match self.state.knows_objects() {
            true => {
                let (turns, channel) = (shared.log.turns(), ctx.address());
                actix_rt::spawn(async move {
                    // It is never closed.
                    if let Ok(turn) = turns.acquire_owned().await {
                        channel.do_send(JoinAgain(turn));
                    }
                });
            }
            false => self.join_again(None, ctx),
        }
        self.release_held(ctx);
    }

    /// What it has of objects is put first.
    fn join_again(&mut self, turn: Option<OwnedSemaphorePermit>, ctx: &Context<Self>) {
        let Some(shared) = &self.shared else { return };
        let (log, name, head) = (shared.log.clone(), self.state.name().clone(), shared.chain.head());
        let channel = ctx.address();
        let join = move |kept: Result<(), StoreError>| {
            drop(turn);
            let told = Box::new({
                let channel = channel.clone();
                move |joined| channel.do_send(Rejoined(joined))
            });
            match kept {
                Ok(()) => log.join(&name, Some(head), hears(channel), told),
                Err(error) => told(Err(error)),
            }
        };
        // A log that has lost its objects is to have them again before anybody reads them.
        match self.state.object_changes(true) {
            Some(all) => self.worker.broker.log.keep_objects(self.state.name(), &all, Box::new(join)),
            None => join(Ok(())),
        }
    }

    fn published_elsewhere(&mut self, written: Written, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(shared) = &mut self.shared else { return };
        let head = shared.chain.head();
        if !written.is_kept {
            // What was published here was delivered with the answer.
            if !shared.log.is_own(&written)
                && let Some(entry) = written.entry(self.state.name(), head)
            {
                self.hand_out(now, Arc::new(entry), ctx);
            }
            return;
        }
        let is_known = written.serial.epoch() == head.epoch() && written.serial.place() <= head.place();
        if is_known || shared.is_joining {
            return;
        }
        if let Some(linked) = written.link(self.state.name()) {
            let taken = shared.chain.push(now.uptime, linked);
            self.advance(taken, ctx);
        }
    }

    /// The entry that this node has appended is usually here before it is heard of.
    pub(super) fn kept(&mut self, previous: Serial, entry: Entry, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        let taken = shared.chain.push(now.uptime, Linked { previous, node: shared.log.node(), entry: Arc::new(entry) });
        self.advance(taken, ctx);
    }
}

impl Handler<Heard> for Channel {
    type Result = ();

    fn handle(&mut self, Heard(news): Heard, ctx: &mut Self::Context) {
        match news {
            _ if self.retired => {}
            News::Published(written) => self.published_elsewhere(written, ctx),
            News::Counted(node, counts) => self.counted_elsewhere(node, counts, ctx),
            News::Missed => self.look(true, ctx),
        }
    }
}

impl Handler<LookedAt> for Channel {
    type Result = ();

    fn handle(&mut self, LookedAt(looked): LookedAt, ctx: &mut Self::Context) {
        let now = self.now().uptime;
        let Some(shared) = &mut self.shared else { return };
        shared.quiet.is_looking = false;
        shared.quiet.due = now + limits::HEADS_AGAIN;
        let looks_again = mem::take(&mut shared.quiet.looks_again);
        if self.retired || shared.is_joining {
            return;
        }
        shared.is_away = looked.is_err();
        match looked {
            Ok(looked) => {
                if looked.has_other_entries {
                    self.ask_log(ctx);
                }
                if looked.has_other_counts {
                    self.tell_own_counts(ctx);
                }
                if looks_again {
                    self.look(true, ctx);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a channel cannot look at its log yet");
                ctx.run_later(limits::CHAIN_AGAIN, |channel, ctx| channel.look(true, ctx));
            }
        }
    }
}

impl Handler<CaughtUp> for Channel {
    type Result = ();

    fn handle(&mut self, CaughtUp(tail): CaughtUp, ctx: &mut Self::Context) {
        let now = self.now();
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        match tail {
            Ok(tail) => {
                shared.is_away = false;
                let head = tail.head;
                let taken = shared.chain.caught_up(now.uptime, tail);
                let is_whole = taken.is_err() || shared.chain.head().place() >= head.place();
                self.advance(taken, ctx);
                let is_enough = is_whole && !self.shared.as_ref().is_some_and(|shared| shared.held.asks_again);
                match is_enough {
                    true => self.log_was_read(Ok(()), ctx),
                    // It was read in part, or too early.
                    false => self.ask_log(ctx),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a channel cannot catch up with its log yet");
                shared.chain.failed(now.uptime);
                shared.is_away = true;
                self.log_was_read(Err(Fault::Busy), ctx);
                self.look_later(now, ctx);
            }
        }
    }
}

impl Handler<Completed> for Channel {
    type Result = ();

    fn handle(&mut self, Completed(known): Completed, ctx: &mut Self::Context) {
        let now = self.now();
        if let Some(Effect::Complete(entry)) = self.commit_queue.read() {
            if let (Some(append), Some(latest)) = (entry.operation(), known) {
                append.grow(&latest, Some(&self.worker.broker.accounts.app(self.state.name().app())));
            }
            // What cannot be read is told as it was appended.
            self.deliver(now, entry, ctx);
        }
        self.release(ctx);
    }
}

impl Handler<JoinAgain> for Channel {
    type Result = ();

    fn handle(&mut self, JoinAgain(turn): JoinAgain, ctx: &mut Self::Context) {
        if !self.retired {
            self.join_again(Some(turn), ctx);
        }
    }
}

impl Handler<Rejoined> for Channel {
    type Result = ();

    fn handle(&mut self, Rejoined(joined): Rejoined, ctx: &mut Self::Context) {
        let now = self.now();
        let Some(shared) = &mut self.shared else { return };
        shared.is_joining = false;
        match joined {
            Ok(Joined { head, floor, judged, log, members, counts }) => {
                shared.is_away = false;
                tracing::warn!("a channel could not follow its log; its clients are told that messages may be missing");
                // Nobody here has seen anything of another life of the log.
                let is_new = head.epoch() != shared.chain.head().epoch();
                shared.log.tally().broke(if is_new { Break::OtherLog } else { Break::Expired });
                let app = self.worker.broker.accounts.app(self.state.name().app());
                shared.chain = Chain::new(head, Some(app));
                shared.judged = judged;
                self.log = log;
                let elsewhere = shared.seating.learn(shared.log.node(), counts);
                shared.seating.forget_told();
                self.state.set_elsewhere(elsewhere);
                self.state.forget_objects();
                self.is_unkept = false;
                let lost = self.state.restore(now.uptime, members);
                let breaks = self.state.restart(head, if is_new { floor } else { head }, Gap::Expired);
                self.carry_out(breaks, ctx);
                let is_message = |entry: &Arc<Entry>| is_new && matches!(entry.body, Body::Messages(_));
                for entry in self.log.recent().into_iter().filter(is_message) {
                    self.hand_out(now, entry, ctx);
                }
                for lost in lost {
                    self.line_up(Task::Enter(lost), ctx);
                }
                self.expire_in_time(ctx);
                self.tell_own_counts(ctx);
                // What was published while it was being read was not taken.
                self.ask_log(ctx);
            }
            Err(error) => {
                tracing::debug!(%error, "a channel cannot be joined anew yet");
                self.log_was_read(Err(Fault::Busy), ctx);
                ctx.run_later(limits::CHAIN_AGAIN, |channel, ctx| channel.rejoin(ctx));
            }
        }
    }
}
