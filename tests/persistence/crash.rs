//! R3, R5: `kill -9` under load. Writers note every acknowledgement; after the restart everything that was
//! acknowledged is there, once, in each writer's order, under the serial that was told; what was not
//! acknowledged is published again with its id, and then is there once, too.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    net::SocketAddr,
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use super::ground::{Ground, KEY, Rest, headers};
use crate::support::ably::action;

/// How long it goes on; both must be reached.
struct Plan {
    cycles: usize,
    acks: usize,
}

const QUICK: Plan = Plan {
    cycles: 10,
    acks: 0,
};
const NIGHTLY: Plan = Plan {
    cycles: 100,
    acks: 500_000,
};
/// Moments of the kill, in milliseconds after the writers begin.
const KILL: std::ops::Range<u64> = 50..500;
/// Cycles after which the writers go on with new channels, so that each restart has but these to read back.
const CYCLES_OF_A_CHANNEL: usize = 5;

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let plan = match env::var_os("LETSHARE_NIGHTLY") {
        Some(_) => NIGHTLY,
        None => QUICK,
    };
    let seed = env::var("LETSHARE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("LETSHARE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let ground = Ground::new();
    let mut writers: Vec<Writer> = (0..6).map(Writer::new).collect();
    let (mut cycle, mut found) = (0, 0);
    while cycle < plan.cycles || acked(&writers) < plan.acks {
        let server = ground.start();
        let generation = cycle / CYCLES_OF_A_CHANNEL;
        let last = generation.saturating_sub(usize::from(cycle % CYCLES_OF_A_CHANNEL == 0));
        found += read_back(server.address, &writers, last..=generation).await;
        let mut writing = JoinSet::new();
        for mut writer in writers.drain(..) {
            let address = server.address;
            writing.spawn(async move {
                writer.go_on(address, Some(generation)).await;
                writer
            });
        }
        // Not a wait for anything: the moment itself is what is drawn.
        tokio::time::sleep(Duration::from_millis(random.random_range(KILL))).await;
        server.kill().await;
        writers = writing.join_all().await;
        writers.sort_by_key(|writer| writer.number);
        cycle += 1;
    }
    let unanswered: usize = writers.iter().map(|writer| writer.unanswered.len()).sum();
    // Now everything gets its answer.
    let server = ground.start();
    for writer in &mut writers {
        writer.go_on(server.address, None).await;
        assert!(writer.unanswered.is_empty());
    }
    let sent: u64 = writers.iter().map(|writer| writer.next).sum();
    assert_eq!(acked(&writers) as u64, sent);
    read_back(
        server.address,
        &writers,
        0..=(cycle - 1) / CYCLES_OF_A_CHANNEL,
    )
    .await;
    eprintln!(
        "{cycle} kills, {} acknowledged, none lost or doubled; {found} were kept without an answer; {unanswered} waited at the last kill",
        acked(&writers)
    );
    assert!(acked(&writers) > cycle, "there was no load");
}

fn acked(writers: &[Writer]) -> usize {
    writers.iter().map(|writer| writer.acked.len()).sum()
}

/// Compares the channels with what the writers know; says how many messages are there that were not
/// acknowledged.
async fn read_back(
    address: SocketAddr,
    writers: &[Writer],
    generations: impl Iterator<Item = usize>,
) -> usize {
    let mut rest = Rest::connect(address).await;
    let mut found = 0;
    for generation in generations {
        for half in 0..2 {
            let channel = channel(generation, half);
            let history = rest.history(&channel).await;
            let serial = |message: &Value| message["serial"].as_str().map(str::to_owned);
            assert!(
                history
                    .iter()
                    .map(serial)
                    .is_sorted_by(|one, next| one < next),
                "the serials of {channel} do not rise"
            );
            let mut kept = BTreeMap::<u64, Vec<(u64, String)>>::new();
            for message in &history {
                let (writer, number) = message["data"]
                    .as_str()
                    .and_then(|data| data.split_once('-'))
                    .unwrap();
                let number = (number.parse().unwrap(), serial(message).unwrap());
                kept.entry(writer.parse().unwrap())
                    .or_default()
                    .push(number);
            }
            for writer in writers.iter().filter(|writer| writer.half() == half) {
                let kept = kept.remove(&writer.number).unwrap_or_default();
                found += writer.compare(generation, &kept);
            }
            assert!(
                kept.is_empty(),
                "{channel} has messages of nobody: {kept:?}"
            );
        }
    }
    found
}

fn channel(generation: usize, half: u64) -> String {
    format!("persisted:{generation}-{half}")
}

/// Sends numbers, the next before the last is answered; knows what was acknowledged, and as what.
struct Writer {
    number: u64,
    next: u64,
    /// Oldest first: channel and number.
    unanswered: VecDeque<(usize, u64)>,
    /// Channel, number, serial.
    acked: Vec<(usize, u64, String)>,
}

impl Writer {
    fn new(number: u64) -> Self {
        Self {
            number,
            next: 0,
            unanswered: VecDeque::new(),
            acked: Vec::new(),
        }
    }

