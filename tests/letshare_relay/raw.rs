//! A transfer between two clients that say only what the test tells them to.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Client, Server, eventually};

pub const ROOM: &str = "demo1";
pub const SENDER: &str = "a:1";
pub const RECEIVER: &str = "b:2";
/// The smallest chunks that are allowed (§3.5.11) keep these tests quick.
pub const CHUNK: u64 = 1_024;
const HEADER_BYTES: usize = 256;

/// §3.2: JSON, padded with zeros to 256 bytes, and the payload.
pub fn frame(id: &str, index: u64, total: u64, payload: &[u8]) -> Bytes {
    let header = json!({
        "transfer_id": id,
        "chunk_index": index,
        "chunk_size": payload.len(),
        "total_chunks": total,
    });
    with_header(&header.to_string(), payload)
}

pub fn with_header(header: &str, payload: &[u8]) -> Bytes {
    let mut frame = header.as_bytes().to_vec();
    frame.resize(HEADER_BYTES, 0);
    frame.extend_from_slice(payload);
    frame.into()
}

/// The header of a frame, read as the app reads it: cut at the first zero byte.
pub fn header(frame: &[u8]) -> Value {
    let padded = &frame[..HEADER_BYTES];
    let json = padded.split(|byte| *byte == 0).next().unwrap_or_default();
    serde_json::from_slice(json).expect("a header")
}

pub fn payload(frame: &[u8]) -> &[u8] {
    &frame[HEADER_BYTES..]
}

/// §3.1 `request`, from [`SENDER`] to [`RECEIVER`], of so many chunks.
pub fn request(id: &str, total: u64) -> Value {
    json!({
        "type": "file:transfer:request",
        "channel": ROOM,
        "data": {
            "transfer_id": id,
            "file_name": "照片 1.jpg",
            "file_size": total * CHUNK,
            "file_type": "image/jpeg",
            "chunk_size": CHUNK,
            "total_chunks": total,
            "from_user_id": SENDER,
            "to_user_id": RECEIVER,
            "room_name": ROOM,
            "flow_control": "receiver_ack_v1",
        },
    })
}

/// A control message; `start` and `end` have no channel in the app, so none has here.
pub async fn say(client: &mut Client, kind: &str, id: &str, more: Value) {
    let mut data = json!({"transfer_id": id});
    for (key, value) in more.as_object().expect("an object") {
        data[key] = value.clone();
    }
    let message = json!({"type": format!("file:transfer:{kind}"), "data": data});
    client.send(message).await;
}

/// The next message is of this kind; its data.
pub async fn hear(client: &mut Client, kind: &str, id: &str) -> Value {
    let mut message = client.next().await;
    assert_eq!(message["type"], format!("file:transfer:{kind}"), "{message}");
    assert_eq!(message["data"]["transfer_id"], id, "{message}");
    assert!(message["timestamp"].is_u64(), "{message}");
    if kind != "error" {
        assert_eq!(message["channel"], ROOM, "{message}");
    }
    message["data"].take()
}

/// §3.5.3: the next message is an error that names the transfer and has these words in it.
pub async fn expect_fault(client: &mut Client, id: &str, code: u16, words: &str) {
    let data = hear(client, "error", id).await;
    let text = data["error"].as_str().expect("a text");
    assert!(text.contains(words), "{data}");
    assert_eq!(data["code"], code, "{data}");
    assert_eq!(data["message"], data["error"]);
}

/// Nothing was sent to this side of the transfer that has not been read: its question, which takes the same way
/// as all else, is answered next. The status of the transfer.
pub async fn nothing_else(client: &mut Client, id: &str) -> String {
    say(client, "resume-query", id, json!({})).await;
    let state = hear(client, "resume-state", id).await;
    state["status"].as_str().expect("a text").to_owned()
}

/// The two sides of a transfer.
pub struct Pair {
    pub sender: Client,
    pub receiver: Client,
    pub id: String,
    pub total: u64,
}

impl Pair {
    pub async fn joined(server: &Server) -> (Client, Client) {
        let sender = Client::join(server, SENDER, ROOM).await;
        let receiver = Client::join(server, RECEIVER, ROOM).await;
        (sender, receiver)
    }

    /// Requested, not answered.
    pub async fn requested(server: &Server, total: u64) -> Self {
        let (sender, receiver) = Self::joined(server).await;
        Self::between(sender, receiver, "transfer_1_abcdefg", total).await
    }

