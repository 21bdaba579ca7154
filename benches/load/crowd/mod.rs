//! The clients: any number of WebSocket connections in one thread on one epoll. Who sits where, who publishes, and the final
//! account of what arrived; the sockets are handled in `io`. When to publish is decided elsewhere.

mod io;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    timerfd::TimerFd,
};

use crate::{
    dialect::{Dialect, Target},
    member::{Member, Phase, room_name},
    stamp::{Envelope, Stamp},
    tally::{Tally, Wrongs, histogram},
};

/// Rooms of equal size; the first `publishers` members of each publish, or as many clients from outside.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    pub rooms: usize,
    pub members: usize,
    pub publishers: usize,
    /// Nobody in a room publishes; that do `publishers` more clients, who are in none, in all of them.
    pub outside: bool,
    /// Who publishes in a room gets its own messages too.
    pub echo: bool,
}

impl Population {
    /// Members of a room who get what is published in it.
    pub fn receivers(self) -> usize {
        match self.outside || self.echo {
            true => self.members,
            false => self.members.saturating_sub(1),
        }
    }

    /// Everybody in the rooms.
    pub fn places(self) -> usize {
        self.rooms * self.members
    }

    /// The same, and who publishes from outside.
    pub fn clients(self) -> usize {
        match self.outside {
            true => self.places() + self.publishers,
            false => self.places(),
        }
    }
}

pub struct Crowd {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    timer: Option<TimerFd>,
    target: Target,
    dialect: Dialect,
    population: Population,
    envelope: Envelope,
    members: Vec<Member>,
    born: Instant,
    /// Nanoseconds from `connect` to `subscribed`.
    pub joining: Histogram<u64>,
    /// Nanoseconds from a publish to its acknowledgement, where there are any.
    pub answering: Histogram<u64>,
    /// Publishes that are not acknowledged yet, where they will be.
    unanswered: u64,
    pub ready: usize,
    /// The member whose kernel buffer is small, so that its stalling shows soon.
    pub narrow: Option<usize>,
    pub tally: Tally,
    /// Deliveries that all publishing so far must lead to.
    due: u64,
    /// Published from outside, for each room and each publisher.
    sent: Vec<u32>,
    /// Members whose deliveries are not counted any more (only in scenarios of one room).
    stalled: usize,
}

