//! One of fifty stops reading. The others must get everything, the server's memory may grow by one outbox, and the stalled
//! reader must be let go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::{
    crowd::{Crowd, Population},
    dialect::Dialect,
    subject::Subject,
    tally::Wrongs,
    traffic::{Flow, Pace, Traffic},
};

/// Large, so that what the kernel holds for the reader (some MiB) is full within a second or two.
const DATA_BYTES: usize = 8 << 10;
const READERS: usize = 50;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);

pub struct Slow {
    /// Highest memory while the reader was stalled, minus the highest before.
    pub growth: u64,
    /// From the stall until the server dropped its socket.
    pub dropped_after: Option<Duration>,
    /// What the stalled reader found when it read again.
    pub ended: bool,
    pub close_code: Option<u16>,
    /// Bytes on their way to the stalled reader when it was dropped: kernel buffers and what else it still got.
    pub backlog: u64,
    pub deliveries: u64,
    pub before: Histogram<u64>,
    pub during: Histogram<u64>,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

/// `time` before the stall and as much after it.
pub fn slow(subject: &Subject, time: Duration) -> Result<Slow> {
    let population = Population { rooms: 1, members: READERS + 1, publishers: 1, outside: false, echo: false };
    let dialect = Dialect::LetShare;
    let flow = Flow::new(Traffic { dialect, population, pace: Pace::Paced, data_bytes: DATA_BYTES, time });
    let mut crowd = Crowd::new(subject.target.clone(), dialect, population, DATA_BYTES)?;
    let stalled = READERS;
    crowd.narrow = Some(stalled);
    crowd.gather(200, Duration::from_secs(10))?;
    let open = subject.sockets()?;

    // Logs and buffers reach their size, then the highest point without a slow reader is known.
    let calm = watch(&flow, &mut crowd, subject, time, |_| Ok(()))?;
    let before = crowd.tally.latency.clone();
    crowd.tally.latency.reset();
    let delivered = crowd.tally.delivered;

    crowd.stall(stalled)?;
    let read = crowd.member(stalled).map_or(0, |member| member.bytes_in);
    let stall = Instant::now();
    let mut dropped_after = None;
    let peak = watch(&flow, &mut crowd, subject, time, |subject| {
        if dropped_after.is_none() && subject.sockets()? < open {
            dropped_after = Some(stall.elapsed());
        }
        Ok(())
    })?;
    let during = crowd.tally.latency.clone();
    let deliveries = crowd.tally.delivered - delivered;

    crowd.resume(stalled)?;
    let deadline = Instant::now() + Duration::from_secs(3);
    while crowd.member(stalled).is_some_and(|m| !m.ended) && Instant::now() < deadline {
        crowd.turn(Some(Duration::from_millis(20)))?;
    }
    let member = crowd.member(stalled).context("the stalled reader")?;
    Ok(Slow {
        growth: peak.saturating_sub(calm),
        dropped_after,
        ended: member.ended,
        close_code: member.close_code,
        backlog: member.bytes_in - read,
        deliveries,
        before,
        during,
        wrongs: crowd.account(),
        remarks: crowd.tally.remarks,
    })
}

/// Traffic for `time` in short stretches; the highest memory seen between them.
fn watch(
    flow: &Flow,
    crowd: &mut Crowd,
    subject: &Subject,
    time: Duration,
    mut look: impl FnMut(&Subject) -> Result<()>,
) -> Result<u64> {
    let end = Instant::now() + time;
    let mut highest = 0;
    while Instant::now() < end {
        flow.run(crowd, LOOK)?;
        highest = highest.max(subject.memory()?);
        look(subject)?;
    }
    Ok(highest)
}
