//! A client that goes from node to node, as an SDK does it: it resumes its connection, attaches after the last serial, and sends
//! again what was not acknowledged.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{Error, Message},
};

use super::{KEY, data_of, fleet::Addresses};
use crate::support::ably::{action, flag};

pub struct Roamer {
    name: String,
    channel: String,
    key: Option<String>,
    connection: Option<String>,
    serial: Option<String>,
    /// Serial and data of what was heard, a list more for each break that was told.
    pub stretches: Vec<Vec<(String, String)>>,
    /// Of members.
    pub events: Vec<Value>,
    pub plan: Plan,
    sent: usize,
    next: u64,
    pending: VecDeque<(u64, Item, Instant)>,
    /// The data of what was acknowledged, and how long that took.
    pub acked: Vec<(String, Duration)>,
    pub refused: Vec<Value>,
    /// It came back as another connection so often.
    pub strangers: usize,
    /// Attachments of it, one at each node that it was at.
    pub stays: usize,
}

/// What a client does while it is attached.
#[derive(Clone)]
pub struct Plan {
    /// How many it publishes in all.
    pub publishes: usize,
    /// So many of them at most wait for their ACK.
    pub ahead: usize,
    /// Between them.
    pub pause: Duration,
    /// It is done when it has heard so many, and has no publish left.
    pub hears: usize,
    /// Counts the ACKs of all who share it.
    pub acks: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Item {
    Message(String),
    Enter,
}

impl Plan {
    /// Listens until it is told to go.
    pub fn listen() -> Self {
        Self { publishes: 0, ahead: 1, pause: Duration::from_secs(1), hears: usize::MAX, acks: Arc::default() }
    }
}

impl Roamer {
    pub fn new(name: &str, channel: &str, plan: Plan) -> Self {
        Self {
            name: name.to_owned(),
            channel: channel.to_owned(),
            key: None,
            connection: None,
            serial: None,
            stretches: Vec::new(),
            events: Vec::new(),
            plan,
            sent: 0,
            next: 0,
            pending: VecDeque::new(),
            acked: Vec::new(),
            refused: Vec::new(),
            strangers: 0,
            stays: 0,
        }
    }

    /// It is a member as soon as it is attached.
    pub fn enter(&mut self) {
        self.push(Item::Enter);
    }

    fn push(&mut self, item: Item) -> String {
        let serial = self.next;
        self.next += 1;
        self.pending.push_back((serial, item, Instant::now()));
        self.frame(self.pending.len() - 1)
    }

    fn frame(&self, place: usize) -> String {
        let (serial, item, _) = &self.pending[place];
        let (action, field, items) = match item {
            Item::Message(data) => (action::MESSAGE, "messages", json!([{"data": data}])),
            Item::Enter => (action::PRESENCE, "presence", json!([{"action": 2, "data": "here"}])),
        };
        json!({"action": action, "channel": self.channel, "msgSerial": serial, field: items}).to_string()
    }

    fn heard(&self) -> usize {
        self.stretches.iter().map(Vec::len).sum()
    }

    fn is_done(&self) -> bool {
        self.sent >= self.plan.publishes && self.pending.is_empty() && self.heard() >= self.plan.hears
    }

