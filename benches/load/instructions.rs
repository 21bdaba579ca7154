//! Instructions instead of time: a fixed number of messages, written so many at once and awaited, with the server under
//! callgrind. What other processes do leaves no trace in the figure, so two builds compare to the percent.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    older,
    subject::Subject,
    tally::Wrongs,
};

/// All of a batch must have come within this; callgrind makes a server fifty times slower.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages at once of an older protocol: as many as there are back ends that push.
const PUBLISHERS: usize = 8;

/// One scenario.
pub struct Counting {
    pub name: String,
    /// The one that speaks it; none: each that is asked for.
    pub dialect: Option<Dialect>,
    pub population: Population,
    /// Messages that leave together.
    pub at_once: usize,
    pub messages: usize,
    /// More settings of the server.
    pub settings: &'static [(&'static str, &'static str)],
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
        let counting = |name: String, dialect, population: Population, at_once: usize, settings| Self {
            name: format!("{name}, {at_once} at once"),
            dialect,
            population,
            at_once,
            // As many deliveries would take minutes. Whole batches.
            messages: (if population.receivers() > 1 { messages / 4 } else { messages }).next_multiple_of(2 * at_once),
            settings,
            data_bytes,
        };
        let fanout = |receivers: usize, at_once: usize| {
            let population =
                Population { rooms: 1, members: receivers + 1, publishers: 1, outside: false, echo: false };
            let name = if receivers == 0 { "publish with ACK".to_owned() } else { format!("fan-out to {receivers}") };
            counting(name, None, population, at_once, &[])
        };
        let mut all = vec![fanout(1, 1), fanout(1, 8), fanout(50, 1), fanout(50, 8), fanout(0, 1), fanout(0, 64)];
        for case in older::cases(true) {
            let older = case.sides.iter().filter(|side| matches!(side.dialect, Dialect::Older(_)));
            all.extend(older.map(|side| {
                counting(case.title.clone(), Some(side.dialect), side.population, PUBLISHERS, case.settings)
            }));
        }
        all
    }

    /// What a publish costs that is acknowledged: nobody else is there.
    pub fn is_publish(&self) -> bool {
        self.population.receivers() == 0
    }
}

/// The profile is left in `profile`.
pub fn count(subject: &Subject, dialect: Dialect, counting: &Counting, profile: Option<&Path>) -> Result<Counted> {
    let mut crowd = Crowd::new(subject.target.clone(), dialect, counting.population, counting.data_bytes)?;
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
    let Population { rooms, publishers, .. } = counting.population;
    for batch in 0..messages / counting.at_once {
        let mut written = BTreeSet::new();
        for number in 0..counting.at_once {
            written.insert(crowd.write((batch + number) % rooms, number % publishers)?);
        }
        written.into_iter().try_for_each(|publisher| crowd.post(publisher))?;
        crowd.settle(PATIENCE)?;
        ensure!(crowd.on_the_way() + crowd.unanswered() == 0, "messages are missing after {PATIENCE:?}");
    }
    Ok(())
}
