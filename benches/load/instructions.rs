//! Instructions instead of time: a fixed number of messages, written so many at once and awaited, with the server under
//! callgrind. What other processes do leaves no trace in the figure, so two builds compare to the percent.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    subject::Subject,
    tally::Wrongs,
};

/// All of a batch must have come within this; callgrind makes a server fifty times slower.
const PATIENCE: Duration = Duration::from_secs(30);

/// One scenario.
pub struct Counting {
    pub name: String,
    pub receivers: usize,
    /// Messages that leave together.
    pub at_once: usize,
    pub messages: usize,
    /// Nobody else is there: what a publish costs that is acknowledged.
    pub is_publish: bool,
    data_bytes: usize,
}

/// What the server did for it.
pub struct Counted {
    pub instructions: u64,
    pub messages: usize,
    pub wrongs: Wrongs,
}

impl Counted {
    /// Per message.
    pub fn each(&self) -> f64 {
        self.instructions as f64 / self.messages as f64
    }
}

impl Counting {
    pub fn all(messages: usize, data_bytes: usize) -> Vec<Self> {
        let fanout = |receivers: usize, at_once: usize| Self {
            name: format!("fan-out to {receivers}, {at_once} at once"),
            receivers,
            at_once,
            // As many deliveries would take minutes. Whole batches.
            messages: (if receivers > 1 { messages / 4 } else { messages }).next_multiple_of(2 * at_once),
            is_publish: receivers == 0,
            data_bytes,
        };
        let publish = |at_once| Self { name: format!("publish with ACK, {at_once} at once"), ..fanout(0, at_once) };
        vec![fanout(1, 1), fanout(1, 8), fanout(50, 1), fanout(50, 8), publish(1), publish(64)]
    }
}

/// The profile is left in `profile`.
pub fn count(subject: &Subject, dialect: Dialect, counting: &Counting, profile: Option<&Path>) -> Result<Counted> {
    let members = counting.receivers + 1;
    let population = Population { rooms: 1, members, publishers: 1, outside: false, echo: false };
    let mut crowd = Crowd::new(subject.target.clone(), dialect, population, counting.data_bytes)?;
    crowd.gather(50, 4 * PATIENCE)?;
    // Caches, buffers and allocators reach their size first.
    flow(&mut crowd, counting, counting.messages / 2)?;
    subject.instructions()?;
    flow(&mut crowd, counting, counting.messages)?;
    let (instructions, file) = subject.instructions()?;
    if let Some(profile) = profile {
        fs::copy(file, profile).context("keeping a profile")?;
    }
    Ok(Counted { instructions, messages: counting.messages, wrongs: crowd.account() })
}

fn flow(crowd: &mut Crowd, counting: &Counting, messages: usize) -> Result<()> {
    for _ in 0..messages / counting.at_once {
        let mut publisher = 0;
        for _ in 0..counting.at_once {
            publisher = crowd.write(0, 0)?;
        }
        crowd.post(publisher)?;
        crowd.settle(PATIENCE)?;
        ensure!(crowd.on_the_way() + crowd.unanswered() == 0, "messages are missing after {PATIENCE:?}");
    }
    Ok(())
}
