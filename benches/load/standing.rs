//! What connections cost by being there: the storm in which they come, and the idle hours.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    subject::Subject,
    tally::Wrongs,
};

/// Members of a room; the rooms of the LetShare app hold as many.
const ROOM: usize = 50;
/// Connections that are being made at a time.
const IN_FLIGHT: usize = 200;

fn population(connections: usize) -> Population {
    Population { rooms: connections.div_ceil(ROOM), members: ROOM, publishers: 0, outside: false, echo: false }
}

pub struct Storm {
    pub connections: usize,
    pub cpu: Duration,
    pub wall: Duration,
    /// Nanoseconds from `connect` to `subscribed`.
    pub joining: Histogram<u64>,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

/// Everybody connects and subscribes, [`IN_FLIGHT`] at a time.
pub fn storm(subject: &Subject, dialect: Dialect, connections: usize) -> Result<Storm> {
    let mut crowd = Crowd::new(subject.target.clone(), dialect, population(connections), 0)?;
    let (cpu, start) = (subject.cpu()?, Instant::now());
    crowd.gather(IN_FLIGHT, Duration::from_secs(60))?;
    Ok(Storm {
        connections: crowd.ready,
        wall: start.elapsed(),
        cpu: Duration::from_nanos(subject.cpu()? - cpu),
        joining: crowd.joining.clone(),
        wrongs: crowd.account(),
        remarks: crowd.tally.remarks,
    })
}

pub struct Idle {
    pub connections: usize,
    /// Server memory after everybody joined, minus before.
    pub bytes: u64,
    /// Server CPU while nobody says anything but what keeps the connections alive.
    pub cpu: Duration,
    pub wall: Duration,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

pub fn idle(subject: &Subject, dialect: Dialect, connections: usize, time: Duration) -> Result<Idle> {
    let before = subject.memory()?;
    let mut crowd = Crowd::new(subject.target.clone(), dialect, population(connections), 0)?;
    crowd.gather(IN_FLIGHT, Duration::from_secs(60))?;
    stay(&mut crowd, Duration::from_secs(1).min(time))?;
    let (cpu, start) = (subject.cpu()?, Instant::now());
    stay(&mut crowd, time)?;
    Ok(Idle {
        connections: crowd.ready,
        bytes: subject.memory()?.saturating_sub(before),
        cpu: Duration::from_nanos(subject.cpu()? - cpu),
        wall: start.elapsed(),
        wrongs: crowd.account(),
        remarks: crowd.tally.remarks,
    })
}

fn stay(crowd: &mut Crowd, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        crowd.turn(Some(Duration::from_millis(50)))?;
    }
    Ok(())
}
