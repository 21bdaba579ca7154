//! Fan-out and rooms: everybody joins, messages flow at a pace, and the server's CPU is divided by the deliveries.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    subject::Subject,
    tally::Wrongs,
};

/// Deliveries a second of paced scenarios, in all.
const PACED_DELIVERIES: usize = 40_000;
/// Above this, messages would queue and a paced scenario would not be one.
const PACED_MESSAGES: usize = 4_000;
/// Messages on their way at a time in saturated scenarios.
const WINDOW: usize = 8;
/// What is on its way at the end must arrive within this.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One message at a time, at equal distances.
    Paced,
    /// As fast as everybody receives.
    Saturated,
}

impl Pace {
    pub fn word(self) -> &'static str {
        match self {
            Self::Paced => "paced",
            Self::Saturated => "saturated",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub dialect: Dialect,
    pub population: Population,
    pub pace: Pace,
    pub data_bytes: usize,
    pub time: Duration,
}

/// One measurement of one side.
pub struct Leg {
    pub deliveries: u64,
    /// Server CPU over the measured time.
    pub cpu: Duration,
    pub wall: Duration,
    pub latency: Histogram<u64>,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

impl Leg {
    pub fn micros_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64
    }

    pub fn deliveries_per_second(&self) -> f64 {
        self.deliveries as f64 / self.wall.as_secs_f64()
    }
}

pub fn measure(subject: &Subject, traffic: Traffic) -> Result<Leg> {
    let Traffic { dialect, population, data_bytes, .. } = traffic;
    let mut crowd = Crowd::new(subject.target.clone(), dialect, population, data_bytes)?;
    crowd.gather(200, Duration::from_secs(30))?;
    let flow = Flow::new(traffic);
    // Caches, buffers and allocators reach their size first.
    flow.run(&mut crowd, traffic.time / 5)?;
    crowd.tally.latency.reset();
    let (before, cpu) = (crowd.tally.delivered, subject.cpu()?);
    let wall = flow.run(&mut crowd, traffic.time)?;
    let spent = subject.cpu()? - cpu;
    Ok(Leg {
        deliveries: crowd.tally.delivered - before,
        cpu: Duration::from_nanos(spent),
        wall,
        latency: crowd.tally.latency.clone(),
        wrongs: crowd.account(),
        remarks: crowd.tally.remarks,
    })
}

pub struct Flow {
    traffic: Traffic,
    period: Duration,
}

impl Flow {
    pub fn new(traffic: Traffic) -> Self {
        let receivers = traffic.population.receivers().max(1);
        let messages = (PACED_DELIVERIES / receivers).clamp(1, PACED_MESSAGES);
        Self { traffic, period: Duration::from_secs(1) / messages as u32 }
    }

    /// Lets messages flow for `time`, then waits for the last to arrive. Returns how long the flow was.
    pub fn run(&self, crowd: &mut Crowd, time: Duration) -> Result<Duration> {
        let start = Instant::now();
        match self.traffic.pace {
            Pace::Paced => self.paced(crowd, start + time)?,
            Pace::Saturated => self.saturated(crowd, start + time)?,
        }
        let flowed = start.elapsed();
        crowd.settle(PATIENCE)?;
        Ok(flowed)
    }

    /// All rooms in turn, and in each room all publishers in turn.
    fn paced(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let Population { rooms, publishers, .. } = self.traffic.population;
        crowd.tick_every(self.period)?;
        let mut turn = 0;
        while Instant::now() < end {
            if crowd.turn(Some(Duration::from_millis(50)))? {
                crowd.publish(turn % rooms, turn / rooms % publishers)?;
                turn += 1;
            }
        }
        crowd.stop_ticking();
        Ok(())
    }

    fn saturated(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let population = self.traffic.population;
        match population.publishers {
            _ if population.outside => self.saturated_from_outside(crowd, end),
            1 if population.rooms > 1 => self.saturated_in_turn(crowd, end),
            1 => self.saturated_by_one(crowd, end),
            _ => self.saturated_by_all(crowd, end),
        }
    }

    /// One publisher in one room.
    fn saturated_by_one(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let receivers = self.traffic.population.receivers() as u32;
        while Instant::now() < end {
            let mut publisher = None;
            while crowd.tally.outstanding() < WINDOW {
                let id = crowd.write(0, 0)?;
                crowd.tally.sent(crowd.sent_by(id) - 1, receivers);
                publisher = Some(id);
            }
            if let Some(id) = publisher {
                crowd.post(id)?;
            }
            crowd.turn(Some(Duration::from_millis(50)))?;
        }
        Ok(())
    }

    /// Each publisher waits for its answer, as the usual clients of HTTP do; the rooms in turn.
    fn saturated_from_outside(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let population = self.traffic.population;
        let window = (WINDOW * population.receivers()) as u64;
        let mut turn = 0;
        while Instant::now() < end {
            for publisher in 0..population.publishers {
                if crowd.is_answered(publisher) && crowd.on_the_way() < window {
                    crowd.publish(turn % population.rooms, publisher)?;
                    turn += 1;
                }
            }
            crowd.turn(Some(Duration::from_millis(50)))?;
        }
        Ok(())
    }

    /// One publisher in each of many rooms; the rooms in turn.
    fn saturated_in_turn(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let window = (WINDOW * self.traffic.population.receivers()) as u64;
        let mut turn = 0;
        while Instant::now() < end {
            while crowd.on_the_way() < window {
                crowd.publish(turn % self.traffic.population.rooms, 0)?;
                turn += 1;
            }
            crowd.turn(Some(Duration::from_millis(50)))?;
        }
        Ok(())
    }

    /// Everybody who publishes also receives; [`WINDOW`] messages of each are on their way, on average.
    fn saturated_by_all(&self, crowd: &mut Crowd, end: Instant) -> Result<()> {
        let Population { rooms, members, publishers, .. } = self.traffic.population;
        let window = (WINDOW * rooms * publishers * (members - 1)) as u64;
        let mut turn = 0;
        while Instant::now() < end {
            while crowd.on_the_way() < window {
                crowd.publish(turn % rooms, turn / rooms % publishers)?;
                turn += 1;
            }
            crowd.turn(Some(Duration::from_millis(50)))?;
        }
        Ok(())
    }
}
