//! A client that does with files what the app does (`docs/protocols/letshare.md §3.1` to §3.4), but for its pauses:
//! whatever comes is answered, uploads keep 24 frames on the way, downloads acknowledge every 8.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::Message;

use super::raw;
use crate::support::{Client, PATIENCE, Server, eventually};

/// §3.1, §3.2
const CHUNK: usize = 65_536;
const ACK_EVERY: u64 = 8;
const WINDOW: u64 = 24;
/// §3.1 `resend`
const RESEND_MAX: usize = 256;
/// A download that hears nothing for so long asks again. The app waits 30 s (§3.4).
const STALL: Duration = Duration::from_secs(3);

pub struct Page {
    /// None while the connection is cut.
    client: Option<Client>,
    user: String,
    room: String,
    uploads: BTreeMap<String, Upload>,
    downloads: BTreeMap<String, Download>,
    /// Types of all messages that came.
    pub kinds: Vec<String>,
    /// The statuses that uploads were told (`resume-state`).
    pub statuses: Vec<String>,
    /// How often in a row nothing came.
    silences: u32,
}

struct Upload {
    file: Vec<u8>,
    sent: u64,
    acknowledged: u64,
    /// Asked for again.
    again: Vec<u64>,
    has_ended: bool,
    ending: Option<String>,
}

struct Download {
    file: Vec<u8>,
    missing: Vec<bool>,
    received: u64,
    end_heard: bool,
    ending: Option<String>,
}

