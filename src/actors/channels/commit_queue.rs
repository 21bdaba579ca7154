//! What a channel has to do once its log has kept an entry: to be done in order, after the commit, so that
//! nobody sees or is told of what a crash could take back (docs/architecture.md §6, promise 2).
//!
//! A channel whose log is memory alone never holds anything.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    core::{
        command::{Answer, Effect},
        dedupe::Published,
        message::Entry,
        serial::Serial,
    },
    error::Fault,
    log::StoreError,
};

/// The effects that wait, oldest first.
#[derive(Default)]
pub(in crate::actors) struct CommitQueue {
    steps: VecDeque<Step>,
    /// What the log did not take, of what is still spoken of in the steps.
    refused: Vec<(Serial, Fault)>,
}

/// Tells who waits for the outcome of a publish.
pub(in crate::actors) type Asker = oneshot::Sender<Result<Published, Fault>>;

enum Step {
    Effect(Effect),
    /// To be delivered when the log has it.
    Entry(Arc<Entry>, Kept),
    Asked(Asker, Published),
}

enum Kept {
    NotYet,
    Yes,
    No(Fault),
}

/// What may be done now.
pub(in crate::actors) enum Ready {
    Effect(Effect),
    Deliver(Arc<Entry>),
    /// It is not in the log; its id may be used again.
    Withdraw(Arc<Entry>),
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

    /// The log will tell of this entry.
    pub fn entry(&mut self, entry: Arc<Entry>) {
        self.steps.push_back(Step::Entry(entry, Kept::NotYet));
    }

    pub fn asked(&mut self, asker: Asker, published: Published) {
        self.steps.push_back(Step::Asked(asker, published));
    }

    /// The log has told; it tells in the order of the entries.
    pub fn told(&mut self, serial: Serial, outcome: &Result<(), StoreError>) {
        let entry = self.steps.iter_mut().find_map(|step| match step {
            Step::Entry(entry, kept) if entry.serial == serial => Some(kept),
            _ => None,
        });
        if let Some(kept) = entry {
            *kept = match outcome {
                Ok(()) => Kept::Yes,
                Err(error) => Kept::No(fault_of(error)),
            };
        }
    }

    /// The next thing that waits for nothing before it.
    pub fn next(&mut self) -> Option<Ready> {
        loop {
            if let Some(Step::Entry(_, Kept::NotYet)) = self.steps.front() {
                return None;
            }
            let Some(step) = self.steps.pop_front() else {
                // Nothing speaks of them any more.
                self.refused.clear();
                return None;
            };
            match step {
                Step::Effect(effect) => return Some(Ready::Effect(self.judge(effect))),
                // Who is present is so without a disk; only its history has a hole.
                Step::Entry(entry, Kept::No(_)) if !entry.presence().is_empty() => {
                    return Some(Ready::Deliver(entry));
                }
                Step::Entry(entry, Kept::No(fault)) => {
                    self.refused.push((entry.serial, fault));
                    return Some(Ready::Withdraw(entry));
                }
                Step::Entry(entry, _) => return Some(Ready::Deliver(entry)),
                Step::Asked(asker, published) => {
                    let fault = self.fault_of(published.serial);
                    // Whoever asked may have gone.
                    let _ = asker.send(fault.map_or(Ok(published), Err));
                }
            }
        }
    }

    /// An answer that promised what came to nothing says so.
    fn judge(&self, effect: Effect) -> Effect {
        let Effect::Answer { hub, session, answer: Answer::Published { token, published } } = effect else {
            return effect;
        };
        let answer = match self.fault_of(published.serial) {
            None => Answer::Published { token, published },
            Some(fault) => Answer::PublishRefused { token: Some(token), fault },
        };
        Effect::Answer { hub, session, answer }
    }

    /// The channel dies: the effects that nothing will come of. Those who asked see that they get no answer.
    pub fn abandon(&mut self) -> impl Iterator<Item = Effect> + use<> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().filter_map(|step| match step {
            Step::Effect(effect) => Some(effect),
            Step::Entry(..) | Step::Asked(..) => None,
        })
    }

    fn fault_of(&self, serial: Serial) -> Option<Fault> {
        let refused = self.refused.iter().find(|(refused, _)| *refused == serial);
        refused.map(|(_, fault)| fault.clone())
    }
}

fn fault_of(error: &StoreError) -> Fault {
    match error {
        StoreError::Full => Fault::DiskFull,
        StoreError::Busy => Fault::Busy,
        StoreError::Closed => Fault::ShuttingDown,
        _ => Fault::Internal,
    }
}
