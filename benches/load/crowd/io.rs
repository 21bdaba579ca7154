//! The sockets of the crowd: connecting, reading whole frames, writing what the socket takes, and the clock tick
//! of paced traffic. What a message means is the member's business.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::{
        epoll::{EpollEvent, EpollFlags, EpollTimeout},
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt},
        time::TimeSpec,
        timer::{Expiration, TimerSetTimeFlags},
        timerfd::{ClockId, TimerFd, TimerFlags},
    },
};

use super::{Crowd, Population};
use crate::{
    dialect::ServerFrame,
    member::{Member, Phase},
    older::answers::Answer,
    wire,
};

const TIMER: u64 = u64::MAX;
/// Receive buffer of a narrow member.
const NARROW_BYTES: usize = 64 << 10;

impl Crowd {
    pub(super) fn arrive(&mut self) -> Result<()> {
        let id = self.members.len();
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
            .context("opening a socket (is the descriptor limit too low?)")?;
        if self.narrow == Some(id) {
            setsockopt(&fd, sockopt::RcvBuf, &NARROW_BYTES)?;
        }
        match connect(fd.as_raw_fd(), &SockaddrIn::from(self.target.address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("connecting"),
        }
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        self.epoll.add(&stream, EpollEvent::new(flags, id as u64))?;
        let Population { members, publishers, .. } = self.population;
        let place = id % members;
        let (place, is_publisher) = match self.population.outside {
            true => (id.wrapping_sub(self.population.places()), id >= self.population.places()),
            false => (place, place < publishers),
        };
        let publisher = is_publisher.then_some(place as u16);
        let mut member = Member::new(stream, id, id / members, publisher, publishers, self.now());
        if self.population.echo {
            member.deaf_to = None;
        }
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
            if member.publisher.is_some() && self.dialect.publishes_by_http() {
                member.phase = Phase::Requesting;
                self.ready += 1;
                return self.write_out(id);
            }
            member.phase = Phase::Upgrading;
            let request = self.dialect.upgrade_request(&self.target, &member.user)?;
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
            let Some(head) = member.upgraded(bytes, self.dialect)? else {
                return Ok(0);
            };
            used = head;
        }
        while member.phase == Phase::Requesting
            && let Some(answer) = Answer::first(bytes.get(used..).unwrap_or_default())?
        {
            let text = bytes.get(used..used + answer.length).unwrap_or_default();
            used += answer.length;
            if !answer.is_good {
                let text = String::from_utf8_lossy(text).into_owned();
                self.tally.wrongs.damaged += 1;
                self.tally.remark(|| format!("the publisher got {text}"));
            }
            // Answers come in the order of the requests (RFC 9112 §9.3.2).
            if let Some(left) = member.unanswered.pop_front() {
                self.unanswered -= 1;
                self.answering.saturating_record(now.saturating_sub(left));
            }
        }
        while member.phase != Phase::Requesting
            && let Some(rest) = bytes.get(used..)
            && let Some(frame) = wire::first_frame(rest)
        {
            used += frame.payload.end;
            let payload = rest.get(frame.payload).unwrap_or_default();
            ensure!(frame.fin && frame.mask.is_none(), "the server sent a masked or fragmented frame");
            match frame.opcode {
                data if data == self.dialect.opcode() => match self.dialect.read(payload) {
                    ServerFrame::Message => {
                        member.heard(payload, &self.envelope, now, &mut self.tally);
                    }
                    ServerFrame::Ack { serial, count } => {
                        let took = member.acknowledged(serial, count, now, &mut self.tally);
                        if let Some(took) = took {
                            self.unanswered -= u64::from(count);
                            self.answering.saturating_record(took);
                        }
                    }
                    ServerFrame::Connected if member.phase == Phase::Greeting => {
                        member.join(self.dialect)?;
                    }
                    ServerFrame::Joined if member.phase == Phase::Subscribing => {
                        member.phase = Phase::Ready;
                        self.ready += 1;
                        self.joining.saturating_record(now - member.started);
                    }
                    ServerFrame::Nothing => {}
                    ServerFrame::Connected | ServerFrame::Joined => {
                        self.tally.wrongs.damaged += 1;
                        let user = &member.user;
                        self.tally.remark(|| format!("{user} was greeted twice"));
                    }
                    ServerFrame::Refusal(words) => {
                        self.tally.wrongs.damaged += 1;
                        let user = &member.user;
                        self.tally.remark(|| format!("{user} got {words}"));
                    }
                },
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

    pub(super) fn write_out(&mut self, id: usize) -> Result<()> {
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
            self.tally.remark(|| format!("{user} was cut: {how}, close code {code:?}"));
        }
        Ok(())
    }
}
