//! Clients that ask for much, or are sent much, and read nothing.

use serde_json::json;

use super::{Siege, besiege, texts};
use crate::support::{
    Http,
    ably::{action, flag},
    raw::Raw,
};

const PAYLOAD: usize = 65_000;

impl Siege {
    /// Publishes so many large messages in a channel.
    async fn fill(&self, channel: &str, count: usize) {
        let mut http = Http::connect_to(self.server.address).await;
        let target = format!("/channels/{channel}/messages?key={}", self.app.keys[super::EVERYTHING]);
        let body = json!({"name": "big", "data": "x".repeat(PAYLOAD)}).to_string();
        for _ in 0..count {
            // It may be refused where nobody is to keep so much.
            drop(http.post(&target, &[], &body).await);
        }
    }

    /// Everybody asks for the same page and reads nothing of it; `headers` is none or lines that end with CRLF.
    pub async fn ask_and_not_read(&self, target: &str, headers: &str) -> Vec<Raw> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let attack = async |number| {
            let mut raw = self.connect_narrow(number).await?;
            raw.attack(request.as_bytes()).await;
            Some(raw)
        };
        self.crowd(attack).await
    }
}

/// findings B1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogs_and_syncs_that_nobody_reads() {
    besiege(&[("HISTORY_WINDOW", "30s")], async |siege| {
        siege.fill("big", 100).await;
        let frames = texts((0..50).flat_map(|alias| {
            let channel = format!("[?rewind=100&a={alias}]big");
            [action::ATTACH, action::DETACH].map(|action| json!({"action": action, "channel": channel}))
        }));
        let attack = async |number| {
            let mut raw = siege.narrow_ably(number).await?;
            raw.attack(&frames).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// findings B2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_history_that_nobody_reads() {
    besiege(&[("HISTORY_WINDOW", "30s")], async |siege| {
        siege.fill("big", 200).await;
        let target = format!("/channels/big/messages?limit=1000&key={}", siege.app.keys[super::EVERYTHING]);
        siege.ask_and_not_read(&target, "").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_nobody_reads() {
    besiege(&[], async |siege| {
        let attach = texts([json!({"action": action::ATTACH, "channel": "loud"})]);
        let attack = async |number| {
            let mut raw = siege.narrow_ably(number).await?;
            raw.attack(&attach).await;
            Some(raw)
        };
        let held = siege.crowd(attack).await;
        siege.fill("loud", 100).await;
        held
    })
    .await;
}

/// A hundred members with as much data as they may have, of whom every change makes a new list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_nobody_reads() {
    besiege(&[], async |siege| {
        let mut keeper = siege.ably(0, "").await.expect("a place");
        let member = |number| {
            let events = json!([{"action": 2, "clientId": format!("m{number}"), "data": "x".repeat(10_000)}]);
            json!({"action": action::PRESENCE, "channel": "crowded", "msgSerial": number, "presence": events})
        };
        keeper.flood(&texts([json!({"action": action::ATTACH, "channel": "crowded"})])).await;
        keeper.flood(&texts((0..100).map(member))).await;
        let frames = texts((0..20).flat_map(|number| {
            let events = json!([{"action": 4, "clientId": "changing", "data": number.to_string()}]);
            let change =
                json!({"action": action::PRESENCE, "channel": "crowded", "msgSerial": number, "presence": events});
            [
                json!({"action": action::ATTACH, "channel": "crowded"}),
                change,
                json!({"action": action::SYNC, "channel": "crowded"}),
            ]
        }));
        let attack = async |number| {
            let mut raw = siege.narrow_ably(number).await?;
            raw.attack(&frames).await;
            Some(raw)
        };
        let mut held = siege.crowd(attack).await;
        held.push(keeper);
        held
    })
    .await;
}

/// Objects of some mebibytes, that change between one attach and the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_nobody_reads() {
    besiege(&[], async |siege| {
        let mut keeper = siege.ably(0, "").await.expect("a place");
        let attach = json!({"action": action::ATTACH, "channel": "things", "flags": flag::OBJECT_SUBSCRIBE | flag::OBJECT_PUBLISH});
        let set = |number: u64, key: String, size: usize| {
            let operation = json!({"action": 1, "objectId": "root", "mapSet": {"key": key, "value": {"string": "x".repeat(size)}}});
            json!({"action": action::OBJECT, "channel": "things", "msgSerial": number, "state": [{"operation": operation}]})
        };
        keeper.flood(&texts([attach.clone()])).await;
        keeper.flood(&texts((0..64).map(|number| set(number, format!("k{number}"), 60_000)))).await;
        let frames = texts((0..20).flat_map(|number| [attach.clone(), set(number, "changing".to_owned(), 10)]));
        let attack = async |number| {
            let mut raw = siege.narrow_ably(number).await?;
            raw.attack(&frames).await;
            Some(raw)
        };
        let mut held = siege.crowd(attack).await;
        held.push(keeper);
        held
    })
    .await;
}
