//! A chat client that says exactly what the test tells it to.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{chat::house::token, support::PATIENCE};

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    user: u64,
}

impl Client {
    /// Connects, and has been welcomed.
    pub async fn connect(address: SocketAddr, user: u64) -> Self {
        let url = format!("ws://{address}/ws/chat");
        let opened = Self::open(&url, &[("x-token", &token(user))], user).await;
        let mut client = opened.expect("the handshake succeeds");
        let welcome = client.next().await;
        assert_eq!(welcome["data"]["type"], "welcome", "{welcome}");
        client
    }

    pub async fn open(url: &str, headers: &[(&'static str, &str)], user: u64) -> Result<Self, Box<Error>> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let value = value.parse().expect("a header");
            request.headers_mut().insert(*name, value);
        }
        let connected = tokio_tungstenite::connect_async_with_config(request, None, true).await;
        let (socket, _) = connected.map_err(Box::new)?;
        Ok(Self { socket, user })
    }

    pub async fn send(&mut self, cmd: &str, data: Value) {
        self.send_text(&json!({"cmd": cmd, "data": data}).to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    pub async fn send_frame(&mut self, frame: Message) {
        self.socket.send(frame).await.expect("the connection is open");
    }

    /// The next text message as it came.
    pub async fn next_text(&mut self) -> String {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame {
                Ok(Some(Ok(Message::Text(text)))) => return text.to_string(),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {
                    // The answer to a ping is written with the next flush.
                    let _ = self.socket.flush().await;
                }
                other => panic!("{}: expected a text message, got {other:?}", self.user),
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        let text = self.next_text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    /// The `data` of the next message, which is a success.
    pub async fn data(&mut self) -> Value {
        let mut message = self.next().await;
        assert_eq!(message["code"], 0, "{message}");
        assert_eq!(message["message"], "success", "{message}");
        message["data"].take()
    }

    /// What a request is answered.
    pub async fn asks(&mut self, cmd: &str, data: Value) -> Value {
        self.send(cmd, data).await;
        self.next().await
    }

    /// The request is refused with exactly this, and null for data.
    pub async fn refused(&mut self, cmd: &str, data: Value, code: u16, text: &str) {
        let answer = self.asks(cmd, data.clone()).await;
        let answer = without_reason(answer);
        let expected = json!({"code": code, "message": text, "data": null});
        assert_eq!(answer, expected, "{cmd} {data}");
    }

    /// What came before an answer to a ping, which takes the way of everything that is sent to this client. What others
    /// did counts if they were answered first.
    pub async fn received_so_far(&mut self) -> Vec<Value> {
        self.send_text(r#"{"cmd":"ping","id":"fence"}"#).await;
        let mut received = Vec::new();
        loop {
            match self.next().await {
                pong if pong["id"] == "fence" => return received,
                message => received.push(message),
            }
        }
    }

    /// The close code and text that the server gives; what comes before is dropped.
    pub async fn expect_close(&mut self) -> (u16, String) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame {
                Ok(Some(Ok(Message::Close(Some(close))))) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Ok(Some(Ok(_))) => {}
                other => panic!("{}: expected a close frame, got {other:?}", self.user),
            }
        }
    }

    /// Leaves in order and waits for the end.
    pub async fn leave(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// An answer as the document has it: `reason` is ours (`tests/refusals`).
pub fn without_reason(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("reason");
    }
    answer
}

/// Whether a text is `YYYY-MM-DD hh:mm:ss`.
pub fn is_time(time: &Value) -> bool {
    let pattern = "0000-00-00 00:00:00";
    let time = time.as_str().unwrap_or_default();
    let fits = |(a, b): (char, char)| if b == '0' { a.is_ascii_digit() } else { a == b };
    time.len() == pattern.len() && time.chars().zip(pattern.chars()).all(fits)
}

/// Whether it is 24 hex digits, as an ObjectId.
pub fn is_message_id(id: &Value) -> bool {
    let id = id.as_str().unwrap_or_default();
    id.len() == 24 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
