//! How many use a channel, here and at other nodes; and the seats that rules count over all nodes
//! (`docs/design/cluster.md §3`).
//!
//! A node tells the others when its own counts have changed, a second later at the latest. An attach that rules count waits until
//! the log has given it a seat: the log knows those of all live nodes.

use std::collections::HashMap;

use actix::{AsyncContext as _, Context, Handler, Message};

use super::Shared;
use crate::{
    actors::channels::channel::Channel,
    core::occupancy::Occupancy,
    error::Fault,
    ids::NodeId,
    log::{
        StoreError,
        shared::{Seated, Seats, Usage},
    },
};

/// What is known of the counts of a channel.
#[derive(Default)]
pub(super) struct Seating {
    others: HashMap<NodeId, Usage>,
    /// What the log has of this node; at most what it was asked to note.
    told: Usage,
    /// It may have something else, or nothing.
    is_unsure: bool,
    /// Seats of all nodes.
    cap: usize,
    /// The log was asked for so many seats in all.
    asked: Option<usize>,
    /// Why it has not given as many.
    refusal: Option<Fault>,
}

impl Seating {
    /// What the nodes have told, this one among them: what the others come to.
    pub fn learn(&mut self, here: NodeId, counts: Vec<(NodeId, Usage)>) -> Occupancy {
        self.others = counts.into_iter().filter(|(node, _)| *node != here).collect();
        self.elsewhere()
    }

    fn elsewhere(&self) -> Occupancy {
        self.counts().1.occupancy
    }

    /// Seats that this node has, and keeps whatever the log answers.
    pub const fn seats(&self) -> usize {
        self.told.seats
    }

    /// What the log should have of this node, and of the others together.
    pub fn counts(&self) -> (Usage, Usage) {
        (self.told, self.others.values().fold(Usage::default(), |sum, counts| sum.plus(*counts)))
    }

    pub const fn is_answered(&self) -> bool {
        self.asked.is_none()
    }

    /// None of the seats is left, and the log was not asked in vain just now.
    pub const fn may_give_more(&self, counted: usize) -> bool {
        counted >= self.told.seats && self.refusal.is_none()
    }

    /// The log has lost it.
    pub const fn forget_told(&mut self) {
        self.is_unsure = true;
    }
}

/// The log has noted the counts.
#[derive(Message)]
#[rtype(result = "()")]
struct Noted(Result<Seated, StoreError>);

impl Channel {
    /// Asks for as many seats as are needed, unless some are being asked for.
    pub(super) fn ask_for_seats(&mut self, cap: usize, ctx: &Context<Self>) {
        let Some(shared) = &mut self.shared else { return };
        shared.seating.cap = shared.seating.cap.max(cap);
        let wanted = self.state.counted() + shared.held.seats();
        self.tell_counts(wanted, ctx);
    }

    /// # Errors
    /// There is no seat for one more who is counted.
    pub(in crate::actors::channels) fn take_seat(&self) -> Result<(), Fault> {
        match &self.shared {
            Some(shared) if self.state.counted() >= shared.seating.seats() => {
                Err(shared.seating.refusal.clone().unwrap_or(Fault::Busy))
            }
            _ => Ok(()),
        }
    }

    /// Tells the other nodes how many use the channel here, and hears it of them.
    pub(in crate::actors::channels) fn tell_own_counts(&mut self, ctx: &Context<Self>) {
        self.tell_counts(self.state.counted(), ctx);
    }

    /// The same if it is not what the log has.
    pub(in crate::actors::channels) fn tell_changed_counts(&mut self, ctx: &Context<Self>) {
        let here = Usage { seats: self.state.counted(), occupancy: self.state.occupancy_here() };
        let Some(Shared { seating, .. }) = self.shared.as_deref() else { return };
        if seating.is_unsure || seating.told != here {
            self.tell_own_counts(ctx);
        }
    }

    /// A seat is free again: others may wait for it.
    pub(in crate::actors::channels) fn give_back_seats(&mut self, ctx: &Context<Self>) {
        if self.shared.as_ref().is_some_and(|shared| shared.seating.seats() > self.state.counted()) {
            self.tell_own_counts(ctx);
        }
    }

    fn tell_counts(&mut self, wanted: usize, ctx: &Context<Self>) {
        let Some(shared) = self.shared.as_mut().filter(|shared| shared.seating.is_answered()) else { return };
        let seating = &mut shared.seating;
        seating.asked = Some(wanted);
        seating.told.occupancy = self.state.occupancy_here();
        // What is given back is no longer this node's: another one may have it before the log has answered.
        seating.told.seats = seating.told.seats.min(wanted);
        let seats = Seats { cap: seating.cap, wanted, held: seating.told.seats };
        let channel = ctx.address();
        let done = Box::new(move |noted| channel.do_send(Noted(noted)));
        shared.log.seat(self.state.name(), seats, seating.told.occupancy, done);
    }

    /// Another node has told its counts.
    pub(super) fn counted_elsewhere(&mut self, node: NodeId, counts: Usage, ctx: &mut Context<Self>) {
        let Some(shared) = &mut self.shared else { return };
        if shared.log.node() == node {
            // The others have taken this node for dead.
            if counts == Usage::default() && shared.seating.told != counts {
                self.tell_own_counts(ctx);
            }
            return;
        }
        match counts == Usage::default() {
            true => shared.seating.others.remove(&node),
            false => shared.seating.others.insert(node, counts),
        };
        self.note_elsewhere(ctx);
    }

    /// Whose seats are others' by now are told, and go.
    fn unseat(&mut self, ctx: &mut Context<Self>) {
        let Some(shared) = &self.shared else { return };
        let (seats, fault) = (shared.seating.seats(), Fault::ChannelFull { cap: shared.seating.cap });
        if self.state.counted() > seats {
            tracing::warn!("this server was away, and others have come into places of its clients, who are told");
            let effects = self.state.unseat(self.now(), seats, &fault);
            self.carry_out(effects, ctx);
            self.note_use(ctx);
        }
    }

    fn note_elsewhere(&mut self, ctx: &mut Context<Self>) {
        let Some(shared) = &self.shared else { return };
        let before = self.state.occupancy();
        self.state.set_elsewhere(shared.seating.elsewhere());
        if self.state.occupancy() != before {
            self.count_soon(ctx);
        }
    }
}

impl Handler<Noted> for Channel {
    type Result = ();

    fn handle(&mut self, Noted(noted): Noted, ctx: &mut Self::Context) {
        let Some(shared) = &mut self.shared else { return };
        let (here, seating) = (shared.log.node(), &mut shared.seating);
        let wanted = seating.asked.take().unwrap_or_default();
        let is_noted = noted.is_ok();
        seating.refusal = match noted {
            Ok(seated) => {
                seating.told.seats = seated.seats;
                seating.is_unsure = false;
                seating.learn(here, seated.others);
                (seated.seats < wanted).then_some(Fault::ChannelFull { cap: seating.cap })
            }
            Err(error) => {
                tracing::debug!(%error, "how many use a channel could not be told");
                seating.forget_told();
                Some(Fault::Busy)
            }
        };
        self.note_elsewhere(ctx);
        if is_noted {
            self.unseat(ctx);
        }
        self.release_held(ctx);
        if let Some(shared) = &mut self.shared {
            shared.seating.refusal = None;
        }
        if is_noted {
            self.give_back_seats(ctx);
        }
        // What has changed meanwhile, or could not be told, is told a little later.
        self.count_soon(ctx);
    }
}
