//! A client of the group protocol that says exactly what the test tells it to.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::support::PATIENCE;

pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came while the test looked for something else.
    passed: VecDeque<Value>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/ws");
        let connected = tokio_tungstenite::connect_async_with_config(url, None, true).await;
        Self { socket: connected.expect("the server upgrades").0, passed: VecDeque::new() }
    }

    pub async fn authenticated(address: SocketAddr, user: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.auth(&super::token(json!(user))).await;
        let success = client.expect("auth_success").await;
        assert_eq!(success["data"], json!({"user_id": user}));
        client
    }

    pub async fn frame(&mut self, frame: Message) {
        self.socket.send(frame).await.expect("the connection is open");
    }

    pub async fn text(&mut self, text: &str) {
        self.frame(Message::text(text)).await;
    }

    pub async fn send(&mut self, kind: &str, id: &str, data: Value) {
        let frame = json!({"type": kind, "message_id": id, "timestamp": 1_760_000_000, "data": data});
        self.text(&frame.to_string()).await;
    }

    pub async fn auth(&mut self, token: &str) {
        self.send("auth", "auth-1", json!({"token": token})).await;
    }

    /// A text message, not waiting for anything.
    pub async fn say(&mut self, id: &str, group: &str, content: &str) {
        let data = json!({"group_id": group, "msg_type": 1, "content": content});
        self.send("send_message", id, data).await;
    }

    /// A text message that is stored; its id.
    pub async fn says(&mut self, id: &str, group: &str, content: &str) -> String {
        self.say(id, group, content).await;
        self.acked(id).await
    }

    /// The id that an ack brings; what comes before it waits for [`Client::next`].
    pub async fn acked(&mut self, id: &str) -> String {
        let is_it = |frame: &Value| frame["type"] == "ack" && frame["message_id"] == id;
        let frame = match self.passed.iter().position(is_it) {
            Some(at) => self.passed.remove(at).expect("it is there"),
            None => loop {
                let frame = self.read().await;
                assert_ne!(frame["type"], "error", "{frame}");
                if is_it(&frame) {
                    break frame;
                }
                self.passed.push_back(frame);
            },
        };
        assert_eq!(frame["data"]["success"], true, "{frame}");
        let id = frame["data"]["message_id"].as_str();
        id.expect("an id").to_owned()
    }

    pub async fn next(&mut self) -> Value {
        match self.passed.pop_front() {
            Some(frame) => frame,
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Value {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Text(text))) => {
                    assert!(!text.contains('\n'), "one JSON object per frame (§3): {text}");
                    return serde_json::from_str(&text).expect("JSON");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a text frame, got {other:?}"),
            }
        }
    }

    /// The next frame is of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next message, past acks; its `data`.
    pub async fn message(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            match frame["type"].as_str() {
                Some("new_message") => {
                    assert_eq!(frame["message_id"], frame["data"]["message_id"]);
                    return frame["data"].clone();
                }
                Some("ack") => {}
                _ => panic!("expected a message, got {frame}"),
            }
        }
    }

    /// The contents of the next messages.
    pub async fn contents(&mut self, count: usize) -> Vec<String> {
        let mut contents = Vec::new();
        for _ in 0..count {
            let message = self.message().await;
            contents.push(message["content"].as_str().expect("a text").to_owned());
        }
        contents
    }

    /// An error of this code and text comes, about this request; messages before it are dropped.
    pub async fn refused(&mut self, id: &str, code: u16, text: &str) {
        let error = loop {
            let frame = self.next().await;
            if frame["type"] != "new_message" {
                break frame;
            }
        };
        assert_eq!(error["type"], "error", "{error}");
        assert_eq!(error["message_id"], id, "{error}");
        assert_eq!((&error["data"]["code"], &error["data"]["message"]), (&json!(code), &json!(text)));
    }

    pub async fn expect_close(&mut self, code: u16) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Close(Some(CloseFrame { code: told, .. })))) => {
                    return assert_eq!(u16::from(told), code);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    /// The same, past other frames.
    pub async fn closes(&mut self, code: u16) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Close(Some(CloseFrame { code: told, .. })))) => {
                    return assert_eq!(u16::from(told), code);
                }
                Some(Ok(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }
}
