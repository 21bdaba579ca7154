//! The older protocols beside LetShare: what one delivered message costs in each, in the same round (benches/README.md).
//!
//! A protocol is one file here: a [`OlderDialect`], which says what its clients write and read, and its [`Case`]s. Everybody
//! else of the tool, the crowd and the count above all, is as for LetShare and Ably.

pub mod answers;
mod group;
mod relay;

use std::fmt;

use anyhow::Result;

use crate::{
    crowd::Population,
    dialect::{Dialect, ServerFrame, Target},
    older::answers::Answers,
    stamp::Envelope,
    subject::Subject,
    traffic::Pace,
};

/// What is said in one of the older protocols. Everybody in a crowd listens to the channel of its room.
pub trait OlderDialect: Sync {
    fn name(&self) -> &'static str;

    /// Publishers send requests, one behind the other on a kept connection, instead of frames; each is answered.
    fn publishes_by_http(&self) -> bool;

    /// Publishing is answered: by frames that [`OlderDialect::read`] tells, or by HTTP.
    fn acknowledges(&self) -> bool;

    /// What receivers find in front of and behind the stamp.
    fn envelope(&self, data_bytes: usize) -> Envelope;

    /// What `user` asks for when it connects.
    fn upgrade_request(&self, target: &Target, user: &str) -> String;

    /// How `user` says who it is, where that comes before joining; the answer is [`ServerFrame::Connected`].
    fn greeting(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// What is said after that, or after the upgrade; the answer is [`ServerFrame::Joined`].
    fn join(&self, channel: &str) -> Result<Vec<u8>>;

    /// The frame or the request that publishes `data`, a JSON object, to the members of `channel`.
    fn publish(&self, target: &Target, channel: &str, data: &str, serial: u32) -> Result<Vec<u8>>;

    fn read(&self, payload: &[u8]) -> ServerFrame;

    /// What must be there before anybody connects, such as groups with their members.
    fn prepare(&self, _: &Target, _: Population) -> Result<()> {
        Ok(())
    }

    /// Waits until the server counts everybody who has joined, where the clients are not told.
    fn gathered(&self, _: &Target, _: Population) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for dyn OlderDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn OlderDialect {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn OlderDialect {}

/// One side of a case: who sits where, and speaks what.
#[derive(Clone, Copy)]
pub struct Side {
    /// As the table names it.
    pub name: &'static str,
    pub dialect: Dialect,
    pub population: Population,
}

/// What one publish costs that leads to no delivery; for what is part of the others.
pub type Alone = fn(&Subject, usize, std::time::Duration) -> Result<Answers>;

/// A comparison: all sides in turns, each in a fresh server.
pub struct Case {
    /// As it is asked for.
    pub name: &'static str,
    pub title: String,
    pub paces: &'static [Pace],
    /// The first is LetShare, the measure of the others.
    pub sides: Vec<Side>,
    /// More settings of the server.
    pub settings: &'static [(&'static str, &'static str)],
    pub alone: &'static [(&'static str, Alone)],
}

/// All of them; small ones for a smoke test.
pub fn cases(quick: bool) -> Vec<Case> {
    let mut cases = relay::cases(quick);
    cases.extend(group::cases(quick));
    cases
}
