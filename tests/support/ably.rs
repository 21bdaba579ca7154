//! An Ably client that says exactly what the test tells it to, in JSON or MessagePack.

use std::collections::{BTreeMap, BTreeSet};

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message},
};

use super::{Http, PATIENCE, Server};

/// The actions of frames (`docs/protocols/ably.md §2.2`).
pub mod action {
    pub const HEARTBEAT: u64 = 0;
    pub const ACK: u64 = 1;
    pub const NACK: u64 = 2;
    pub const CONNECTED: u64 = 4;
    pub const DISCONNECT: u64 = 5;
    pub const DISCONNECTED: u64 = 6;
    pub const CLOSE: u64 = 7;
    pub const CLOSED: u64 = 8;
    pub const ERROR: u64 = 9;
    pub const ATTACH: u64 = 10;
    pub const ATTACHED: u64 = 11;
    pub const DETACH: u64 = 12;
    pub const DETACHED: u64 = 13;
    pub const PRESENCE: u64 = 14;
    pub const MESSAGE: u64 = 15;
    pub const SYNC: u64 = 16;
    pub const AUTH: u64 = 17;
    pub const OBJECT: u64 = 19;
    pub const OBJECT_SYNC: u64 = 20;
    pub const ANNOTATION: u64 = 21;
}

/// Flags of ATTACHED (`docs/protocols/ably.md §2.3`).
pub mod flag {
    pub const HAS_PRESENCE: u64 = 1;
    pub const HAS_BACKLOG: u64 = 2;
    pub const RESUMED: u64 = 4;
    pub const HAS_OBJECTS: u64 = 128;
    pub const PRESENCE: u64 = 1 << 16;
    pub const PUBLISH: u64 = 1 << 17;
    pub const SUBSCRIBE: u64 = 1 << 18;
    pub const PRESENCE_SUBSCRIBE: u64 = 1 << 19;
    pub const ANNOTATION_PUBLISH: u64 = 1 << 21;
    pub const ANNOTATION_SUBSCRIBE: u64 = 1 << 22;
    pub const OBJECT_SUBSCRIBE: u64 = 1 << 24;
    pub const OBJECT_PUBLISH: u64 = 1 << 25;
}

/// An app with its keys, made by `POST /apps`.
pub struct TestApp {
    pub id: String,
    pub keys: Vec<String>,
    pub body: Value,
}

impl TestApp {
    /// With keys of these capabilities, the first of them everything.
    pub async fn create(server: &Server, setup: Value) -> Self {
        Self::create_at(server.address, setup).await
    }

    pub async fn create_at(address: SocketAddr, setup: Value) -> Self {
        let mut http = Http::connect_to(address).await;
        let created = http.post("/apps", &[], &setup.to_string()).await;
        assert_eq!(created.status, 201, "{}", created.body);
        let body: Value = serde_json::from_str(&created.body).expect("JSON");
        let keys = body["keys"].as_array().unwrap().iter();
        Self {
            id: body["appId"].as_str().unwrap().to_owned(),
            keys: keys.map(|key| key["keyStr"].as_str().unwrap().to_owned()).collect(),
            body: body.clone(),
        }
    }

    /// `app.key`, and an Authorization header with its secret.
    pub fn basic(&self, key: usize) -> (&str, String) {
        let (name, _) = self.keys[key].split_once(':').expect("a key");
        (name, format!("Basic {}", BASE64_STANDARD.encode(&self.keys[key])))
    }

    pub async fn plain(server: &Server) -> Self {
        Self::create(server, json!({"keys": [{}]})).await
    }
}

/// Tests write and read frames as JSON whatever goes over the wire; in MessagePack `{"bin": "<hex>"}`
/// stands for binary (see [`binary`]).
pub struct AblyClient {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub is_msgpack: bool,
    msg_serial: u64,
    /// The last ATTACH to each channel, and the channels that are attached.
    asked: BTreeMap<String, Value>,
    attached: BTreeSet<String>,
}

/// A param that changes nothing and is told back: it shows which ATTACHED answers a fence.
const FENCE: &str = "appendMode";

/// Binary data of a MessagePack frame.
pub fn binary(bytes: &[u8]) -> Value {
    json!({"bin": hex::encode(bytes)})
}

