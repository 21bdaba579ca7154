//! Publishing with acknowledgements: one client, alone on its channel, with so many publishes on their way at a time. It
//! costs what a publish costs without any delivery, and the answer.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    subject::Subject,
    tally::Wrongs,
};

/// What is on its way at the end must be answered within this.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct Publishing {
    /// Publishes that wait for their answer.
    pub in_flight: u64,
    pub data_bytes: usize,
    pub time: Duration,
}

/// One measurement.
pub struct Published {
    pub publishes: u64,
    pub cpu: Duration,
    pub wall: Duration,
    /// Nanoseconds from the write to the acknowledgement.
    pub latency: Histogram<u64>,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

impl Published {
    pub fn micros_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.publishes.max(1) as f64
    }

    pub fn per_second(&self) -> f64 {
        self.publishes as f64 / self.wall.as_secs_f64()
    }
}

pub fn publish(subject: &Subject, dialect: Dialect, publishing: Publishing) -> Result<Published> {
    let population = Population { rooms: 1, members: 1, publishers: 1, outside: false, echo: false };
    let target = subject.target.clone();
    let mut crowd = Crowd::new(target, dialect, population, publishing.data_bytes)?;
    crowd.gather(1, Duration::from_secs(10))?;
    // Caches, buffers and allocators reach their size first.
    flow(&mut crowd, publishing.in_flight, publishing.time / 5)?;
    crowd.answering.reset();
    let (before, cpu) = (crowd.sent_by(0), subject.cpu()?);
    let wall = flow(&mut crowd, publishing.in_flight, publishing.time)?;
    Ok(Published {
        publishes: u64::from(crowd.sent_by(0) - before),
        cpu: Duration::from_nanos(subject.cpu()? - cpu),
        wall,
        latency: crowd.answering.clone(),
        wrongs: crowd.account(),
        remarks: crowd.tally.remarks,
    })
}

/// Publishes for `time`, then waits for the last answer. How long all that took.
fn flow(crowd: &mut Crowd, in_flight: u64, time: Duration) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < time {
        let mut publisher = None;
        while crowd.unanswered() < in_flight {
            publisher = Some(crowd.write(0, 0)?);
        }
        if let Some(id) = publisher {
            crowd.post(id)?;
        }
        crowd.turn(Some(Duration::from_millis(50)))?;
    }
    crowd.settle(PATIENCE)?;
    Ok(start.elapsed())
}
