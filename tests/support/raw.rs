//! A TCP client that sends any bytes, and reads the frames of the server one by one.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{PATIENCE, process::ServerProcess};

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
pub const FIN: u8 = 0x80;

/// A frame that the server sent.
#[derive(Debug)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// The end of a connection as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A close frame with this code; 1005 when it has none.
    Closed(u16),
    /// The TCP connection ended without one.
    Cut,
}

pub struct Raw {
    pub reader: Reader,
    pub writer: OwnedWriteHalf,
}

pub struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects TCP and says nothing.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::from_stream(TcpStream::connect(address).await.expect("the server accepts"))
    }

    /// The same with a small receive buffer, so that what this client does not read stays with the
    /// server.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let connected = Self::connect_from(None, true, address).await;
        connected.expect("the server accepts")
    }

    /// The same from an address of this machine, with a small receive buffer or not.
    pub async fn connect_from(source: Option<IpAddr>, is_narrow: bool, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if is_narrow {
            socket.set_recv_buffer_size(4_096)?;
        }
        if let Some(source) = source {
            socket.bind((source, 0).into())?;
        }
        socket.connect(address).await.map(Self::from_stream)
    }

    pub fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("settable");
        let (reader, writer) = stream.into_split();
        Self { reader: Reader { stream: reader, buffer: Vec::new() }, writer }
    }

    /// A WebSocket of `user`.
    pub async fn open(server: &ServerProcess, user: &str) -> Self {
        Self::connect(server.address).await.upgrade(server, user).await
    }

    /// The same, in `room` and subscribed to `event`.
    pub async fn join(server: &ServerProcess, user: &str, room: &str, event: &str) -> Self {
        let mut raw = Self::open(server, user).await;
        raw.subscribe(room, event).await;
        raw
    }

    /// RFC 6455 §4.1.
    pub async fn upgrade(mut self, server: &ServerProcess, user: &str) -> Self {
        let head = upgrade_request(server.address, &format!("token={}&userId={user}", server.token));
        self.write(head.as_bytes()).await.expect("the server reads");
        let answer = self.reader.head().await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        self
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time(self.writer.write_all(bytes)).await
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        let frame = frame(FIN | TEXT, text.as_bytes());
        self.write(&frame).await.expect("the connection is open");
    }

    pub async fn subscribe(&mut self, room: &str, event: &str) {
        self.send(json!({"type": "subscribe", "channel": room, "event": event})).await;
        let answer = self.message().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
    }

    pub async fn publish(&mut self, room: &str, event: &str, data: Value) {
        self.send(json!({"type": "publish", "channel": room, "event": event, "data": data})).await;
    }

    /// The next text message; pings on the way are answered, as browsers do.
    pub async fn text(&mut self) -> String {
        // Around the loop: pings would keep a test waiting for ever.
        in_time(async {
            loop {
                let frame = self.reader.frame().await.expect("the connection is open");
                match frame.opcode {
                    TEXT => return String::from_utf8(frame.payload).expect("UTF-8"),
                    PING => self.pong(&frame.payload).await,
                    PONG => {}
                    _ => panic!("expected a text message, got {frame:?}"),
                }
            }
        })
        .await
    }

    /// The next text message, read.
    pub async fn message(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    /// Answers from the server up to the one to a request sent now.
    pub async fn answers_so_far(&mut self) -> Vec<Value> {
        self.send(json!({"type": "fence"})).await;
        let mut answers = Vec::new();
        loop {
            let message = self.message().await;
            if message["error"]["message"] == "不支持的消息类型: fence" {
                return answers;
            }
            answers.push(message);
        }
    }

    async fn pong(&mut self, payload: &[u8]) {
        let pong = frame(FIN | PONG, payload);
        // The server may have gone already; then reading tells.
        let _ = self.write(&pong).await;
    }

    /// Sends `bytes` while reading, and tells how the server ends the connection. What comes before
    /// is dropped. Waits for the end of the TCP connection, too.
    pub async fn provoke(&mut self, bytes: &[u8]) -> End {
        let Self { reader, writer } = self;
        // The server may stop reading in the middle.
        let write = async { drop(writer.write_all(bytes).await) };
        let read = async {
            let end = reader.end().await;
            reader.eof().await;
            end
        };
        in_time(async { tokio::join!(write, read).1 }).await
    }

    /// Ends the connection as a crashing machine does: with a reset, not with an orderly end.
    pub fn reset(self) {
        let stream = self.reader.stream.reunite(self.writer).expect("one socket");
        stream.set_zero_linger().expect("settable");
    }
}

impl Reader {
    /// The next frame; none when the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = first_frame(&self.buffer) {
                self.buffer.drain(..rest);
                return Some(frame);
            }
            self.fill().await?;
        }
    }

    /// How the server ends the connection; what comes before is dropped.
    pub async fn end(&mut self) -> End {
        in_time(async {
            while let Some(frame) = self.frame().await {
                if frame.opcode == CLOSE {
                    let code = frame.payload.first_chunk().copied();
                    return End::Closed(code.map_or(1005, u16::from_be_bytes));
                }
            }
            End::Cut
        })
        .await
    }

    /// Waits for the end of the TCP connection.
    pub async fn eof(&mut self) {
        while self.fill().await.is_some() {
            self.buffer.clear();
        }
    }

    /// Everything until the end of the TCP connection.
    pub async fn rest(&mut self) -> String {
        while self.fill().await.is_some() {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// The head of an HTTP answer.
    pub async fn head(&mut self) -> String {
        self.try_head().await.expect("an answer")
    }

    /// The same; none when the connection ends before.
    pub async fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8(head).expect("ASCII"));
            }
            self.fill().await?;
        }
    }

    /// Throws away what comes, until the end.
    pub async fn ignore(&mut self) {
        let mut thrown = [0; 16 * 1024];
        while let Ok(1..) = self.stream.read(&mut thrown).await {}
    }

    /// An HTTP answer: head and body.
    pub async fn answer(&mut self) -> String {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        while self.buffer.len() < length {
            self.fill().await.expect("the whole body");
        }
        let body = self.buffer.drain(..length).collect();
        head + &String::from_utf8(body).expect("UTF-8")
    }

    /// Some more bytes; none at the end. A reset is an end.
    pub async fn fill(&mut self) -> Option<usize> {
        let read = in_time(self.stream.read_buf(&mut self.buffer)).await;
        read.ok().filter(|bytes| *bytes > 0)
    }
}

/// A frame of a client. The mask is zero: the payload stands in the clear.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first_byte, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The header of a client's frame that announces `length` bytes.
pub fn frame_head(first_byte: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first_byte];
    match length {
        0..=125 => head.push(0x80 | length as u8),
        126..=0xFFFF => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}

fn first_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (length, head) = match second {
        126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        short => (short.into(), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    let opcode = first & 0x0F;
    Some((Frame { opcode, payload }, head + length))
}

pub fn upgrade_request(address: SocketAddr, query: &str) -> String {
    handshake(address, &format!("/ws?{query}"), "")
}

/// The request for a WebSocket; `headers` is none or lines that end with CRLF.
pub fn handshake(address: SocketAddr, target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// The answer to a GET request; `headers` is none or lines that end with CRLF.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut raw = Raw::connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    raw.write(request.as_bytes()).await.expect("the server reads");
    raw.reader.answer().await
}

pub async fn in_time<T>(event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("nothing happened for {PATIENCE:?}"),
    }
}