    /// Goes from node to node until it is done.
    pub async fn roam(&mut self, addresses: &Addresses) {
        while !self.is_done() {
            self.stay(addresses.any(), std::future::pending()).await;
            // No node to be found spins no faster than this.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stays at a node until `end`, until it is done, or until the node lets it go; whether it got so far as to be attached.
    pub async fn stay(&mut self, address: SocketAddr, end: impl Future<Output = ()>) -> bool {
        let resume = self.key.as_ref().map(|key| format!("&resume={key}")).unwrap_or_default();
        let url = format!("ws://{address}/?v=6&key={KEY}&clientId={}{resume}", self.name);
        let opened = timeout(Duration::from_secs(5), connect_async_with_config(url, None, true)).await;
        let Ok(Ok((socket, _))) = opened else { return false };
        let (mut out, mut frames) = socket.split();
        let mut is_attached = false;
        let mut tick = interval(self.plan.pause);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(end);
        while !self.is_done() {
            let may = is_attached && self.sent < self.plan.publishes && self.pending.len() < self.plan.ahead;
            let mut says = Vec::new();
            tokio::select! {
                frame = next(&mut frames) => {
                    let Some(frame) = frame else { return is_attached };
                    let Some(answers) = self.hear(&frame, is_attached) else { return is_attached };
                    is_attached |= frame["action"] == action::ATTACHED;
                    says = answers;
                }
                _ = tick.tick(), if may => {
                    while self.sent < self.plan.publishes && self.pending.len() < self.plan.ahead {
                        let data = format!("{}-{}", self.name, self.sent);
                        self.sent += 1;
                        says.push(self.push(Item::Message(data)));
                    }
                }
                () = &mut end => return is_attached,
            }
            for frame in says {
                if out.send(Message::text(frame)).await.is_err() {
                    return is_attached;
                }
            }
        }
        is_attached
    }

    /// What it answers; none: it has to go.
    fn hear(&mut self, frame: &Value, is_attached: bool) -> Option<Vec<String>> {
        match frame["action"].as_u64()? {
            action::CONNECTED => {
                let id = frame["connectionId"].as_str().map(str::to_owned);
                if self.connection.is_some() && self.connection != id {
                    self.strangers += 1;
                    // RTN19a2: another connection counts anew.
                    for (number, pending) in self.pending.iter_mut().enumerate() {
                        pending.0 = number as u64;
                    }
                    self.next = self.pending.len() as u64;
                }
                self.connection = id;
                self.key = frame["connectionDetails"]["connectionKey"].as_str().map(str::to_owned);
                let mut attach = json!({"action": action::ATTACH, "channel": self.channel});
                if let Some(serial) = &self.serial {
                    attach["channelSerial"] = json!(serial);
                    attach["flags"] = json!(1 << 5);
                }
                return Some(vec![attach.to_string()]);
            }
            action::ATTACHED => {
                let is_resumed = frame["flags"].as_u64().unwrap_or_default() & flag::RESUMED != 0;
                if !is_resumed || self.stretches.is_empty() {
                    self.stretches.push(Vec::new());
                }
                self.serial = frame["channelSerial"].as_str().map(str::to_owned);
                // One that comes unasked answers nothing.
                let again = if is_attached { 0 } else { self.pending.len() };
                self.stays += usize::from(!is_attached);
                return Some((0..again).map(|place| self.frame(place)).collect());
            }
            action::MESSAGE => {
                self.serial = frame["channelSerial"].as_str().map(str::to_owned);
                self.stretches.last_mut().expect("attached").extend(data_of(frame));
            }
            action::PRESENCE => {
                self.serial = frame["channelSerial"].as_str().map(str::to_owned);
                self.events.extend(frame["presence"].as_array().cloned().into_iter().flatten());
            }
            told @ (action::ACK | action::NACK) => {
                let upto = frame["msgSerial"].as_u64()? + frame["count"].as_u64()?;
                while self.pending.front().is_some_and(|(serial, ..)| *serial < upto) {
                    let (_, item, since) = self.pending.pop_front()?;
                    match item {
                        _ if told == action::NACK => self.refused.push(frame["error"].clone()),
                        Item::Message(data) => {
                            self.acked.push((data, since.elapsed()));
                            self.plan.acks.fetch_add(1, Ordering::Relaxed);
                        }
                        Item::Enter => {}
                    }
                }
            }
            action::DISCONNECTED | action::DETACHED | action::ERROR => return None,
            _ => {}
        }
        Some(Vec::new())
    }
}

async fn next(frames: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> Option<Value> {
    loop {
        match frames.next().await? {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            _ => return None,
        }
    }
}