impl AblyClient {
    /// Opens a socket with this query; nothing is read yet.
    pub async fn open(server: &Server, query: &str) -> Self {
        Self::open_at(server.address, query).await
    }

    pub async fn open_at(address: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{address}/?{query}");
        let connected = tokio_tungstenite::connect_async_with_config(url, None, true).await;
        let (socket, _) = connected.expect("an Ably WebSocket is always upgraded");
        Self {
            socket,
            is_msgpack: query.contains("format=msgpack"),
            msg_serial: 0,
            asked: BTreeMap::new(),
            attached: BTreeSet::new(),
        }
    }

    /// Connects with a key and reads CONNECTED.
    pub async fn connect(server: &Server, key: &str) -> Self {
        Self::connect_with(server, &format!("v=6&key={key}")).await.0
    }

    pub async fn connect_with(server: &Server, query: &str) -> (Self, Value) {
        let mut client = Self::open(server, query).await;
        let connected = client.expect(action::CONNECTED).await;
        (client, connected)
    }

    pub async fn send(&mut self, frame: Value) {
        if frame["action"] == action::ATTACH {
            let channel = frame["channel"].as_str().unwrap_or_default();
            self.asked.insert(channel.to_owned(), frame.clone());
        }
        let written = if self.is_msgpack {
            let mut packed = Vec::new();
            rmpv::encode::write_value(&mut packed, &pack(&frame)).expect("memory");
            Message::binary(packed)
        } else {
            Message::text(frame.to_string())
        };
        self.send_raw(written).await;
    }

    /// Sends what may be no frame at all.
    pub async fn send_raw(&mut self, written: Message) {
        self.socket.send(written).await.expect("the connection is open");
    }

    /// The next frame but heartbeats.
    pub async fn next(&mut self) -> Value {
        let next = async {
            loop {
                let frame = self.next_of_all().await;
                if frame["action"] != action::HEARTBEAT || frame.get("id").is_some() {
                    return frame;
                }
            }
        };
        let next = tokio::time::timeout(PATIENCE, next).await;
        let frame = next.expect("another frame than heartbeats comes in time");
        self.note(&frame);
        frame
    }

    fn note(&mut self, frame: &Value) {
        let Some(channel) = frame["channel"].as_str() else {
            return;
        };
        let action = &frame["action"];
        if *action == action::ATTACHED {
            self.attached.insert(channel.to_owned());
        } else if *action == action::DETACHED || *action == action::ERROR {
            self.attached.remove(channel);
        }
    }

