//! What a channel has to do once its log has kept an entry: to be done in order, after the commit, so that
//! nothing is delivered or acknowledged that a crash could take back (docs/architecture.md §6, promise 2). Effects also
//! wait behind one for which the past is being read from a disk.
//!
//! A channel whose log is memory alone never holds anything.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    core::{
        command::{Effect, Reply},
        dedupe::Published,
        message::Entry,
        serial::Serial,
    },
    error::Fault,
    log::StoreError,
};

/// What waits, oldest first.
#[derive(Default)]
pub(in crate::actors) struct CommitQueue {
    steps: VecDeque<Step>,
    /// Entries that the log did not take, as long as an outcome in the steps may be theirs.
    refused: Vec<(Serial, Fault)>,
}

/// Who gets the outcome of a publish.
pub(in crate::actors) enum Asker {
    Transport(Reply),
    Request(oneshot::Sender<Result<Published, Fault>>),
}

enum Step {
    Effect(Effect),
    /// The past is being read for this effect.
    Reading(Effect),
    /// To be delivered when the log has it.
    Entry(Arc<Entry>, Commit),
    /// To be sent when the log has what was published.
    Outcome(Asker, Published),
}

enum Commit {
    Pending,
    Done,
    Refused(Fault),
}

/// What may be done now.
pub(in crate::actors) enum Ready {
    Effect(Effect),
    Deliver(Arc<Entry>),
    /// It is not in the log; its id may be used again.
    Withdraw(Arc<Entry>),
    Outcome(Asker, Result<Published, Fault>),
}

impl CommitQueue {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn effect(&mut self, effect: Effect) {
        self.steps.push_back(Step::Effect(effect));
    }

    /// The log answers later whether it has this entry.
    pub fn entry(&mut self, entry: Arc<Entry>) {
        self.steps.push_back(Step::Entry(entry, Commit::Pending));
    }

    /// The log has this entry already, or will never have it; it only waits for what comes before it.
    pub fn kept(&mut self, entry: Arc<Entry>) {
        self.steps.push_back(Step::Entry(entry, Commit::Done));
    }

    pub fn outcome(&mut self, asker: Asker, published: Published) {
        self.steps.push_back(Step::Outcome(asker, published));
    }

    /// Everything waits until the past is read for `effect`, which was the next.
    pub fn reading(&mut self, effect: Effect) {
        self.steps.push_front(Step::Reading(effect));
    }

    /// The effect for which the past was being read.
    pub fn read(&mut self) -> Option<Effect> {
        match self.steps.pop_front_if(|step| matches!(step, Step::Reading(_))) {
            Some(Step::Reading(effect)) => Some(effect),
            _ => None,
        }
    }

    /// The log has an entry, or refuses it. It answers in the order of the entries.
    pub fn committed(&mut self, serial: Serial, outcome: &Result<(), StoreError>) {
        let entry = self.steps.iter_mut().find_map(|step| match step {
            Step::Entry(entry, commit) if entry.serial == serial => Some(commit),
            _ => None,
        });
        if let Some(commit) = entry {
            *commit = match outcome {
                Ok(()) => Commit::Done,
                Err(error) => Commit::Refused(error.to_fault()),
            };
        }
    }

    /// The next thing that waits for nothing before it.
    pub fn next(&mut self) -> Option<Ready> {
        if let Some(Step::Entry(_, Commit::Pending) | Step::Reading(_)) = self.steps.front() {
            return None;
        }
        let Some(step) = self.steps.pop_front() else {
            // No outcome can be theirs any more.
            self.refused.clear();
            return None;
        };
        Some(match step {
            Step::Effect(effect) | Step::Reading(effect) => Ready::Effect(effect),
            // Who is present is so without a disk; only its history has a hole.
            Step::Entry(entry, Commit::Refused(_)) if !entry.presence().is_empty() => Ready::Deliver(entry),
            Step::Entry(entry, Commit::Refused(fault)) => {
                self.refused.push((entry.serial, fault));
                Ready::Withdraw(entry)
            }
            Step::Entry(entry, _) => Ready::Deliver(entry),
            Step::Outcome(asker, published) => {
                let refused = self.refused.iter().find(|(serial, _)| *serial == published.serial);
                Ready::Outcome(asker, refused.map_or(Ok(published), |(_, fault)| Err(fault.clone())))
            }
        })
    }

    /// The channel dies: the effects that will not be carried out, and the publishes of transports without an outcome.
    /// Requests notice that their answer was dropped.
    pub fn abandon(&mut self) -> impl Iterator<Item = Abandoned> + use<> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().filter_map(|step| match step {
            Step::Effect(effect) | Step::Reading(effect) => Some(Abandoned::Effect(effect)),
            Step::Outcome(Asker::Transport(reply), _) => Some(Abandoned::Publish(reply)),
            Step::Entry(..) | Step::Outcome(Asker::Request(_), _) => None,
        })
    }
}

/// What a channel that died has not done.
pub(in crate::actors) enum Abandoned {
    Effect(Effect),
    Publish(Reply),
}
