//! A working directory with an app of its own, in which servers follow each other, and how to speak to them.

use std::{net::SocketAddr, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    AblyClient, Http, Response,
    ably::{action, flag},
    process::ServerProcess,
};

/// A key of the app that may do everything. Channels `persisted:…` are persisted.
pub const KEY: &str = "crash1.root:every-thing-is-allowed-here";
const APPS: &str = "\
apps:
  - id: crash1
    keys:
      - id: root
        secret: every-thing-is-allowed-here
        revocableTokens: true
    namespaces:
      - id: persisted
        persisted: true
      - id: mutable
        mutableMessages: true
";
const SETTINGS: [(&str, &str); 5] = [
    ("ABLY_APPS_FILE", "apps.yaml"),
    ("ABLY_KEYS_OVER_HTTP", "true"),
    ("LIMITS_PUBLISHES_PER_SECOND", "0"),
    ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
    // Most clients of these tests do not answer a close frame.
    ("WEBSOCKET_CLOSE_TIMEOUT", "100ms"),
];

/// Outlives its servers.
pub struct Ground(TempDir);

impl Ground {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a working directory");
        std::fs::write(dir.path().join("apps.yaml"), APPS).expect("a file of apps");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn start(&self) -> ServerProcess {
        self.start_with(&[])
    }

    pub fn start_with(&self, settings: &[(&str, &str)]) -> ServerProcess {
        let started = self.try_start(&[], settings);
        started.unwrap_or_else(|stderr| panic!("{stderr}"))
    }

    /// Through another program, and perhaps in vain.
    pub fn try_start(&self, launcher: &[&str], settings: &[(&str, &str)]) -> Result<ServerProcess, String> {
        let settings = [&SETTINGS[..], settings].concat();
        ServerProcess::try_start(self.path(), launcher, "local", &settings)
    }
}

/// The headers that every request needs.
pub fn headers() -> [(&'static str, String); 2] {
    let basic = format!("Basic {}", BASE64_STANDARD.encode(KEY));
    [("Authorization", basic), ("X-Ably-Version", "6".to_owned())]
}

/// The REST interface, as the key that may do everything.
pub struct Rest(Http<TcpStream>);

impl Rest {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(Http::connect_to(address).await)
    }

    pub async fn post(&mut self, target: &str, body: &Value) -> Response {
        let [auth, version] = headers();
        let headers = [(auth.0, &*auth.1), (version.0, &*version.1)];
        self.0.post(target, &headers, &body.to_string()).await
    }

    /// Changes a message; the serial of the version.
    pub async fn change(&mut self, channel: &str, serial: &str, body: Value) -> String {
        let [auth, version] = headers();
        let body = body.to_string();
        let length = body.len().to_string();
        let headers = [(auth.0, &*auth.1), (version.0, &*version.1), ("Content-Length", &*length)];
        let target = format!("/channels/{channel}/messages/{serial}");
        let response = self.0.ask_with("PATCH", &target, &headers, body.as_bytes()).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["versionSerial"].as_str().expect("a serial").to_owned()
    }

    pub async fn get(&mut self, target: &str) -> Response {
        let [auth, version] = headers();
        let headers = [(auth.0, &*auth.1), (version.0, &*version.1)];
        self.0.ask("GET", target, &headers).await
    }

    /// Publishes; what may come of it is up to the test.
    pub async fn try_publish(&mut self, channel: &str, body: Value) -> Response {
        let target = format!("/channels/{channel}/messages");
        self.post(&target, &body).await
    }

    /// Publishes, and gives back the serial of the only message.
    pub async fn publish(&mut self, channel: &str, body: Value) -> String {
        let response = self.try_publish(channel, body).await;
        assert_eq!(response.status, 201, "{response:?}");
        let answer = response.json();
        answer["serials"][0].as_str().expect("a serial").to_owned()
    }

    /// Publishes messages with these numbers as data.
    pub async fn publish_numbers(&mut self, channel: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.publish(channel, json!({"data": number.to_string()})).await;
        }
    }

    /// Every message of a channel, the oldest first.
    pub async fn history(&mut self, channel: &str) -> Vec<Value> {
        let mut read = Vec::new();
        let mut target = format!("/channels/{channel}/messages?direction=forwards&limit=1000");
        loop {
            let response = self.get(&target).await;
            assert_eq!(response.status, 200, "{response:?}");
            read.extend(response.json().as_array().expect("a list").clone());
            match next_page(&response) {
                Some(query) => target = format!("/channels/{channel}/messages?{query}"),
                None => return read,
            }
        }
    }
}

