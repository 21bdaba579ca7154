//! Blocking clients of Ably's protocol (docs/protocols/ably.md §2, §11): a WebSocket, and requests on a kept connection.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{handshake, server::KEY};

/// §2.2
pub mod action {
    pub const ACK: u64 = 1;
    pub const CONNECTED: u64 = 4;
    pub const CLOSE: u64 = 7;
    pub const ERROR: u64 = 9;
    pub const ATTACH: u64 = 10;
    pub const ATTACHED: u64 = 11;
    pub const PRESENCE: u64 = 14;
    pub const MESSAGE: u64 = 15;
}

/// §5.2
pub mod mode {
    pub const PRESENCE: u64 = 1 << 16;
    pub const PUBLISH: u64 = 1 << 17;
    pub const SUBSCRIBE: u64 = 1 << 18;
    pub const EVERYTHING: u64 = PRESENCE | PUBLISH | SUBSCRIBE | 1 << 19;
}

/// Publishes on their way at a time.
const IN_FLIGHT: u64 = 64;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    serial: u64,
    /// What it resumes by.
    pub key: String,
}

impl Client {
    /// With these parameters besides those that all have.
    pub fn open(address: SocketAddr, more: &str) -> Result<Self> {
        let credentials = if more.contains("access_token=") { String::new() } else { format!("&key={KEY}") };
        let stream = handshake::open(address, &format!("v=6&format=json&echo=false{credentials}{more}"))?;
        let mut client = Self { stream, buffer: Vec::new(), serial: 0, key: String::new() };
        let connected = client.expect(action::CONNECTED)?;
        client.key = connected["connectionDetails"]["connectionKey"].as_str().unwrap_or_default().to_owned();
        Ok(client)
    }

