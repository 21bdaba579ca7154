//! A comet client that asks for exactly what the test tells it to.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    ably_realtime::stage::connection_key,
    support::{Http, PATIENCE, Response, Server, ably::action},
};

pub struct Comet {
    pub address: SocketAddr,
    pub key: String,
    waiting: VecDeque<Value>,
}

impl Comet {
    /// Connects by polling, and reads CONNECTED.
    pub async fn connect(server: &Server, query: &str) -> (Self, Value) {
        let mut frames = frames_of(&Self::open(server.address, &format!("{query}&stream=false")).await);
        let connected = frames.pop_front().expect("a frame");
        assert_eq!(connected["action"], action::CONNECTED, "{connected}");
        let key = connection_key(&connected).to_owned();
        (Self { address: server.address, key, waiting: frames }, connected)
    }

    /// The answer to a request to connect.
    pub async fn open(address: SocketAddr, query: &str) -> Response {
        ask(address, "GET", &format!("/comet/connect?{query}"), "").await
    }

    pub async fn ask(&self, method: &str, what: &str, body: &str) -> Response {
        ask(self.address, method, &format!("/comet/{}/{what}", self.key), body).await
    }

    /// Sends these frames in one request.
    pub async fn send(&self, frames: Value) {
        let response = self.ask("POST", "send", &frames.to_string()).await;
        assert_eq!((response.status, &*response.body), (204, ""), "{response:?}");
    }

    /// The next batch.
    pub async fn receive(&self) -> VecDeque<Value> {
        frames_of(&self.ask("GET", "recv", "").await)
    }

    /// The next frame but heartbeats.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.waiting.pop_front() {
                Some(frame) if frame == json!({"action": action::HEARTBEAT}) => {}
                Some(frame) => return frame,
                None => self.waiting = self.receive().await,
            }
        }
    }

    pub async fn expect(&mut self, action: u64) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["action"], action, "{frame}");
        frame
    }

    pub async fn attach(&mut self, channel: &str) -> Value {
        self.send(json!([{"action": action::ATTACH, "channel": channel}])).await;
        self.expect(action::ATTACHED).await
    }
}

pub async fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> Response {
    let mut http = Http::connect_to(address).await;
    if method == "POST" { http.post(target, &[], body).await } else { http.ask(method, target, &[]).await }
}

/// The frames of one batch: a line of ASCII (T66).
#[track_caller]
pub fn frames_of(response: &Response) -> VecDeque<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    frames_in(response.body.strip_suffix('\n').expect("a whole line"))
}

#[track_caller]
pub fn frames_in(line: &str) -> VecDeque<Value> {
    assert!(line.is_ascii() && !line.contains('\n'), "{line}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A response whose body goes on, read line by line as it comes.
pub struct Lines {
    stream: BufReader<TcpStream>,
    pub head: String,
    /// Of the body, that no line end has followed yet.
    text: String,
}

impl Lines {
    /// Asks with these lines of headers, each with its end.
    pub async fn open(address: SocketAddr, target: &str, headers: &str) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("the server listens"));
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = tokio::time::timeout(PATIENCE, stream.read_line(&mut head)).await;
            assert!(read.expect("an answer comes").expect("an open connection") > 0, "{head}");
        }
        Self { stream, head, text: String::new() }
    }

    /// The next line; none: the body has ended in order.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(line);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.chunk()).await.expect("a chunk comes in time");
            if chunk.is_empty() {
                assert_eq!(self.text, "", "the last line is whole");
                return None;
            }
            self.text += &chunk;
        }
    }

    /// One chunk of the body; none of the last (RFC 9112 §7.1).
    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.stream.read_line(&mut size).await.expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("a size: {size:?}"));
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.expect("a whole chunk");
        chunk.truncate(size);
        String::from_utf8(chunk).expect("whole characters")
    }
}