/// The query of the page that follows (`docs/protocols/ably.md §1.8`).
fn next_page(response: &Response) -> Option<String> {
    let links = response.lines("link").into_iter();
    let mut next = links.filter(|link| link.ends_with("rel=\"next\""));
    let (_, query) = next.next()?.split_once('?')?;
    Some(query.split_once('>')?.0.to_owned())
}

/// The data of messages, in order.
pub fn data_of(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["data"].as_str().expect("a text")).collect()
}

/// Numbers as [`Rest::publish_numbers`] writes them.
pub fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A subscriber, and what it needs to come back.
pub struct Subscriber {
    pub client: AblyClient,
    pub ticket: Ticket,
}

/// What a client keeps to come back with.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub connection: String,
    pub key: String,
    /// The newest position on its channel.
    pub position: String,
}

impl Subscriber {
    pub async fn connect(address: SocketAddr, more: &str) -> Self {
        let query = format!("v=6&key={KEY}{more}");
        let mut client = AblyClient::open_at(address, &query).await;
        let connected = client.expect(action::CONNECTED).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        assert_eq!(connected.get("error"), None, "{connected}");
        let ticket = Ticket {
            connection: text(&connected["connectionId"]),
            key: text(&connected["connectionDetails"]["connectionKey"]),
            position: String::new(),
        };
        Self { client, ticket }
    }

    pub async fn attach(&mut self, channel: &str) -> Value {
        let attached = self.client.attach(channel).await;
        self.note(&attached);
        attached
    }

    /// The network is gone, without a word.
    pub fn cut(self) -> Ticket {
        self.ticket
    }

    /// Attaches with the last position; ATTACHED, and every message that came before the answer to a fence.
    pub async fn attach_again(&mut self, channel: &str) -> (Value, Vec<Value>) {
        let attach = json!({"action": action::ATTACH, "channel": channel, "channelSerial": self.ticket.position});
        let attached = self.client.attach_with(attach).await;
        let frames = self.client.received_so_far().await;
        (attached, messages_of(&frames))
    }

    /// Waits for so many messages.
    pub async fn hear(&mut self, count: usize) -> Vec<Value> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let frame = self.client.expect(action::MESSAGE).await;
            self.note(&frame);
            heard.extend(messages_of(&[frame]));
        }
        heard
    }

    fn note(&mut self, frame: &Value) {
        let serial = frame["channelSerial"].as_str();
        serial.expect("a position").clone_into(&mut self.ticket.position);
    }
}

impl Ticket {
    /// Comes back to the connection on another server; what there was is still to be attached to.
    pub async fn resume(&self, address: SocketAddr, more: &str) -> Subscriber {
        let more = format!("{more}&resume={}", self.key);
        let mut resumed = Subscriber::connect(address, &more).await;
        let new = &mut resumed.ticket;
        assert_eq!(new.connection, self.connection);
        assert_ne!(new.key, self.key);
        new.position.clone_from(&self.position);
        resumed
    }
}

/// The messages in frames.
pub fn messages_of(frames: &[Value]) -> Vec<Value> {
    let lists = frames.iter().filter_map(|frame| frame["messages"].as_array());
    lists.flatten().cloned().collect()
}

/// §5.3: nothing was missed, and the client is told so.
pub fn is_resumed(attached: &Value) -> bool {
    attached["flags"].as_u64().expect("flags") & flag::RESUMED != 0
}
