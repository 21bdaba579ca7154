//! HTTP on a kept connection: answers as they stand in a buffer, and what requests cost that deliver nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{dialect::Target, subject::Subject};

/// One whole answer at the front of a buffer.
pub struct Answer {
    pub is_good: bool,
    /// Bytes of the head.
    pub head: usize,
    /// Of everything.
    pub length: usize,
}

impl Answer {
    /// None: more has to come. The server declares the length of all that this tool asks for.
    pub fn first(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let length = end + 4 + length.context("an answer without its length")?;
        Ok((length <= buffer.len()).then(|| Self { is_good: head.starts_with("HTTP/1.1 200 "), head: end + 4, length }))
    }
}

/// A connection that waits for each answer.
pub struct Keptalive {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Keptalive {
    pub fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).context("connecting for HTTP")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let buffer = Vec::new();
        Ok(Self { stream, buffer })
    }

    /// The status and the body.
    pub fn ask(&mut self, request: &[u8]) -> Result<(String, String)> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            let count = self.stream.read(&mut chunk).context("waiting for an answer")?;
            ensure!(count > 0, "the server closed the connection");
            let read = chunk.get(..count).unwrap_or_default();
            self.buffer.extend_from_slice(read);
            if let Some(answer) = Answer::first(&self.buffer)? {
                let text = String::from_utf8_lossy(&self.buffer);
                let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
                return Ok((status, text.get(answer.head..).unwrap_or_default().to_owned()));
            }
        }
    }
}

/// Requests one behind the other, each answered.
pub struct Answers {
    pub count: u64,
    pub cpu: Duration,
}

impl Answers {
    pub fn measure(subject: &Subject, request: &[u8], status: &str, time: Duration) -> Result<Self> {
        let mut line = Keptalive::open(&subject.target)?;
        let mut flow = |time| -> Result<u64> {
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < time {
                let (told, body) = line.ask(request)?;
                ensure!(told == status, "{told} instead of {status}: {body}");
                count += 1;
            }
            Ok(count)
        };
        flow(time / 5)?;
        let cpu = subject.cpu()?;
        let count = flow(time)?;
        let cpu = Duration::from_nanos(subject.cpu()? - cpu);
        Ok(Self { count, cpu })
    }

    pub fn micros_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count.max(1) as f64
    }
}