/// So many bytes that compress badly; another `seed`, other bytes.
pub fn file(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut file = Vec::with_capacity(bytes + 8);
    while file.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.extend_from_slice(&state.to_le_bytes());
    }
    file.truncate(bytes);
    file
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Page {
    pub async fn join(server: &Server, user: &str, room: &str) -> Self {
        Self::enter(Client::connect(server, user).await, user, room).await
    }

    /// With a client that has connected.
    pub async fn enter(client: Client, user: &str, room: &str) -> Self {
        let mut page = Self {
            client: Some(client),
            user: user.to_owned(),
            room: room.to_owned(),
            uploads: BTreeMap::new(),
            downloads: BTreeMap::new(),
            kinds: Vec::new(),
            statuses: Vec::new(),
            silences: 0,
        };
        page.subscribe().await;
        let is_in = |page: &Self| page.kinds.iter().filter(|kind| *kind == "subscribed").count() == 2;
        page.work_until(is_in).await;
        page
    }

    /// §2.3: the app's two subscriptions. Frames may come before the second is confirmed.
    async fn subscribe(&mut self) {
        for event in [format!("signal:{}", self.user), "signal:all".to_owned()] {
            let message = json!({"type": "subscribe", "channel": self.room, "event": event});
            self.client().send(message).await;
        }
    }

    /// Loses its connection: what it sent and was sent just now may be gone. It keeps its downloads, as the app
    /// does, and forgets its uploads.
    pub fn cut(&mut self) {
        self.client.take().expect("connected").cut();
        self.uploads.clear();
    }

    pub async fn reconnect(&mut self, server: &Server) {
        self.client = Some(Client::connect(server, &self.user).await);
        self.subscribe().await;
    }

    pub async fn offer(&mut self, id: &str, to: &str, file: Vec<u8>) {
        let request = json!({
            "transfer_id": id,
            "file_name": "file.bin",
            "file_size": file.len(),
            "file_type": "application/octet-stream",
            "chunk_size": CHUNK,
            "total_chunks": chunks(file.len()),
            "from_user_id": self.user,
            "to_user_id": to,
            "room_name": self.room,
            "flow_control": "receiver_ack_v1",
        });
        let upload = Upload { file, sent: 0, acknowledged: 0, again: Vec::new(), has_ended: false, ending: None };
        self.uploads.insert(id.to_owned(), upload);
        self.say("request", request, true).await;
    }

    /// How the upload ended.
    pub fn sent(&self, id: &str) -> Option<&str> {
        self.uploads.get(id)?.ending.as_deref()
    }

    /// How the download ended.
    pub fn ended(&self, id: &str) -> Option<&str> {
        self.downloads.get(id)?.ending.as_deref()
    }

    /// The hash of what was received, once it is whole.
    pub fn received(&self, id: &str) -> Option<String> {
        let download = self.downloads.get(id)?;
        (download.ending.as_deref() == Some("complete")).then(|| sha256(&download.file))
    }

    pub fn chunks_received(&self, id: &str) -> u64 {
        self.downloads.get(id).map_or(0, |download| download.received)
    }

    pub fn chunks_acknowledged(&self, id: &str) -> u64 {
        self.uploads.get(id).map_or(0, |upload| upload.acknowledged)
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("connected")
    }

    pub async fn cancel(&mut self, id: &str) {
        let data = json!({"transfer_id": id, "reason": "取消"});
        self.say("cancel", data, false).await;
    }

    /// Answers whatever comes, until `done`.
    pub async fn work_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.turn().await;
        }
    }

    async fn turn(&mut self) {
        let next = self.client().socket.next();
        let Ok(next) = tokio::time::timeout(STALL, next).await else {
            return self.ask_again().await;
        };
        self.silences = 0;
        match next {
            Some(Ok(Message::Text(text))) => {
                let message = serde_json::from_str(&text).expect("JSON");
                self.message(message).await;
            }
            Some(Ok(Message::Binary(frame))) => self.chunk(&frame).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{}: {other:?}", self.user),
        }
    }

    async fn message(&mut self, message: Value) {
        let kind = message["type"].as_str().expect("a type").to_owned();
        self.kinds.push(kind.clone());
        let Some(kind) = kind.strip_prefix("file:transfer:") else {
            assert_ne!(kind, "error", "{message}");
            return;
        };
        let data = &message["data"];
        let id = data["transfer_id"].as_str().expect("an id").to_owned();
        match kind {
            "request" => self.accept(&id, data).await,
            "accept" => {
                self.say("start", json!({"transfer_id": id}), false).await;
                self.pump(&id).await;
            }
            "ack" => {
                let received = data["received_chunks"].as_u64().expect("a number");
                if let Some(upload) = self.uploads.get_mut(&id) {
                    upload.acknowledged = upload.acknowledged.max(received);
                }
                self.pump(&id).await;
            }
            "resend" => {
                let indexes = data["chunk_indexes"].as_array().expect("a list");
                let indexes = indexes.iter().filter_map(Value::as_u64);
                if let Some(upload) = self.uploads.get_mut(&id) {
                    upload.again.extend(indexes);
                    upload.has_ended = false;
                }
                self.pump(&id).await;
            }
            "start" => {}
            "end" => {
                if let Some(download) = self.downloads.get_mut(&id) {
                    download.end_heard = true;
                }
                self.assemble(&id).await;
            }
            "resume-state" => {
                let status = data["status"].as_str().expect("a status");
                self.statuses.push(status.to_owned());
            }
            "complete" | "cancel" | "reject" | "error" => {
                let ending = data["error"].as_str().unwrap_or(kind).to_owned();
                if let Some(upload) = self.uploads.get_mut(&id) {
                    upload.ending.get_or_insert(ending);
                } else if let Some(download) = self.downloads.get_mut(&id) {
                    download.ending.get_or_insert(ending);
                }
            }
            other => panic!("{}: the app aborts on {other}: {message}", self.user),
        }
    }

    /// The server has missed the receiver of an upload. The app does not ask.
    pub async fn until_missed(&mut self, id: &str) {
        eventually(async || {
            let told = self.statuses.len();
            let question = json!({"transfer_id": id});
            self.say("resume-query", question, true).await;
            self.work_until(|page| page.statuses.len() > told).await;
            (self.statuses.pop()? == "interrupted").then_some(())
        })
        .await;
    }

    // --- uploads -------------------------------------------------------------------------------

    /// Sends as much as the window allows; `end` when everything is acknowledged.
    async fn pump(&mut self, id: &str) {
        let Some(upload) = self.uploads.get_mut(id) else {
            return;
        };
        let total = chunks(upload.file.len());
        while upload.sent - upload.acknowledged < WINDOW && upload.ending.is_none() {
            let index = match upload.again.pop() {
                Some(index) => index,
                None if upload.sent < total => {
                    upload.sent += 1;
                    upload.sent - 1
                }
                None => break,
            };
            let start = index as usize * CHUNK;
            let payload = &upload.file[start..upload.file.len().min(start + CHUNK)];
            let frame = raw::frame(id, index, total, payload);
            let client = self.client.as_mut().expect("connected");
            client.send_binary(frame).await;
        }
        if upload.acknowledged == total && upload.again.is_empty() && !upload.has_ended {
            upload.has_ended = true;
            self.say("end", json!({"transfer_id": id}), false).await;
        }
    }

    // --- downloads -----------------------------------------------------------------------------

    async fn accept(&mut self, id: &str, request: &Value) {
        let size = request["file_size"].as_u64().expect("a size") as usize;
        let download = Download {
            file: vec![0; size],
            missing: vec![true; chunks(size) as usize],
            received: 0,
            end_heard: false,
            ending: None,
        };
        self.downloads.insert(id.to_owned(), download);
        let data = json!({
            "transfer_id": id,
            "flow_control": "receiver_ack_v1",
            "ack_every_chunks": ACK_EVERY,
            "ack_window_chunks": WINDOW,
        });
        self.say("accept", data, true).await;
    }

    async fn chunk(&mut self, frame: &[u8]) {
        let header = raw::header(frame);
        let id = header["transfer_id"].as_str().expect("an id").to_owned();
        let index = header["chunk_index"].as_u64().expect("a number");
        let Some(download) = self.downloads.get_mut(&id) else {
            panic!("{}: a frame of {id}, which is not mine", self.user);
        };
        let total = download.missing.len() as u64;
        assert_eq!(header["total_chunks"], total);
        if !std::mem::replace(&mut download.missing[index as usize], false) {
            // The app ignores what it has.
            return;
        }
        let payload = raw::payload(frame);
        let start = index as usize * CHUNK;
        download.file[start..start + payload.len()].copy_from_slice(payload);
        download.received += 1;
        let received = download.received;
        if received.is_multiple_of(ACK_EVERY) || received == total {
            let data = json!({
                "transfer_id": id,
                "chunk_index": index,
                "received_chunks": received,
                "total_chunks": total,
                "bytes_received": received * CHUNK as u64,
            });
            self.say("ack", data, true).await;
        }
    }

    /// After `end`: says that it is whole, or asks for what is missing.
    async fn assemble(&mut self, id: &str) {
        let Some(download) = self.downloads.get_mut(id) else {
            return;
        };
        let total = download.missing.len() as u64;
        if download.ending.is_some() || (download.received < total && !download.end_heard) {
            return;
        }
        if download.received == total {
            download.ending = Some("complete".to_owned());
            let data = json!({"transfer_id": id});
            return self.say("complete", data, true).await;
        }
        self.ask_for_missing(id).await;
    }

    /// §3.3 "lost frames: 30 s without a chunk".
    async fn ask_again(&mut self) {
        self.silences += 1;
        assert!(self.silences * STALL < PATIENCE, "{}: nothing came", self.user);
        let is_stuck = |download: &Download| {
            download.ending.is_none() && download.missing.contains(&true) && download.received > 0
        };
        let stuck = self.downloads.iter().find(|(_, download)| is_stuck(download));
        if let Some((id, _)) = stuck {
            let id = id.clone();
            self.ask_for_missing(&id).await;
        }
    }

    async fn ask_for_missing(&mut self, id: &str) {
        let missing = &self.downloads[id].missing;
        let indexes = || (0..missing.len()).filter(|index| missing[*index]);
        let data = json!({
            "transfer_id": id,
            "chunk_indexes": indexes().take(RESEND_MAX).collect::<Vec<_>>(),
            "missing_count": indexes().count(),
            "total_chunks": missing.len(),
        });
        self.say("resend", data, true).await;
    }

    /// The app names the room, but not with every kind.
    async fn say(&mut self, kind: &str, data: Value, with_channel: bool) {
        let mut message = json!({"type": format!("file:transfer:{kind}"), "data": data});
        if with_channel {
            message["channel"] = self.room.as_str().into();
        }
        self.client().send(message).await;
    }
}

fn chunks(bytes: usize) -> u64 {
    bytes.div_ceil(CHUNK).max(1) as u64
}
