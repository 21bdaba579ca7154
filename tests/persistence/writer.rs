//! Clients that publish as fast as they are answered, and know what they were told.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use super::ground::{KEY, headers};
use crate::support::ably::action;

/// Sends numbers, the next before the last is answered; knows what was acknowledged, and as what.
pub struct Writer {
    pub number: u64,
    /// Of its channels: the first word.
    namespace: &'static str,
    pub next: u64,
    /// Oldest first: channel and number.
    pub unanswered: VecDeque<(usize, u64)>,
    /// Channel, number, serial.
    pub acked: Vec<(usize, u64, String)>,
}

impl Writer {
    pub fn new(number: u64, namespace: &'static str) -> Self {
        Self { number, namespace, next: 0, unanswered: VecDeque::new(), acked: Vec::new() }
    }

    /// Several write to each channel.
    pub fn channel(&self, generation: usize) -> String {
        format!("{}:{generation}-{}", self.namespace, self.number % 2)
    }

    /// Exactly what was acknowledged, then perhaps the first of what was not.
    pub fn compare(&self, generation: usize, kept: &[(u64, String)]) -> usize {
        let acked = self.acked.iter().filter(|(channel, ..)| *channel == generation);
        let acked: Vec<_> = acked.map(|(_, number, serial)| (*number, serial.clone())).collect();
        let name = format!("writer {} on channels {generation}", self.number);
        assert!(
            kept.starts_with(&acked),
            "{name}: {} acknowledged, {} kept, first difference {:?}",
            acked.len(),
            kept.len(),
            acked.iter().zip(kept).find(|(acked, kept)| acked != kept)
        );
        let more: Vec<u64> = kept[acked.len()..].iter().map(|(number, _)| *number).collect();
        let unanswered = self.unanswered.iter().filter(|(channel, _)| *channel == generation);
        let unanswered: Vec<u64> = unanswered.map(|(_, number)| *number).collect();
        assert!(unanswered.starts_with(&more), "{name}: {more:?} of {unanswered:?} are kept");
        more.len()
    }

    /// Publishes what was not answered, then new messages to `generation`, until the server is gone. Without
    /// one, until all is answered.
    pub async fn go_on(&mut self, address: SocketAddr, generation: Option<usize>) {
        // The server may be gone at any moment: that is no failure.
        let _ = match self.number {
            0..4 => self.by_socket(address, generation).await,
            _ => self.by_http(address, generation).await,
        };
    }

    fn take_new(&mut self, generation: Option<usize>) -> Option<()> {
        self.unanswered.push_back((generation?, self.next));
        self.next += 1;
        Some(())
    }

    fn message(&self, number: u64) -> Value {
        let name = "n".repeat(usize::try_from(number % 300).unwrap());
        let text = format!("{}-{number}", self.number);
        json!({"id": format!("{text}:0"), "data": text, "name": name})
    }

    fn answered(&mut self, serial: &Value) {
        let (channel, number) = self.unanswered.pop_front().expect("an answer to something");
        let serial = serial.as_str().expect("a serial").to_owned();
        self.acked.push((channel, number, serial));
    }

    /// None: the server is gone.
    async fn by_socket(&mut self, address: SocketAddr, generation: Option<usize>) -> Option<()> {
        let url = format!("ws://{address}/?v=6&key={KEY}&echo=false");
        let connected = tokio_tungstenite::connect_async_with_config(url, None, true).await;
        let (mut socket, _) = connected.ok()?;
        let (mut sent, mut msg_serial) = (0, 0);
        let in_flight = 1 << (2 * (self.number % 6));
        loop {
            while sent < in_flight {
                if sent == self.unanswered.len() && self.take_new(generation).is_none() {
                    break;
                }
                let (generation, number) = self.unanswered[sent];
                let frame = json!({
                    "action": action::MESSAGE, "channel": self.channel(generation),
                    "msgSerial": msg_serial, "messages": [self.message(number)],
                });
                sent += 1;
                msg_serial += 1;
                socket.send(Message::text(frame.to_string())).await.ok()?;
            }
            if sent == 0 {
                return Some(());
            }
            let Message::Text(text) = socket.next().await?.ok()? else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            match frame["action"].as_u64() {
                Some(action::ACK) => {
                    let answers = frame["res"].as_array().expect("answers");
                    assert_eq!(frame["count"], answers.len());
                    for answer in answers {
                        self.answered(&answer["serials"][0]);
                        sent -= 1;
                    }
                }
                Some(action::CONNECTED | action::HEARTBEAT) => {}
                // Sent away in order; nothing more is answered.
                Some(action::DISCONNECTED) => return None,
                // The same, by its status.
                Some(action::NACK) if frame["error"]["statusCode"] == LATER => return None,
                _ => panic!("writer {}: {frame}", self.number),
            }
        }
    }

    /// None: the server is gone.
    async fn by_http(&mut self, address: SocketAddr, generation: Option<usize>) -> Option<()> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        loop {
            if self.unanswered.is_empty() && self.take_new(generation).is_none() {
                return Some(());
            }
            let (generation, number) = self.unanswered[0];
            let (target, body) = (self.channel(generation), self.message(number).to_string());
            let [auth, version] = headers().map(|(name, value)| format!("{name}: {value}\r\n"));
            let request = format!(
                "POST /channels/{target}/messages HTTP/1.1\r\nHost: {address}\r\n{auth}{version}\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let answer = answer(&mut stream).await?;
            self.answered(&answer["serials"][0]);
        }
    }
}

/// The status of a publish that comes too late for a server that ends, or whose channel has ended already: nothing
/// was acknowledged, and it may come again.
const LATER: u64 = 503;

/// The body of a response that says 201; None when the server is gone before its end.
async fn answer(stream: &mut TcpStream) -> Option<Value> {
    let mut response = Vec::new();
    loop {
        if stream.read_buf(&mut response).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&response).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.expect("a length").parse::<usize>().unwrap() {
            let body: Value = serde_json::from_str(body).expect("JSON");
            let is_late = body["error"]["statusCode"] == LATER;
            assert!(is_late || head.starts_with("HTTP/1.1 201"), "{text}");
            return (!is_late).then_some(body);
        }
    }
}