    /// Every second one is on the second channel.
    fn half(&self) -> u64 {
        self.number % 2
    }

    /// Exactly what was acknowledged, then perhaps the first of what was not.
    fn compare(&self, generation: usize, kept: &[(u64, String)]) -> usize {
        let acked = self
            .acked
            .iter()
            .filter(|(channel, ..)| *channel == generation);
        let acked: Vec<_> = acked
            .map(|(_, number, serial)| (*number, serial.clone()))
            .collect();
        let name = format!("writer {} on channels {generation}", self.number);
        assert!(
            kept.starts_with(&acked),
            "{name}: {} acknowledged, {} kept, first difference {:?}",
            acked.len(),
            kept.len(),
            acked.iter().zip(kept).find(|(acked, kept)| acked != kept)
        );
        let more: Vec<u64> = kept[acked.len()..]
            .iter()
            .map(|(number, _)| *number)
            .collect();
        let unanswered = self
            .unanswered
            .iter()
            .filter(|(channel, _)| *channel == generation);
        let unanswered: Vec<u64> = unanswered.map(|(_, number)| *number).collect();
        assert!(
            unanswered.starts_with(&more),
            "{name}: {more:?} of {unanswered:?} are kept"
        );
        more.len()
    }

    /// Publishes what was not answered, then new messages to `generation`, until the server is gone. Without
    /// one, until all is answered.
    async fn go_on(&mut self, address: SocketAddr, generation: Option<usize>) {
        // The server may be gone at any moment: that is no failure.
        let _ = match self.number {
            0..4 => self.by_socket(address, generation).await,
            _ => self.by_http(address, generation).await,
        };
    }

    fn take_new(&mut self, generation: Option<usize>) -> Option<()> {
        self.unanswered.push_back((generation?, self.next));
        self.next += 1;
        Some(())
    }

    fn message(&self, number: u64) -> Value {
        let name = "n".repeat(usize::try_from(number % 300).unwrap());
        let text = format!("{}-{number}", self.number);
        json!({"id": format!("{text}:0"), "data": text, "name": name})
    }

    fn answered(&mut self, serial: &Value) {
        let (channel, number) = self.unanswered.pop_front().expect("an answer to something");
        let serial = serial.as_str().expect("a serial").to_owned();
        self.acked.push((channel, number, serial));
    }

    /// None: the server is gone.
    async fn by_socket(&mut self, address: SocketAddr, generation: Option<usize>) -> Option<()> {
        let url = format!("ws://{address}/?v=6&key={KEY}&echo=false");
        let connected = tokio_tungstenite::connect_async_with_config(url, None, true).await;
        let (mut socket, _) = connected.ok()?;
        let (mut sent, mut msg_serial) = (0, 0);
        let in_flight = 1 << (2 * self.number);
        loop {
            while sent < in_flight {
                if sent == self.unanswered.len() && self.take_new(generation).is_none() {
                    break;
                }
                let (generation, number) = self.unanswered[sent];
                let frame = json!({
                    "action": action::MESSAGE, "channel": channel(generation, self.half()),
                    "msgSerial": msg_serial, "messages": [self.message(number)],
                });
                sent += 1;
                msg_serial += 1;
                socket.send(Message::text(frame.to_string())).await.ok()?;
            }
            if sent == 0 {
                return Some(());
            }
            let Message::Text(text) = socket.next().await?.ok()? else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            match frame["action"].as_u64() {
                Some(action::ACK) => {
                    let answers = frame["res"].as_array().expect("answers");
                    assert_eq!(frame["count"], answers.len());
                    for answer in answers {
                        self.answered(&answer["serials"][0]);
                        sent -= 1;
                    }
                }
                Some(action::CONNECTED | action::HEARTBEAT) => {}
                _ => panic!("writer {}: {frame}", self.number),
            }
        }
    }

    /// None: the server is gone.
    async fn by_http(&mut self, address: SocketAddr, generation: Option<usize>) -> Option<()> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        loop {
            if self.unanswered.is_empty() && self.take_new(generation).is_none() {
                return Some(());
            }
            let (generation, number) = self.unanswered[0];
            let (target, body) = (
                channel(generation, self.half()),
                self.message(number).to_string(),
            );
            let [auth, version] = headers().map(|(name, value)| format!("{name}: {value}\r\n"));
            let request = format!(
                "POST /channels/{target}/messages HTTP/1.1\r\nHost: {address}\r\n{auth}{version}\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let answer = answer(&mut stream).await?;
            self.answered(&answer["serials"][0]);
        }
    }
}

/// The body of a response that says 201; None when the server is gone before its end.
async fn answer(stream: &mut TcpStream) -> Option<Value> {
    let mut response = Vec::new();
    loop {
        if stream.read_buf(&mut response).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&response).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 201"), "{text}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.expect("a length").parse::<usize>().unwrap() {
            return Some(serde_json::from_str(body).expect("JSON"));
        }
    }
}
