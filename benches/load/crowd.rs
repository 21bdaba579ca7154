//! The clients: any number of WebSocket connections in one thread on one epoll. Connects, subscribes, publishes,
//! answers pings, and puts each message that arrives into the tally. When to publish is decided elsewhere.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
        },
        time::TimeSpec,
        timer::{Expiration, TimerSetTimeFlags},
        timerfd::{ClockId, TimerFd, TimerFlags},
    },
};

use crate::{
    member::{Member, Phase},
    stamp::{Stamp, Stationery},
    tally::{Tally, Wrongs, histogram},
    wire,
};

const TIMER: u64 = u64::MAX;
/// Receive buffer of a narrow member.
const NARROW_BYTES: usize = 64 << 10;

/// Where the server is and how it lets us in.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddrV4,
    pub token: String,
}

/// Rooms of equal size; the first `publishers` members of each publish.
#[derive(Clone, Copy, Debug)]
pub struct Seating {
    pub rooms: usize,
    pub members: usize,
    pub publishers: usize,
}

pub struct Crowd {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    timer: Option<TimerFd>,
    door: Door,
    seating: Seating,
    stationery: Stationery,
    members: Vec<Member>,
    born: Instant,
    /// Nanoseconds from `connect` to `subscribed`.
    pub joining: Histogram<u64>,
    pub ready: usize,
    /// The member whose kernel buffer is small, so that its stalling shows soon.
    pub narrow: Option<usize>,
    pub tally: Tally,
    /// Deliveries that all publishing so far must lead to.
    due: u64,
    /// Members whose deliveries are not counted any more (only in scenarios of one room).
    stalled: usize,
}

