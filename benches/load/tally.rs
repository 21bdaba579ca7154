//! The count of every message: delivered, lost, doubled, reordered, damaged. Per (receiver, publisher), exact.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// What one receiver heard of one publisher.
#[derive(Default)]
pub struct Heard {
    next: u32,
    /// Below `next`, not here yet.
    missing: BTreeSet<u32>,
}

pub enum Arrival {
    InOrder,
    Late,
    Double,
}

impl Heard {
    pub fn hear(&mut self, serial: u32) -> Arrival {
        if serial >= self.next {
            self.missing.extend(self.next..serial);
            self.next = serial + 1;
            Arrival::InOrder
        } else if self.missing.remove(&serial) {
            Arrival::Late
        } else {
            Arrival::Double
        }
    }

    /// Messages that did not come, of `sent`.
    pub fn lost(&self, sent: u32) -> u64 {
        self.missing.len() as u64 + u64::from(sent.saturating_sub(self.next))
    }
}

/// What must be zero.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wrongs {
    pub lost: u64,
    pub doubled: u64,
    /// Out of a publisher's order, or two receivers of a room that saw different orders.
    pub reordered: u64,
    /// Changed on the way, in the wrong room, or refused with an error.
    pub damaged: u64,
    /// Connections that ended although nobody asked them to.
    pub cut: u64,
}

impl Wrongs {
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.cut += other.cut;
    }

    pub fn any(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged + self.cut > 0
    }
}

/// Running counts of one crowd.
pub struct Tally {
    pub delivered: u64,
    pub wrongs: Wrongs,
    /// Nanoseconds from the publisher's write to the receiver's read.
    pub latency: Histogram<u64>,
    /// The first things that went wrong, in words.
    pub remarks: Vec<String>,
    /// Deliveries still expected of each message on its way, oldest first (only in window mode).
    on_the_way: VecDeque<u32>,
    /// Serial of the front of `on_the_way`.
    oldest: u32,
}

impl Tally {
    pub fn new() -> Result<Self> {
        Ok(Self {
            delivered: 0,
            wrongs: Wrongs::default(),
            latency: histogram()?,
            remarks: Vec::new(),
            on_the_way: VecDeque::new(),
            oldest: 0,
        })
    }

    pub fn remark(&mut self, text: impl FnOnce() -> String) {
        if self.remarks.len() < 5 {
            self.remarks.push(text());
        }
    }

    pub fn arrived(&mut self, arrival: Arrival, latency: u64) {
        self.delivered += 1;
        match arrival {
            Arrival::InOrder => {}
            Arrival::Late => self.wrongs.reordered += 1,
            Arrival::Double => self.wrongs.doubled += 1,
        }
        self.latency.saturating_record(latency);
    }

    /// Window mode: a message left for `receivers`.
    pub fn sent(&mut self, serial: u32, receivers: u32) {
        if self.on_the_way.is_empty() {
            self.oldest = serial;
        }
        self.on_the_way.push_back(receivers);
    }

    /// Window mode: one receiver has it.
    pub fn landed(&mut self, serial: u32) {
        let Some(index) = serial.checked_sub(self.oldest) else {
            return;
        };
        if let Some(left) = self.on_the_way.get_mut(index as usize) {
            *left = left.saturating_sub(1);
        }
        while self.on_the_way.front() == Some(&0) {
            self.on_the_way.pop_front();
            self.oldest += 1;
        }
    }

    /// Window mode: messages that not everybody has.
    pub fn outstanding(&self) -> usize {
        self.on_the_way.len()
    }
}

pub fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).context("making a histogram")
}
