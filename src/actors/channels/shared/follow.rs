//! How a channel follows a log that other nodes write to as well: what it hears, what it reads because it was late or lost, and
//! the break when it cannot go on.

use std::sync::Arc;

use actix::{Addr, AsyncContext as _, Context, Handler, Message};

use crate::{
    actors::channels::channel::Channel,
    core::{
        chain::{Broken, Chain, Linked, Tail},
        command::Now,
        message::Entry,
        serial::Serial,
        window::Gap,
    },
    limits,
    log::{
        Done, StoreError,
        shared::{Joined, News, Written},
    },
};

#[derive(Message)]
#[rtype(result = "()")]
struct Heard(News);

/// What the log has behind the newest entry here.
#[derive(Message)]
#[rtype(result = "()")]
struct CaughtUp(Result<Tail, StoreError>);

#[derive(Message)]
#[rtype(result = "()")]
struct Rejoined(Result<Joined, StoreError>);

pub(super) fn hears(channel: Addr<Channel>) -> impl Fn(News) + Send + 'static {
    // What finds the mailbox full is missed, and read when the next one does not link.
    move |news| drop(channel.try_send(Heard(news)))
}

impl Channel {
    /// Reads what the log has behind the newest entry here, unless it is being read.
    pub(in crate::actors::channels) fn ask_log(&mut self, ctx: &Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
        if let Some(after) = shared.chain.ask() {
            shared.asks_again = false;
            let channel = ctx.address();
            shared.log.tail(self.state.name(), after, Box::new(move |tail| channel.do_send(CaughtUp(tail))));
        }
    }

    /// Takes what links, and looks again later when something is late.
    fn advance(&mut self, taken: Result<Vec<Arc<Entry>>, Broken>, ctx: &mut Context<Self>) {
        let now = self.now();
        match taken {
            Ok(entries) => {
                for entry in entries {
                    self.take(now, entry, ctx);
                }
                self.look_later(now, ctx);
            }
            Err(Broken) => self.rejoin(ctx),
        }
    }

    fn take(&mut self, now: Now, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        self.was_used = true;
        self.state.take(now, &entry);
        let mut later = || -> Done<()> { Box::new(drop) };
        // A copy is never refused.
        let _ = self.log.append(now.uptime, Arc::clone(&entry), &mut later);
        self.hand_out(now, entry, ctx);
    }

    pub(super) fn hand_out(&mut self, now: Now, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        match self.commit_queue.is_empty() {
            true => self.deliver(now, entry, ctx),
            false => self.commit_queue.kept(entry),
        }
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
        shared.log.tally().broke();
        let channel = ctx.address();
        let told = Box::new(move |joined| channel.do_send(Rejoined(joined)));
        shared.log.join(self.state.name(), Some(shared.chain.head()), hears(ctx.address()), told);
        self.release_held(ctx);
    }

    fn published_elsewhere(&mut self, written: Written, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.is_joining) else { return };
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
        if is_known {
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
        let taken = shared.chain.push(now.uptime, Linked { previous, entry: Arc::new(entry) });
        self.advance(taken, ctx);
    }
}

impl Handler<Heard> for Channel {
    type Result = ();

    fn handle(&mut self, Heard(news): Heard, ctx: &mut Self::Context) {
        match news {
            _ if self.retired => {}
            News::Published(written) => self.published_elsewhere(written, ctx),
            News::Missed => self.ask_log(ctx),
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
                let is_enough = is_whole && !self.shared.as_ref().is_some_and(|shared| shared.asks_again);
                match is_enough {
                    true => self.release_held(ctx),
                    // It was read in part, or too early.
                    false => self.ask_log(ctx),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a channel cannot catch up with its log yet");
                shared.chain.failed(now.uptime);
                shared.is_away = true;
                self.release_held(ctx);
                self.look_later(now, ctx);
            }
        }
    }
}

impl Handler<Rejoined> for Channel {
    type Result = ();

    fn handle(&mut self, Rejoined(joined): Rejoined, ctx: &mut Self::Context) {
        let Some(shared) = &mut self.shared else { return };
        shared.is_joining = false;
        match joined {
            Ok(Joined { head, log }) => {
                shared.is_away = false;
                tracing::warn!("a channel could not follow its log; its clients are told that messages may be missing");
                shared.chain = Chain::new(head);
                self.log = log;
                let breaks = self.state.restart(head, Gap::Expired);
                self.carry_out(breaks, ctx);
                // What was published while it was being read was not taken.
                self.ask_log(ctx);
            }
            Err(error) => {
                tracing::debug!(%error, "a channel cannot be joined anew yet");
                ctx.run_later(limits::CHAIN_AGAIN, |channel, ctx| channel.rejoin(ctx));
            }
        }
    }
}