impl Crowd {
    pub fn new(door: Door, seating: Seating, data_bytes: usize) -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); 512],
            scratch: vec![0; 256 << 10],
            timer: None,
            door,
            seating,
            stationery: Stationery::new(data_bytes),
            members: Vec::new(),
            born: Instant::now(),
            joining: histogram()?,
            ready: 0,
            narrow: None,
            tally: Tally::new()?,
            due: 0,
            stalled: 0,
        })
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_nanos() as u64
    }

    /// Connects and subscribes everybody, at most `in_flight` at a time.
    pub fn gather(&mut self, in_flight: usize, limit: Duration) -> Result<()> {
        let wanted = self.seating.rooms * self.seating.members;
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
        Ok(())
    }

    fn arrive(&mut self) -> Result<()> {
        let id = self.members.len();
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )
        .context("opening a socket (is the descriptor limit too low?)")?;
        if self.narrow == Some(id) {
            setsockopt(&fd, sockopt::RcvBuf, &NARROW_BYTES)?;
        }
        match connect(fd.as_raw_fd(), &SockaddrIn::from(self.door.address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("connecting"),
        }
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        self.epoll.add(&stream, EpollEvent::new(flags, id as u64))?;
        let Seating {
            members,
            publishers,
            ..
        } = self.seating;
        let place = id % members;
        let publisher = (place < publishers).then_some(place as u16);
        let member = Member::new(stream, id, id / members, publisher, publishers, self.now());
        self.members.push(member);
        Ok(())
    }

    /// Makes [`Crowd::turn`] come back every `period`.
    pub fn tick_every(&mut self, period: Duration) -> Result<()> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let interval = Expiration::Interval(TimeSpec::from_duration(period));
        timer.set(interval, TimerSetTimeFlags::empty())?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TIMER);
        self.epoll.add(&timer, event)?;
        // The timer before it, if any, leaves epoll as it is dropped.
        self.timer = Some(timer);
        Ok(())
    }

    pub fn stop_ticking(&mut self) {
        self.timer = None;
    }

    /// Waits for the sockets once and handles all that is ready. True when the timer of [`Crowd::tick_every`] was due;
    /// ticks that were missed are not made up for, so that a hiccup does not become a burst.
    pub fn turn(&mut self, wait: Option<Duration>) -> Result<bool> {
        let timeout = match wait {
            Some(wait) => EpollTimeout::try_from(wait)?,
            None => EpollTimeout::NONE,
        };
        let mut events = std::mem::take(&mut self.events);
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let mut tick = false;
        for event in events.iter().take(count) {
            if event.data() == TIMER {
                tick = true;
                if let Some(timer) = &self.timer {
                    timer.wait()?;
                }
                continue;
            }
            let id = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.writable(id)?;
            }
            if event.events() != EpollFlags::EPOLLOUT {
                self.readable(id)?;
            }
        }
        self.events = events;
        Ok(tick)
    }

    fn writable(&mut self, id: usize) -> Result<()> {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(());
        };
        if member.phase == Phase::Connecting {
            member.phase = Phase::Upgrading;
            let host = self.door.address.to_string();
            let request = wire::upgrade_request(&host, &self.door.token, &member.user);
            member.outbox.extend_from_slice(request.as_bytes());
        }
        self.write_out(id)
    }

    fn readable(&mut self, id: usize) -> Result<()> {
        loop {
            let Some(member) = self.members.get_mut(id) else {
                return Ok(());
            };
            if member.ended {
                return Ok(());
            }
            if member.stalled {
                // It watches for nothing, so this is a reset: the socket is gone.
                return self.gone(id, "reset");
            }
            let count = match member.stream.read(&mut self.scratch) {
                Ok(0) => return self.gone(id, "end of stream"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.gone(id, &error.to_string()),
            };
            member.bytes_in += count as u64;
            let scratch = std::mem::take(&mut self.scratch);
            let bytes = scratch.get(..count).unwrap_or_default();
            let mut kept = std::mem::take(&mut member.inbox);
            let handled = if kept.is_empty() {
                self.take_in(id, bytes)
            } else {
                kept.extend_from_slice(bytes);
                self.take_in(id, &kept)
            };
            let whole = if kept.is_empty() { bytes } else { &kept };
            if let (Ok(used), Some(member)) = (&handled, self.members.get_mut(id))
                && *used < whole.len()
            {
                member.inbox = whole.get(*used..).unwrap_or_default().to_vec();
            }
            self.scratch = scratch;
            handled?;
            if count < self.scratch.len() {
                return Ok(());
            }
        }
    }

    /// Handles all whole frames of `bytes`, says how many bytes they were.
    fn take_in(&mut self, id: usize, bytes: &[u8]) -> Result<usize> {
        let now = self.now();
        let mut used = 0;
        let Some(member) = self.members.get_mut(id) else {
            return Ok(0);
        };
        if member.phase == Phase::Upgrading {
            let Some(head) = member.upgraded(bytes)? else {
                return Ok(0);
            };
            used = head;
            let text = wire::subscribe_text(&member.room_name());
            member.queue(wire::TEXT, text.as_bytes());
        }
        while let Some(rest) = bytes.get(used..)
            && let Some(frame) = wire::first_frame(rest)
        {
            used += frame.payload.end;
            let payload = rest.get(frame.payload).unwrap_or_default();
            ensure!(
                frame.fin && frame.mask.is_none(),
                "the server sent a masked or fragmented frame"
            );
            match frame.opcode {
                wire::TEXT if payload.starts_with(b"{\"type\":\"message\"") => {
                    member.heard(payload, &self.stationery, now, &mut self.tally);
                }
                wire::TEXT => {
                    if member.answered(payload, &mut self.tally) {
                        self.ready += 1;
                        self.joining.saturating_record(now - member.started);
                    }
                }
                wire::PING => member.queue(wire::PONG, payload),
                wire::CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    member.close_code = code;
                    member.queue(wire::CLOSE, payload.get(..2).unwrap_or_default());
                }
                wire::PONG => {}
                other => bail!("the server sent a frame with opcode {other}"),
            }
        }
        if !member.outbox.is_empty() {
            self.write_out(id)?;
        }
        Ok(used)
    }

    fn write_out(&mut self, id: usize) -> Result<()> {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(());
        };
        match member.stream.write(&member.outbox) {
            Ok(count) if count == member.outbox.len() => member.outbox.clear(),
            Ok(count) => drop(member.outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return self.gone(id, &error.to_string()),
        }
        let watch = !member.outbox.is_empty();
        if watch != member.watching_out {
            member.watching_out = watch;
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, watch);
            let mut event = EpollEvent::new(flags, id as u64);
            self.epoll.modify(&member.stream, &mut event)?;
        }
        Ok(())
    }

    fn gone(&mut self, id: usize, how: &str) -> Result<()> {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(());
        };
        if member.ended {
            return Ok(());
        }
        self.epoll.delete(&member.stream)?;
        let code = member.close_code;
        member.ended = true;
        if !member.may_end {
            self.tally.wrongs.cut += 1;
            let user = &member.user;
            self.tally
                .remark(|| format!("{user} was cut: {how}, close code {code:?}"));
        }
        Ok(())
    }

    /// Publishes one message of the `publisher`-th publisher of `room`; it leaves at once or with [`Crowd::post`].
    pub fn write(&mut self, room: usize, publisher: usize) -> Result<usize> {
        let now = self.now();
        let id = room * self.seating.members + publisher;
        let member = self.members.get_mut(id).context("no such publisher")?;
        let stamp = Stamp {
            room: room as u16,
            publisher: publisher as u16,
            serial: member.sent,
            sent: now,
        };
        let data = self.stationery.data(&member.user, stamp);
        let text = wire::publish_text(&member.room_name(), &data);
        member.queue(wire::TEXT, text.as_bytes());
        member.sent += 1;
        self.due += (self.seating.members - 1 - self.stalled) as u64;
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

    /// Lets everything arrive that is on its way; gives up after `limit`.
    pub fn settle(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.tally.delivered - self.tally.wrongs.doubled < self.due
            && Instant::now() < deadline
        {
            self.turn(Some(Duration::from_millis(20)))?;
        }
        Ok(())
    }

    /// The final account: what never came, and rooms whose members saw different orders.
    pub fn account(&self) -> Wrongs {
        let mut wrongs = self.tally.wrongs;
        let publishers = self.seating.publishers;
        for room in self.members.chunks(self.seating.members) {
            let mut order = None;
            for member in room.iter().filter(|member| !member.may_end) {
                let missed: u64 = (0..)
                    .zip(room.iter().take(publishers))
                    .filter(|(index, _)| member.publisher != Some(*index))
                    .map(|(index, publisher)| member.lost(usize::from(index), publisher.sent))
                    .sum();
                wrongs.lost += missed;
                if member.publisher.is_none() && missed == 0 && !member.disturbed {
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