    pub async fn next_of_all(&mut self) -> Value {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Text(text))) if !self.is_msgpack => {
                    return serde_json::from_str(&text).expect("JSON");
                }
                Some(Ok(Message::Binary(packed))) if self.is_msgpack => {
                    let read = rmpv::decode::read_value(&mut &*packed);
                    return unpack(&read.expect("MessagePack"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    pub async fn expect(&mut self, action: u64) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["action"], action, "{frame}");
        frame
    }

    /// The server closes the socket without another word.
    pub async fn expect_end(&mut self) {
        let end = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("expected the end, got {other:?}"),
                }
            }
        };
        let end = tokio::time::timeout(PATIENCE, end).await;
        end.expect("the end comes in time");
    }

    /// Cuts the connection without a word, as a lost network does.
    pub fn cut(self) {
        if let MaybeTlsStream::Plain(tcp) = self.socket.get_ref() {
            tcp.set_zero_linger().expect("an open socket");
        }
    }

    /// Attaches and reads ATTACHED.
    pub async fn attach(&mut self, channel: &str) -> Value {
        self.attach_with(json!({"action": action::ATTACH, "channel": channel})).await
    }

    pub async fn attach_with(&mut self, frame: Value) -> Value {
        self.send(frame).await;
        self.expect(action::ATTACHED).await
    }

    /// Publishes and returns its msgSerial; the answer is not read.
    pub async fn publish(&mut self, channel: &str, messages: Value) -> u64 {
        self.push(action::MESSAGE, "messages", channel, messages).await
    }

    /// The same on a socket that may be closed by now.
    pub async fn try_publish(&mut self, channel: &str, messages: Value) -> Result<(), tungstenite::Error> {
        let frame =
            json!({"action": action::MESSAGE, "channel": channel, "msgSerial": self.msg_serial, "messages": messages});
        self.socket.send(Message::text(frame.to_string())).await
    }

    pub async fn presence(&mut self, channel: &str, events: Value) -> u64 {
        self.push(action::PRESENCE, "presence", channel, events).await
    }

    /// The same with the serial of an earlier one, as after a resume.
    pub async fn push_again(&mut self, serial: u64, action: u64, field: &str, channel: &str, items: Value) {
        self.msg_serial = serial;
        self.push(action, field, channel, items).await;
    }

    pub async fn push(&mut self, action: u64, field: &str, channel: &str, items: Value) -> u64 {
        let serial = self.msg_serial;
        self.msg_serial += 1;
        let frame = json!({"action": action, "channel": channel, "msgSerial": serial, field: items});
        self.send(frame).await;
        serial
    }

    /// Reads until the answer to `serial`, which must be an ACK; what came before is returned.
    pub async fn acked(&mut self, serial: u64) -> Vec<Value> {
        let mut before = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["action"] == action::ACK && frame["msgSerial"] == serial {
                assert_eq!(frame["count"], 1);
                return before;
            }
            before.push(frame);
        }
    }

    /// The next frame refuses `serial` with this code.
    pub async fn nacked(&mut self, serial: u64, code: u64) -> Value {
        let nack = self.expect(action::NACK).await;
        assert_eq!(nack["msgSerial"], serial, "{nack}");
        assert_eq!(nack["count"], 1);
        assert_eq!(nack["error"]["code"], code, "{nack}");
        assert!(nack["error"]["statusCode"].is_u64(), "{nack}");
        nack
    }

    /// Everything received before the answers to what is sent now: so that "nothing came" is shown without
    /// waiting for it. One ATTACH takes the way through each channel that is attached, as messages do,
    /// and changes nothing. What others do counts if it was answered before.
    pub async fn received_so_far(&mut self) -> Vec<Value> {
        let mut received = Vec::new();
        for channel in self.attached.clone() {
            let mut fence = self.asked[&channel].clone();
            if let Some(fields) = fence.as_object_mut() {
                fields.remove("channelSerial");
            }
            fence["params"][FENCE] = json!("fence");
            self.send(fence).await;
            loop {
                let frame = self.next().await;
                let is_fence = frame["params"][FENCE] == "fence";
                if frame["action"] == action::ATTACHED && is_fence {
                    break;
                }
                received.push(frame);
            }
            // Whoever is present is told again.
            let rest = self.answered_so_far().await;
            let is_news = |frame: &Value| frame["action"] != action::SYNC;
            received.extend(rest.into_iter().filter(is_news));
        }
        received.extend(self.answered_so_far().await);
        received
    }

    /// Everything received until a heartbeat of its own comes back, which takes no way through channels.
    pub async fn answered_so_far(&mut self) -> Vec<Value> {
        let fence = json!({"action": action::HEARTBEAT, "id": "fence"});
        self.send(fence).await;
        let mut received = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["action"] == action::HEARTBEAT {
                return received;
            }
            received.push(frame);
        }
    }
}

fn pack(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().expect("a number").into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(pack).collect::<Vec<_>>().into(),
        Value::Object(fields) => match fields.get("bin") {
            Some(Value::String(bytes)) if fields.len() == 1 => rmpv::Value::Binary(hex::decode(bytes).expect("hex")),
            _ => {
                let field = |(name, value): (&String, &Value)| (name.as_str().into(), pack(value));
                rmpv::Value::Map(fields.iter().map(field).collect())
            }
        },
    }
}

fn unpack(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Binary(bytes) => binary(bytes),
        rmpv::Value::Array(items) => items.iter().map(unpack).collect(),
        rmpv::Value::Map(fields) => {
            let field =
                |(name, value): &(rmpv::Value, rmpv::Value)| (name.as_str().expect("a name").to_owned(), unpack(value));
            Value::Object(fields.iter().map(field).collect())
        }
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(flag) => json!(flag),
        rmpv::Value::Integer(number) => match number.as_u64() {
            Some(number) => json!(number),
            None => json!(number.as_i64()),
        },
        rmpv::Value::F32(number) => json!(number),
        rmpv::Value::F64(number) => json!(number),
        rmpv::Value::String(text) => json!(text.as_str().expect("UTF-8")),
        rmpv::Value::Ext(..) => panic!("nothing of Ably's is an extension: {value}"),
    }
}