    pub async fn between(mut sender: Client, mut receiver: Client, id: &str, total: u64) -> Self {
        sender.send(request(id, total)).await;
        hear(&mut receiver, "request", id).await;
        Self { sender, receiver, id: id.to_owned(), total }
    }

    /// Accepted and started.
    pub async fn running(server: &Server, total: u64) -> Self {
        let mut pair = Self::requested(server, total).await;
        pair.begin().await;
        pair
    }

    pub async fn begin(&mut self) {
        self.receiver_says("accept", json!({"ack_every_chunks": 8, "ack_window_chunks": 24})).await;
        self.sender_hears("accept").await;
        self.sender_says("start", json!({})).await;
        self.receiver_hears("start").await;
    }

    /// The receiver's connection is lost, and the server has noticed. What it has acknowledged by then.
    pub async fn cut_receiver(&mut self, server: &Server) -> u64 {
        // A client that is in no room stands in for it until it comes back.
        let nobody = Client::connect(server, "nobody").await;
        std::mem::replace(&mut self.receiver, nobody).cut();
        self.receiver_is_missed().await
    }

    /// The sender is told only after a while, but it may ask.
    pub async fn receiver_is_missed(&mut self) -> u64 {
        eventually(async || {
            self.sender_says("resume-query", json!({})).await;
            let state = self.sender_hears("resume-state").await;
            let is_missed = state["status"] == "interrupted";
            is_missed.then(|| state["received_count"].as_u64().expect("a number"))
        })
        .await
    }

    /// The receiver is back; what it missed comes next.
    pub async fn receiver_returns(&mut self, server: &Server) {
        self.receiver = Client::connect(server, RECEIVER).await;
        self.receiver.subscribe(ROOM, "signal:all").await;
    }

    /// The sender is back; what it missed comes next.
    pub async fn sender_returns(&mut self, server: &Server) {
        self.sender = Client::connect(server, SENDER).await;
        self.sender.subscribe(ROOM, "signal:all").await;
    }

    pub async fn sender_says(&mut self, kind: &str, more: Value) {
        say(&mut self.sender, kind, &self.id, more).await;
    }

    pub async fn receiver_says(&mut self, kind: &str, more: Value) {
        say(&mut self.receiver, kind, &self.id, more).await;
    }

    pub async fn sender_hears(&mut self, kind: &str) -> Value {
        hear(&mut self.sender, kind, &self.id).await
    }

    pub async fn receiver_hears(&mut self, kind: &str) -> Value {
        hear(&mut self.receiver, kind, &self.id).await
    }

    /// Both sides are told, and the transfer is over.
    pub async fn both_are_told(&mut self, code: u16, words: &str) {
        for side in [&mut self.sender, &mut self.receiver] {
            expect_fault(side, &self.id, code, words).await;
        }
    }

    pub fn frame(&self, index: u64) -> Bytes {
        // Every payload is another one.
        let payload: Vec<u8> = (0..CHUNK).map(|byte| (byte + 7 * index) as u8).collect();
        frame(&self.id, index, self.total, &payload)
    }

    pub async fn send_frames(&mut self, indexes: Range<u64>) {
        for index in indexes {
            let frame = self.frame(index);
            self.sender.send_binary(frame).await;
        }
    }

    /// The next binary messages are these frames, unchanged.
    pub async fn expect_frames(&mut self, indexes: impl IntoIterator<Item = u64>) {
        for index in indexes {
            let frame = self.receiver.next_binary().await;
            assert_eq!(header(&frame)["chunk_index"], index);
            assert!(frame == self.frame(index), "frame {index} was changed");
        }
    }

    pub async fn ack(&mut self, received_chunks: u64) {
        self.receiver_says("ack", json!({"received_chunks": received_chunks})).await;
        let ack = self.sender_hears("ack").await;
        assert_eq!(ack["received_chunks"], received_chunks);
    }

    /// The rest of a transfer of which nothing was sent: it is unharmed.
    pub async fn finish(mut self) {
        assert!(self.total <= 24, "one window");
        self.send_frames(0..self.total).await;
        self.expect_frames(0..self.total).await;
        self.ack(self.total).await;
        self.end().await;
    }

    /// `end` and `complete`, with nothing before them.
    pub async fn end(&mut self) {
        self.sender_says("end", json!({})).await;
        self.receiver_hears("end").await;
        self.receiver_says("complete", json!({})).await;
        self.sender_hears("complete").await;
    }
}
