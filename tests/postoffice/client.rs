//! A mailbox's client that says exactly what the test tells it to.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{postoffice::server::PostOfficeServer, support::PATIENCE};

/// The header that opens every mailbox.
pub const TOKEN: (&str, &str) = ("Authorization", "Bearer any");

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    name: String,
}

impl Client {
    pub async fn connect(server: &PostOfficeServer, name: &str) -> Self {
        Self::connect_to(server.address, name).await
    }

    pub async fn connect_to(address: SocketAddr, name: &str) -> Self {
        let url = format!("ws://{address}/ws?clientID={name}");
        let client = Self::open(&url, Some(TOKEN.1), name).await;
        client.expect("the handshake succeeds")
    }

    pub async fn open(url: &str, token: Option<&str>, name: &str) -> Result<Self, Box<Error>> {
        let mut request = url.into_client_request().expect("a URL");
        if let Some(token) = token {
            let token = token.parse().expect("a header");
            request.headers_mut().insert(TOKEN.0, token);
        }
        let connected = tokio_tungstenite::connect_async_with_config(request, None, true).await;
        let (socket, _) = connected.map_err(Box::new)?;
        let name = name.to_owned();
        Ok(Self { socket, name })
    }

    pub async fn send(&mut self, letter: Value) {
        self.send_text(&letter.to_string()).await;
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
                other => panic!("{}: expected a text message, got {other:?}", self.name),
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        let text = self.next_text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    /// The next message is an error of this code; its text and what it refers to.
    pub async fn refused(&mut self, code: &str) -> (String, Value) {
        let mut error = self.next().await;
        assert_eq!(error["code"], code, "{error}");
        let text = error["error"].as_str().expect("a text").to_owned();
        (text, error["ref"].take())
    }

    /// Everything that came before what is sent now came back: by a letter to itself, which takes the way of all
    /// letters. What others sent counts if they called this first.
    pub async fn received_so_far(&mut self) -> Vec<Value> {
        let fence = json!({
            "from": self.name, "to": self.name, "subject": "fence", "content": "", "type": 1,
        });
        self.send(fence.clone()).await;
        let mut received = Vec::new();
        loop {
            match self.next().await {
                letter if letter == fence => return received,
                letter => received.push(letter),
            }
        }
    }

    /// Waits for something that the server does once this client has answered its pings, which takes reading; no
    /// letter may come.
    pub async fn reads_until<T>(&mut self, happens: impl Future<Output = T>) -> T {
        tokio::pin!(happens);
        loop {
            let frame = tokio::select! {
                result = &mut happens => return result,
                frame = self.socket.next() => frame,
            };
            match frame {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    let _ = self.socket.flush().await;
                }
                other => panic!("{}: expected pings only, got {other:?}", self.name),
            }
        }
    }

    /// The close code that the server gives; what comes before is dropped.
    pub async fn expect_close(&mut self) -> (u16, String) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame {
                Ok(Some(Ok(Message::Close(Some(close))))) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Ok(Some(Ok(_))) => {}
                other => panic!("{}: expected a close frame, got {other:?}", self.name),
            }
        }
    }

    /// Leaves in order and waits for the end.
    pub async fn leave(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Cuts the connection without a word, as a lost network does.
    pub fn cut(self) {
        if let MaybeTlsStream::Plain(tcp) = self.socket.get_ref() {
            tcp.set_zero_linger().expect("an open socket");
        }
    }
}

/// A letter with everything that the document requires.
pub fn letter(from: &str, to: impl Into<Value>, subject: &str) -> Value {
    json!({"from": from, "to": to.into(), "subject": subject, "content": "b2s=", "type": 1})
}

pub fn subjects(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["subject"].as_str().unwrap_or("none")).collect()
}
