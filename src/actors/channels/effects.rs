//! What a channel does for its state: append, deliver, answer. In order, and what must wait for the disk waits
//! ([`CommitQueue`](super::held::CommitQueue)).

use std::sync::Arc;

use actix::{AsyncContext as _, Context};

use crate::{
    actors::{
        channels::channel::{Channel, Logged},
        channels::commit_queue::Ready,
        channels::undone::Owed,
        fanout::hub::HubMessage,
    },
    core::{
        command::{Answer, Effect, HubId},
        message::{Body, Entry},
        replay,
    },
    ids::SessionId,
    log::{Appended, Done},
};

impl Channel {
    /// Does what the state asks for, in order: now, or when the log has kept what comes before it.
    pub(in crate::actors) fn carry_out(&mut self, effects: impl IntoIterator<Item = Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Append(entry) => self.append(entry, ctx),
                effect if self.commit_queue.is_empty() => self.perform(effect, ctx),
                effect => {
                    if matches!(effect, Effect::Answer { .. } | Effect::Attached { .. }) {
                        // Whoever waits for it is told when it is not carried out (`CommitQueue::abandon`).
                        self.owed = None;
                    }
                    self.commit_queue.effect(effect);
                }
            }
        }
    }

    pub(in crate::actors) fn append(&mut self, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        if entry.is_ephemeral {
            // It waits for those before it all the same: order.
            return if self.commit_queue.is_empty() {
                self.deliver(entry, ctx);
            } else {
                self.commit_queue.effect(Effect::Append(entry));
            };
        }
        let serial = entry.serial;
        let mut whom = || -> Done<()> {
            let channel = ctx.address();
            Box::new(move |outcome| channel.do_send(Logged { serial, outcome }))
        };
        let uptime = self.worker.broker.clock.uptime();
        match self.log.append(uptime, Arc::clone(&entry), &mut whom) {
            Appended::Kept => self.deliver(entry, ctx),
            Appended::Later => self.commit_queue.entry(entry),
        }
    }

    /// The log has told: does what has waited for it.
    pub(in crate::actors) fn release(&mut self, ctx: &mut Context<Self>) {
        while let Some(ready) = self.commit_queue.next() {
            match ready {
                Ready::Effect(Effect::Append(ephemeral)) | Ready::Deliver(ephemeral) => {
                    self.deliver(ephemeral, ctx);
                }
                Ready::Effect(effect) => self.perform(effect, ctx),
                Ready::Withdraw(entry) => self.state.withdraw(&entry),
            }
        }
    }

    pub(in crate::actors) fn deliver(&mut self, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        if matches!(entry.body, Body::Presence(_)) {
            self.count_soon(ctx);
        }
        if !matches!(entry.body, Body::Occupancy(_)) {
            self.worker.count(|counters| counters.published += 1);
        }
        for hub in self.state.hubs() {
            self.tell(hub, HubMessage::Delivery(Arc::clone(&entry)));
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Append(entry) => self.append(entry, ctx),
            Effect::Answer { hub, session, answer } => {
                self.owed = None;
                self.answer(hub, session, answer);
            }
            Effect::Attached { hub, start, attached } => {
                let id = attached.subscription.id;
                let session = id.session;
                // Until the past is read, which may go wrong.
                self.owed = Some(Owed::Attachment { hub, id });
                let wall = self.worker.broker.clock.now();
                let bytes = self.worker.broker.settings.get().replay_bytes;
                let attached = replay::read(*attached, start, &*self.log, wall, bytes);
                self.owed = None;
                self.answer(hub, session, Answer::Attached(Box::new(attached)));
            }
            Effect::Replay { hub, after } => match self.log.after(after) {
                Ok(missed) => {
                    for entry in missed {
                        self.tell(hub, HubMessage::Delivery(entry));
                    }
                }
                Err(gap) => tracing::error!(%gap, "messages were lost with a channel actor"),
            },
            Effect::OccupancyChanged => self.count_soon(ctx),
        }
    }

    fn answer(&self, hub: HubId, session: SessionId, answer: Answer) {
        let channel = self.state.name().clone();
        let message = HubMessage::Answer { channel, session, answer };
        self.tell(hub, message);
    }
}
