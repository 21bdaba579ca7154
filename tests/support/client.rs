//! A LetShare client that says exactly what the test tells it to.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, protocol::CloseFrame},
};

use super::{PATIENCE, Server};

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    user: String,
    /// The rooms that it asked for with [`Client::send`], left or not.
    rooms: BTreeSet<String>,
}

impl Client {
    /// Connects as `user` with the server's static token.
    pub async fn connect(server: &Server, user: &str) -> Self {
        Self::try_connect(&server.url(user), user).await.expect("the handshake succeeds")
    }

    pub async fn try_connect(url: &str, user: &str) -> Result<Self, Error> {
        // Without delay, as browsers do: small frames would wait for each other's acknowledgement.
        let (socket, _) = tokio_tungstenite::connect_async_with_config(url, None, true).await?;
        Ok(Self { socket, user: user.to_owned(), rooms: BTreeSet::new() })
    }

    /// Connects and is in `room`, subscribed as the app subscribes: to its own signals and to all.
    pub async fn join(server: &Server, user: &str, room: &str) -> Self {
        let mut client = Self::connect(server, user).await;
        client.subscribe(room, &format!("signal:{user}")).await;
        client.subscribe(room, "signal:all").await;
        client
    }

    pub async fn send(&mut self, message: Value) {
        if message["type"] == "subscribe" {
            let room = message["channel"].as_str().unwrap_or_default();
            self.rooms.insert(room.to_owned());
        }
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_binary(&mut self, data: impl Into<Bytes>) {
        self.socket.send(Message::binary(data)).await.expect("the connection is open");
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the connection is open");
    }

    /// Subscribes and waits for the confirmation.
    pub async fn subscribe(&mut self, room: &str, event: &str) {
        self.send(json!({"type": "subscribe", "channel": room, "event": event})).await;
        let confirmation = self.next().await;
        assert_eq!(confirmation["type"], "subscribed", "{confirmation}");
        assert_eq!(confirmation["channel"], room);
    }

    pub async fn publish(&mut self, room: &str, event: &str, data: Value) {
        self.send(json!({"type": "publish", "channel": room, "event": event, "data": data})).await;
    }

    /// The next text message.
    pub async fn next_text(&mut self) -> String {
        loop {
            match self.next_frame().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{}: expected a text message, got {other:?}", self.user),
            }
        }
    }

    /// The next text message, read.
    pub async fn next(&mut self) -> Value {
        let text = self.next_text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    /// The next binary message.
    pub async fn next_binary(&mut self) -> Bytes {
        loop {
            match self.next_frame().await {
                Some(Ok(Message::Binary(data))) => return data,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{}: expected a binary message, got {other:?}", self.user),
            }
        }
    }

    /// The next message is an error with this code and text.
    pub async fn expect_error(&mut self, code: u16, text: &str) {
        let message = self.next().await;
        assert_eq!(message["type"], "error", "{message}");
        assert_eq!(message["error"], json!({"code": code, "message": text}));
        assert!(message["timestamp"].is_u64(), "{message}");
    }

    /// Everything received before the answers to requests sent now: so that "nothing came" is shown
    /// without waiting for it. One request takes the way through each room that was joined, as
    /// messages do, and changes nothing. What another client published counts only if the server
    /// has read it: call this on the publisher first.
    pub async fn received_so_far(&mut self) -> Vec<Value> {
        const FENCE: &str = "fence";
        for room in self.rooms.clone() {
            self.send(json!({"type": "unsubscribe", "channel": room, "event": FENCE})).await;
        }
        self.send(json!({"type": FENCE})).await;
        let mut received = Vec::new();
        let mut answers = 0;
        while answers <= self.rooms.len() {
            let message = self.next().await;
            if message["event"] == FENCE || message["error"]["message"] == "不支持的消息类型: fence" {
                answers += 1;
            } else {
                received.push(message);
            }
        }
        received
    }

    /// The close frame that the server sends; what comes before it is dropped.
    pub async fn expect_close(&mut self) -> Option<CloseFrame> {
        loop {
            match self.next_frame().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{}: expected a close frame, got {other:?}", self.user),
            }
        }
    }

    /// Cuts the connection without a word, as a lost network does: nothing on the way arrives.
    pub fn cut(self) {
        if let MaybeTlsStream::Plain(tcp) = self.socket.get_ref() {
            tcp.set_zero_linger().expect("an open socket");
        }
    }

    pub async fn next_frame(&mut self) -> Option<Result<Message, Error>> {
        match tokio::time::timeout(PATIENCE, self.socket.next()).await {
            Ok(frame) => frame,
            Err(_) => panic!("{}: nothing came", self.user),
        }
    }
}
