//! One client of the relay: a blocking socket that speaks WebSocket frames, as cheap as can be, since clients and server
//! share the processors. It pauses nowhere, unlike the app (docs/protocols/letshare.md §3.4).

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{dialect::Target, wire};

/// Some chunks, so that what is left of the last one is seldom moved to the front.
const INBOX_BYTES: usize = 512 << 10;
/// Nothing moves for so long: the transfer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Line {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// What is not handed out yet, inside `inbox`.
    from: usize,
    to: usize,
}

/// A whole message. Texts are unmasked, binary ones are as they came: masked if they came through the proxy.
pub struct Message<'a> {
    pub opcode: u8,
    pub mask: [u8; 4],
    pub payload: &'a [u8],
}

impl Line {
    /// Connects as `user` and is a member of `room` when this returns.
    pub fn join(target: &Target, user: &str, room: &str) -> Result<Self> {
        let stream = TcpStream::connect(target.address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = Self { stream, inbox: vec![0; INBOX_BYTES], from: 0, to: 0 };
        let request = wire::upgrade_request(&target.address.to_string(), &target.token, user);
        line.send(request.as_bytes())?;
        line.say(&wire::subscribe_text(room))?;
        let head = loop {
            let bytes = line.inbox.get(..line.to).unwrap_or_default();
            if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            line.fill()?;
        };
        let answer = line.inbox.get(..head).unwrap_or_default();
        ensure!(answer.starts_with(b"HTTP/1.1 101 "), "the upgrade was refused: {}", String::from_utf8_lossy(answer));
        line.from = head;
        let text = line.hear()?;
        ensure!(text["type"] == "subscribed", "not subscribed: {text}");
        Ok(line)
    }

    /// Sends bytes that are a frame already.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.stream.write_all(frame).context("writing")
    }

    pub fn say(&mut self, text: &str) -> Result<()> {
        self.send_frame(wire::TEXT, text.as_bytes())
    }

    fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        wire::put_client_frame(&mut frame, opcode, payload, 1);
        self.send(&frame)
    }

    /// The next message must be a text.
    pub fn hear(&mut self) -> Result<Value> {
        let message = self.next()?;
        ensure!(message.opcode == wire::TEXT, "a chunk where a text was due");
        Ok(serde_json::from_slice(message.payload)?)
    }

    /// Waits for the next message; pings are answered here.
    pub fn next(&mut self) -> Result<Message<'_>> {
        let (opcode, mask, range) = loop {
            let bytes = self.inbox.get_mut(self.from..self.to).unwrap_or_default();
            let Some(frame) = wire::first_frame(bytes) else {
                self.fill()?;
                continue;
            };
            ensure!(frame.fin, "the server sent a fragmented frame");
            let range = self.from + frame.payload.start..self.from + frame.payload.end;
            self.from = range.end;
            let mask = frame.mask.unwrap_or_default();
            match frame.opcode {
                wire::BINARY => {}
                wire::TEXT => {
                    wire::unmask(bytes.get_mut(frame.payload).unwrap_or_default(), mask);
                }
                wire::PING => {
                    let payload = self.inbox.get(range).unwrap_or_default().to_vec();
                    self.send_frame(wire::PONG, &payload)?;
                    continue;
                }
                other => bail!("the server sent a frame with opcode {other}"),
            }
            break (frame.opcode, mask, range);
        };
        Ok(Message { opcode, mask, payload: self.inbox.get(range).unwrap_or_default() })
    }

    /// Reads whatever is there, at least one byte.
    fn fill(&mut self) -> Result<()> {
        if self.from > 0 {
            self.inbox.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        let room = self.inbox.get_mut(self.to..).unwrap_or_default();
        let count = self.stream.read(room).context("reading")?;
        ensure!(count > 0, "the connection was cut");
        self.to += count;
        Ok(())
    }
}
