//! One client connection: what it has heard, and the words it exchanges before the first message.

use std::{collections::VecDeque, net::TcpStream};

use anyhow::{Result, ensure};

use crate::{
    dialect::Dialect,
    stamp::Envelope,
    tally::{Arrival, Heard, Tally},
    wire,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Connecting,
    Upgrading,
    /// The server speaks first, or answers the greeting.
    Greeting,
    Subscribing,
    Ready,
    /// Speaks HTTP: it publishes by requests.
    Requesting,
}

pub struct Member {
    pub stream: TcpStream,
    pub phase: Phase,
    pub user: String,
    pub room: u16,
    /// Index among the publishers of the room.
    pub publisher: Option<u16>,
    /// The publisher whom it does not hear: itself, unless there is an echo.
    pub deaf_to: Option<u16>,
    /// Messages published.
    pub sent: u32,
    /// When those left that the server has not acknowledged, on the crowd's clock; only where it does.
    pub unanswered: VecDeque<u64>,
    pub inbox: Vec<u8>,
    pub outbox: Vec<u8>,
    pub watching_out: bool,
    /// Does not read now.
    pub stalled: bool,
    /// Its end is part of the scenario, and what it misses is not counted.
    pub may_end: bool,
    /// The socket is closed.
    pub ended: bool,
    /// Of the server's close frame, if one came.
    pub close_code: Option<u16>,
    pub bytes_in: u64,
    /// When it started to connect, on the crowd's clock.
    pub started: u64,
    /// Digest of all (publisher, serial) in the order of their arrival: equal for all who hear everybody.
    pub order: u64,
    /// Something came late or twice, so that `order` says nothing.
    pub disturbed: bool,
    heard: Vec<Heard>,
    hint: usize,
}

impl Member {
    pub fn new(
        stream: TcpStream,
        id: usize,
        room: usize,
        publisher: Option<u16>,
        publishers: usize,
        started: u64,
    ) -> Self {
        Self {
            stream,
            phase: Phase::Connecting,
            user: format!("u{id:05}"),
            room: room as u16,
            publisher,
            deaf_to: publisher,
            sent: 0,
            unanswered: VecDeque::new(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            watching_out: true,
            stalled: false,
            may_end: false,
            ended: false,
            close_code: None,
            bytes_in: 0,
            started,
            order: 0,
            disturbed: false,
            heard: (0..publishers).map(|_| Heard::default()).collect(),
            hint: 0,
        }
    }

    pub fn room_name(&self) -> String {
        room_name(usize::from(self.room))
    }

    pub fn queue(&mut self, opcode: u8, payload: &[u8]) {
        wire::put_client_frame(&mut self.outbox, opcode, payload, self.sent + 1);
    }

    /// Length of the response head once it is there; an error when the server refused.
    pub fn upgraded(&mut self, bytes: &[u8], dialect: Dialect) -> Result<Option<usize>> {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        ensure!(
            head.starts_with("HTTP/1.1 101 ") && head.contains(wire::UPGRADE_ACCEPT),
            "the server refused the upgrade: {head}"
        );
        self.phase = Phase::Greeting;
        if let Some(words) = dialect.greeting(&self.user)? {
            self.queue(dialect.opcode(), &words);
        } else if dialect.joins_at_once() {
            self.join(dialect)?;
        }
        Ok(Some(end + 4))
    }

    /// Asks for its channel.
    pub fn join(&mut self, dialect: Dialect) -> Result<()> {
        self.phase = Phase::Subscribing;
        let words = dialect.join(&self.room_name())?;
        self.queue(dialect.opcode(), &words);
        Ok(())
    }

    /// `count` publishes from `serial` on are acknowledged. Nanoseconds from the write of the oldest.
    pub fn acknowledged(&mut self, serial: u32, count: u32, now: u64, tally: &mut Tally) -> Option<u64> {
        let oldest = self.sent - self.unanswered.len() as u32;
        let left = self.unanswered.front().copied();
        if serial != oldest || count as usize > self.unanswered.len() {
            tally.wrongs.reordered += 1;
            tally.remark(|| {
                let user = &self.user;
                format!("{user} waits for the ACK of {oldest} and got {count} from {serial} on")
            });
            return None;
        }
        self.unanswered.drain(..count as usize);
        left.map(|left| now.saturating_sub(left))
    }

    pub fn heard(&mut self, text: &[u8], envelope: &Envelope, now: u64, tally: &mut Tally) {
        let known = envelope
            .read(text, &mut self.hint)
            .filter(|stamp| stamp.room == self.room && Some(stamp.publisher) != self.deaf_to);
        let heard = known.and_then(|stamp| {
            let heard = self.heard.get_mut(usize::from(stamp.publisher))?;
            Some((stamp, heard))
        });
        let Some((stamp, heard)) = heard else {
            tally.wrongs.damaged += 1;
            tally.remark(|| {
                let text = String::from_utf8_lossy(text);
                format!("{} of room {} got {text}", self.user, self.room)
            });
            return;
        };
        let word = u64::from(stamp.publisher) << 32 | u64::from(stamp.serial);
        self.order = (self.order.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        let arrival = heard.hear(stamp.serial);
        self.disturbed |= !matches!(arrival, Arrival::InOrder);
        if !self.may_end {
            tally.arrived(arrival, now.saturating_sub(stamp.sent));
            tally.landed(stamp.serial);
        }
    }

    /// Messages of one publisher that did not come, of `sent`.
    pub fn lost(&self, publisher: usize, sent: u32) -> u64 {
        self.heard.get(publisher).map_or(0, |heard| heard.lost(sent))
    }
}

pub fn room_name(room: usize) -> String {
    format!("bench-{room:05}")
}