    pub fn send(&mut self, frame: &Value) -> Result<()> {
        let text = serde_json::to_vec(frame)?;
        let mut bytes = vec![0x81];
        match u16::try_from(text.len()) {
            Ok(length @ 0..=125) => bytes.push(0x80 | length as u8),
            Ok(length) => {
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend((text.len() as u64).to_be_bytes());
            }
        }
        // A mask of zeros.
        bytes.extend([0; 4]);
        bytes.extend(text);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The next frame with this action; others before it are passed over.
    pub fn expect(&mut self, action: u64) -> Result<Value> {
        loop {
            while let Some(frame) = self.take_frame()? {
                let came = &frame["action"];
                ensure!(*came != action::ERROR && *came != 2, "refused: {frame}");
                if *came == action {
                    return Ok(frame);
                }
            }
            let mut chunk = [0; 64 << 10];
            let count = self.stream.read(&mut chunk).context("waiting for a frame")?;
            ensure!(count > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads what has come, without waiting; how much it was.
    pub fn drain(&mut self) -> Result<usize> {
        self.stream.set_nonblocking(true)?;
        let (mut chunk, mut came) = ([0; 64 << 10], 0);
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    came += count;
                    self.buffer.extend_from_slice(&chunk[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.stream.set_nonblocking(false)?;
        while self.take_frame()?.is_some() {}
        Ok(came)
    }

    fn take_frame(&mut self) -> Result<Option<Value>> {
        let [first, second, rest @ ..] = self.buffer.as_slice() else {
            return Ok(None);
        };
        let (head, length) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, usize::try_from(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))?)
            }
            (126 | 127, _) => return Ok(None),
            (length, _) => (2, usize::from(length)),
        };
        let Some(payload) = self.buffer.get(head..head + length) else {
            return Ok(None);
        };
        let frame = match first & 0x0f {
            1 => serde_json::from_slice(payload)?,
            8 => bail!("the server closed the connection"),
            _ => Value::Null,
        };
        self.buffer.drain(..head + length);
        Ok(Some(frame))
    }

    pub fn attach(&mut self, channel: &str, modes: u64) -> Result<Value> {
        self.attach_with(channel, modes, &Value::Null)
    }

    /// `position`: where it goes on (§4.3).
    pub fn attach_with(&mut self, channel: &str, modes: u64, position: &Value) -> Result<Value> {
        let mut frame = json!({"action": action::ATTACH, "channel": channel, "flags": modes});
        if !position.is_null() {
            frame["channelSerial"] = position.clone();
        }
        self.send(&frame)?;
        self.expect(action::ATTACHED)
    }

    /// Publishes, and waits for the answers.
    pub fn publish(&mut self, channel: &str, count: usize) -> Result<()> {
        let (first, count) = (self.serial, count as u64);
        let mut answered = 0;
        while answered < count {
            while self.serial - first < count && self.serial - first - answered < IN_FLIGHT {
                let messages = json!([{"name": "n", "data": "x".repeat(100)}]);
                self.send(&json!({
                    "action": action::MESSAGE, "channel": channel, "msgSerial": self.serial, "messages": messages,
                }))?;
                self.serial += 1;
            }
            answered += self.expect(action::ACK)?["count"].as_u64().unwrap_or_default();
        }
        Ok(())
    }

    /// Enters as so many clients, and waits for the answers.
    pub fn enter(&mut self, channel: &str, clients: std::ops::Range<usize>) -> Result<()> {
        let clients: Vec<usize> = clients.collect();
        for some in clients.chunks(50) {
            let enter =
                |number: &usize| json!({"action": 2, "clientId": format!("client-{number:06}"), "data": "here"});
            let presence: Vec<Value> = some.iter().map(enter).collect();
            self.send(&json!({
                "action": action::PRESENCE, "channel": channel, "msgSerial": self.serial, "presence": presence,
            }))?;
            self.serial += 1;
            self.expect(action::ACK)?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub fn close(&mut self) -> Result<()> {
        self.send(&json!({"action": action::CLOSE}))
    }
}

/// Requests, one behind the other.
pub struct Http {
    stream: TcpStream,
    address: SocketAddr,
    pub authorization: String,
}

impl Http {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(KEY));
        Ok(Self { stream, address, authorization })
    }

    /// The answer, and where its next page is (§8.3), as the parameters of the same path.
    pub fn get(&mut self, target: &str) -> Result<(Value, Option<String>)> {
        self.ask("GET", target, "")
    }

    pub fn post(&mut self, target: &str, body: &Value) -> Result<Value> {
        Ok(self.ask("POST", target, &body.to_string())?.0)
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> Result<(Value, Option<String>)> {
        let Self { address, authorization, .. } = self;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nX-Ably-Version: 6\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        let (mut answer, mut chunk) = (Vec::new(), [0; 64 << 10]);
        loop {
            let count = self.stream.read(&mut chunk).context("waiting for an answer")?;
            ensure!(count > 0, "the server closed the connection");
            answer.extend_from_slice(&chunk[..count]);
            if let Some((head, body)) = whole(&answer)? {
                ensure!(
                    head.starts_with("HTTP/1.1 20"),
                    "{method} {target}: {head}\n{}",
                    String::from_utf8_lossy(&body)
                );
                let next = head.lines().find(|line| line.contains("rel=\"next\""));
                let next =
                    next.and_then(|line| line.split_once('?')?.1.split_once('>')).map(|(query, _)| query.to_owned());
                return Ok((serde_json::from_slice(&body)?, next));
            }
        }
    }
}

/// Head and body once they are there: of the declared length, or in chunks (RFC 9112 §6).
fn whole(answer: &[u8]) -> Result<Option<(String, Vec<u8>)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let rest = &answer[end + 4..];
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if let Some(length) = length {
        return Ok(rest.get(..length).map(|body| (head, body.to_vec())));
    }
    let (mut body, mut rest) = (Vec::new(), rest);
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        let Some(chunk) = rest.get(line + 2..line + 2 + size).filter(|_| rest.len() >= line + 4 + size) else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some((head, body)));
        }
        body.extend_from_slice(chunk);
        rest = &rest[line + 4 + size..];
    }
}
