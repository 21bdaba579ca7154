//! HTTP/1.1 as it stands on the wire: nothing is sent that the test did not write.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use super::Server;

/// The headers of a WebSocket handshake (RFC 6455 §4.1).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// One connection that is kept alive.
pub struct Http<S> {
    stream: BufStream<S>,
    host: SocketAddr,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// As text, where it is.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Http<TcpStream> {
    pub async fn connect(server: &Server) -> Self {
        Self::connect_to(server.address).await
    }

    pub async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await;
        Self::over(stream.expect("the server listens"), address)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http<S> {
    pub fn over(stream: S, host: SocketAddr) -> Self {
        Self { stream: BufStream::new(stream), host }
    }

    /// Sends a request with a `Host` and these headers, and reads the response.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.ask_with(method, target, headers, b"").await
    }

    /// The same with a JSON body and its headers.
    pub async fn post(&mut self, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("Content-Type", "application/json"));
        all.push(("Content-Length", &length));
        self.ask_with("POST", target, &all, body.as_bytes()).await
    }

    /// Sends these headers and, after them, this body.
    pub async fn ask_with(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        for part in [request.as_bytes(), body] {
            self.stream.write_all(part).await.expect("the connection is open");
        }
        self.stream.flush().await.expect("the connection is open");
        self.read_response(method).await
    }

    async fn read_response(&mut self, method: &str) -> Response {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).map(str::parse);
        let mut response = Response {
            status: status.expect("a status line").expect("a status"),
            headers: Vec::new(),
            body: String::new(),
            bytes: Vec::new(),
        };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            let header = (name.to_ascii_lowercase(), value.to_owned());
            response.headers.push(header);
        }
        let length = response.header("content-length").map(str::parse);
        if let (Some(length), true) = (length, method != "HEAD") {
            let mut body = vec![0; length.expect("a length")];
            self.stream.read_exact(&mut body).await.expect("a body");
            response.body = String::from_utf8_lossy(&body).into_owned();
            response.bytes = body;
        } else if response.header("transfer-encoding") == Some("chunked") {
            response.bytes = self.chunks().await;
            response.body = String::from_utf8_lossy(&response.bytes).into_owned();
        }
        response
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line().await, 16).expect("a length");
            let before = body.len();
            body.resize(before + size, 0);
            self.stream.read_exact(&mut body[before..]).await.expect("a chunk");
            assert_eq!(self.line().await, "");
            if size == 0 {
                return body;
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        let read = tokio::time::timeout(super::PATIENCE, read).await;
        let bytes = read.expect("an answer comes").expect("the connection stays");
        assert!(bytes > 0, "the server closed instead of answering");
        line.trim_end().to_owned()
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Every line of a header.
    pub fn lines(&self, name: &str) -> Vec<&str> {
        let headers = self.headers.iter();
        let lines = headers.filter(|(known, _)| known == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}