impl Crowd {
    pub fn new(target: Target, dialect: Dialect, population: Population, data_bytes: usize) -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); 512],
            scratch: vec![0; 256 << 10],
            timer: None,
            target,
            dialect,
            population,
            envelope: dialect.envelope(data_bytes),
            members: Vec::new(),
            born: Instant::now(),
            joining: histogram()?,
            answering: histogram()?,
            unanswered: 0,
            ready: 0,
            narrow: None,
            tally: Tally::new()?,
            due: 0,
            sent: vec![0; if population.outside { population.rooms * population.publishers } else { 0 }],
            stalled: 0,
        })
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_nanos() as u64
    }

    /// Connects and subscribes everybody, at most `in_flight` at a time.
    pub fn gather(&mut self, in_flight: usize, limit: Duration) -> Result<()> {
        let wanted = self.population.clients();
        if let Dialect::Older(dialect) = self.dialect {
            dialect.prepare(&self.target, self.population)?;
        }
        let deadline = Instant::now() + limit;
        while self.ready < wanted {
            let gone = self.tally.wrongs.cut as usize;
            while self.members.len() < wanted.min(self.ready + gone + in_flight) {
                self.arrive()?;
            }
            self.turn(Some(Duration::from_millis(100)))?;
            ensure!(
                Instant::now() < deadline && self.tally.wrongs.cut < 50,
                "{} of {wanted} connections are subscribed, {} were cut: {}",
                self.ready,
                self.tally.wrongs.cut,
                self.tally.remarks.join("; ")
            );
        }
        if let Dialect::Older(dialect) = self.dialect {
            dialect.gathered(&self.target, self.population)?;
        }
        Ok(())
    }

    /// Publishes one message of the `publisher`-th publisher of `room`; it leaves at once or with [`Crowd::post`].
    pub fn write(&mut self, room: usize, publisher: usize) -> Result<usize> {
        let now = self.now();
        let id = match self.population.outside {
            true => self.population.places() + publisher,
            false => room * self.population.members + publisher,
        };
        let member = self.members.get_mut(id).context("no such publisher")?;
        let to_room = room * self.population.publishers + publisher;
        let stamp = Stamp {
            room: room as u16,
            publisher: publisher as u16,
            serial: self.sent.get(to_room).copied().unwrap_or(member.sent),
            sent: now,
        };
        if let Some(sent) = self.sent.get_mut(to_room) {
            *sent += 1;
        }
        let data = self.envelope.data(&member.user, stamp);
        let room = room_name(room);
        let words = self.dialect.publish(&self.target, &room, &data, member.sent)?;
        if member.phase == Phase::Requesting {
            member.outbox.extend_from_slice(&words);
        } else {
            member.queue(self.dialect.opcode(), &words);
        }
        member.sent += 1;
        if self.dialect.acknowledges() {
            member.unanswered.push_back(now);
            self.unanswered += 1;
        }
        self.due += (self.population.receivers() - self.stalled) as u64;
        Ok(id)
    }

    pub fn post(&mut self, id: usize) -> Result<()> {
        self.write_out(id)
    }

    pub fn publish(&mut self, room: usize, publisher: usize) -> Result<()> {
        let id = self.write(room, publisher)?;
        self.write_out(id)
    }

    /// Messages published so far by one member.
    pub fn sent_by(&self, id: usize) -> u32 {
        self.members.get(id).map_or(0, |member| member.sent)
    }

    /// Deliveries that are still to come.
    pub fn on_the_way(&self) -> u64 {
        let came = self.tally.delivered - self.tally.wrongs.doubled;
        self.due.saturating_sub(came)
    }

    /// Publishes that are still to be acknowledged, where they are at all.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Whether a publisher from outside has an answer to all it asked.
    pub fn is_answered(&self, publisher: usize) -> bool {
        let member = self.members.get(self.population.places() + publisher);
        member.is_some_and(|member| member.unanswered.is_empty())
    }

    /// Lets everything arrive that is on its way; gives up after `limit`.
    pub fn settle(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while (self.on_the_way() > 0 || self.unanswered > 0) && Instant::now() < deadline {
            self.turn(Some(Duration::from_millis(20)))?;
        }
        Ok(())
    }

    /// The final account: what never came, and rooms whose members saw different orders.
    pub fn account(&self) -> Wrongs {
        let mut wrongs = self.tally.wrongs;
        wrongs.lost += self.unanswered;
        let publishers = self.population.publishers;
        let seated = self.members.get(..self.population.places()).unwrap_or(&self.members);
        for (number, room) in seated.chunks(self.population.members).enumerate() {
            let mut order = None;
            let own = room.iter().take(publishers).map(|publisher| publisher.sent);
            let sent: Vec<u32> = match self.population.outside {
                true => self.sent.iter().skip(number * publishers).take(publishers).copied().collect(),
                false => own.collect(),
            };
            for member in room.iter().filter(|member| !member.may_end) {
                let missed: u64 = (0..)
                    .zip(&sent)
                    .filter(|(index, _)| member.deaf_to != Some(*index))
                    .map(|(index, sent)| member.lost(usize::from(index), *sent))
                    .sum();
                wrongs.lost += missed;
                if member.deaf_to.is_none() && missed == 0 && !member.disturbed {
                    let agreed = *order.get_or_insert(member.order) == member.order;
                    wrongs.reordered += u64::from(!agreed);
                }
            }
        }
        wrongs
    }

    pub fn member(&self, id: usize) -> Option<&Member> {
        self.members.get(id)
    }

    /// One member stops reading. From now on it may be cut, and what it misses is not counted.
    pub fn stall(&mut self, id: usize) -> Result<()> {
        let member = self.members.get_mut(id).context("no such member")?;
        member.stalled = true;
        member.may_end = true;
        self.stalled += 1;
        let mut nothing = EpollEvent::new(EpollFlags::empty(), id as u64);
        self.epoll.modify(&member.stream, &mut nothing)?;
        Ok(())
    }

    /// The stalled member reads again.
    pub fn resume(&mut self, id: usize) -> Result<()> {
        let member = self.members.get_mut(id).context("no such member")?;
        member.stalled = false;
        if !member.ended {
            let mut input = EpollEvent::new(EpollFlags::EPOLLIN, id as u64);
            self.epoll.modify(&member.stream, &mut input)?;
        }
        Ok(())
    }
}
