//! A client that keeps so many publishes in flight and does nothing else: as little of the machine as possible is
//! to be its own.

use std::{
    collections::VecDeque,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use crate::handshake;

/// Of each message.
pub const DATA_BYTES: usize = 100;

/// Publishes until it is told to stop and everything is answered. The latencies (microseconds) are of the
/// publishes that were answered while `is_counting`.
pub fn publish(
    address: SocketAddr,
    query: &str,
    channel: &str,
    in_flight: usize,
    is_counting: &AtomicBool,
    is_over: &AtomicBool,
) -> Result<Histogram<u64>> {
    let mut stream = handshake::open(address, query)?;
    let mut frames = Frames::default();
    frames.read_from(&mut stream)?;
    let mut latencies = Histogram::<u64>::new(3)?;
    let (mut sent, mut next) = (VecDeque::new(), 0_u64);
    let (mut room, mut text) = (in_flight, Vec::new());
    loop {
        text.clear();
        let now = Instant::now();
        if !is_over.load(Ordering::Relaxed) {
            for _ in 0..room {
                frame(&mut text, channel, next);
                next += 1;
                sent.push_back(now);
            }
            stream.write_all(&text)?;
        } else if sent.is_empty() {
            return Ok(latencies);
        }
        room = 0;
        frames.read_from(&mut stream)?;
        let (now, is_counting) = (Instant::now(), is_counting.load(Ordering::Relaxed));
        while let Some(frame) = frames.next() {
            let Some(count) = acknowledged(frame)? else {
                continue;
            };
            for _ in 0..count {
                let began: Instant = sent.pop_front().context("an answer to nothing")?;
                room += 1;
                if is_counting {
                    let micros = now.duration_since(began).as_micros();
                    latencies.record(u64::try_from(micros)?)?;
                }
            }
        }
    }
}

/// A MESSAGE frame, masked with zeros.
fn frame(into: &mut Vec<u8>, channel: &str, serial: u64) {
    let data = "x".repeat(DATA_BYTES);
    let text =
        format!(r#"{{"action":15,"channel":"{channel}","msgSerial":{serial},"messages":[{{"data":"{data}"}}]}}"#);
    into.extend([0x81, 0x80 | 126]);
    // It is longer than 125 bytes, and much shorter than 64 KiB.
    into.extend((text.len() as u16).to_be_bytes());
    into.extend([0; 4]);
    into.extend(text.as_bytes());
}

/// How many publishes a frame acknowledges; None for what is no answer.
fn acknowledged(frame: &[u8]) -> Result<Option<usize>> {
    let text = std::str::from_utf8(frame)?;
    if text.contains(r#""action":1,"#) {
        let (_, count) = text.split_once(r#""count":"#).context("an ACK has a count")?;
        let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
        return Ok(Some(count[..end].parse()?));
    }
    let is_refusal = [r#""action":2,"#, r#""action":9,"#].iter().any(|action| text.contains(action));
    ensure!(!is_refusal, "refused: {text}");
    Ok(None)
}

/// Text frames as they come.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
    at: usize,
}

impl Frames {
    fn read_from(&mut self, stream: &mut TcpStream) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + (64 << 10), 0);
        let read = stream.read(&mut self.buffer[old..])?;
        self.buffer.truncate(old + read);
        ensure!(read > 0, "the server has closed the connection");
        Ok(())
    }

    fn next(&mut self) -> Option<&[u8]> {
        loop {
            let rest = &self.buffer[self.at..];
            let (opcode, length) = (rest.first()? & 0x0f, *rest.get(1)?);
            let (head, length) = match length {
                126 => (4, usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]))),
                length => (2, usize::from(length)),
            };
            let (from, to) = (self.at + head, self.at + head + length);
            if to > self.buffer.len() {
                return None;
            }
            self.at = to;
            if opcode == 1 {
                return Some(&self.buffer[from..to]);
            }
        }
    }
}
