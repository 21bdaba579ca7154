//! Twenty well-behaved clients of two apps that publish, attach, ask for tokens and read history without a pause, and
//! notice when anything is refused, lost, doubled, reordered or not answered.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::support::{AblyClient, Http, TestApp, ably::action};

const APPS: usize = 2;
const MEMBERS: usize = 10;
const ROOM: &str = "commons";
/// Between the rounds of one client: not to wait for anything, but to leave the server to its attackers.
const PAUSE: Duration = Duration::from_millis(150);
/// Longest wait for all of them: more than anybody waits for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client does in turn.
const ERRANDS: u64 = 6;

pub struct Peace {
    members: Vec<JoinHandle<Duration>>,
    rounds: Vec<watch::Receiver<u64>>,
    stop: watch::Sender<bool>,
}

struct Member {
    app: Arc<TestApp>,
    name: String,
    socket: AblyClient,
    http: Http<TcpStream>,
    /// The last round of each member that was heard.
    heard: BTreeMap<String, u64>,
    longest: Duration,
}

impl Peace {
    /// All have done everything once.
    pub async fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut members, mut rounds) = (Vec::<(Member, _)>::new(), Vec::new());
        for number in 0..APPS * MEMBERS {
            let app = match number % MEMBERS {
                0 => Arc::new(TestApp::create_at(address, json!({"keys": [{}]})).await),
                _ => Arc::clone(&members.last().expect("the one before").0.app),
            };
            let member = Member::connect(address, app, format!("good-{number}")).await;
            members.push((member, watch::channel(0)));
        }
        let members = members.into_iter().map(|(member, (told, round))| {
            rounds.push(round);
            tokio::spawn(member.live(told, stopped.clone()))
        });
        let mut peace = Self { members: members.collect(), rounds, stop };
        for _ in 0..ERRANDS {
            peace.goes_on().await;
        }
        peace
    }

    /// Every member begins and ends a round from now on.
    pub async fn goes_on(&mut self) {
        let all = self.rounds.iter_mut().map(async |round| {
            let now = *round.borrow();
            // An error means that the member has ended; `finish` says why.
            let went_on = timeout(PATIENCE, round.wait_for(|round| *round >= now + 2)).await;
            assert!(went_on.is_ok(), "a good client has waited for {PATIENCE:?}");
        });
        join_all(all).await;
    }

    /// The longest that anybody waited for an answer. Panics if anything went wrong.
    pub async fn finish(self) -> Duration {
        self.stop.send(true).expect("somebody is there");
        let waits = join_all(self.members).await;
        let waits = waits.into_iter().map(|longest| longest.expect("the good clients noticed nothing"));
        waits.max().unwrap_or_default()
    }
}

impl Member {
    async fn connect(address: SocketAddr, app: Arc<TestApp>, name: String) -> Self {
        let query = format!("v=6&key={}&clientId={name}", app.keys[0]);
        let mut socket = AblyClient::open_at(address, &query).await;
        socket.expect(action::CONNECTED).await;
        let http = Http::connect_to(address).await;
        let mut member = Self { app, name, socket, http, heard: BTreeMap::new(), longest: Duration::ZERO };
        member.attach(ROOM).await;
        member
    }

    async fn live(mut self, told: watch::Sender<u64>, stopped: watch::Receiver<bool>) -> Duration {
        for round in 1.. {
            if *stopped.borrow() {
                break;
            }
            let begun = Instant::now();
            self.round(round).await;
            self.longest = self.longest.max(begun.elapsed());
            told.send_replace(round);
            sleep(PAUSE).await;
        }
        // So that its connection is over at once.
        self.socket.send(json!({"action": action::CLOSE})).await;
        self.answer(|frame| frame["action"] == action::CLOSED).await;
        self.longest
    }

    async fn round(&mut self, round: u64) {
        let said = json!([{"name": self.name, "data": round.to_string()}]);
        let serial = self.socket.publish(ROOM, said).await;
        self.acknowledged(serial).await;
        let room = format!("side-{}-{round}", self.name);
        match round % ERRANDS {
            0 => {
                let (name, _) = self.app.basic(0);
                let (target, body) = (format!("/keys/{name}/requestToken"), json!({"keyName": name}));
                self.ask("POST", &target, &body.to_string(), 201).await;
            }
            1 => self.ask("GET", &format!("/channels/{ROOM}/messages?limit=10"), "", 200).await,
            2 => {
                self.attach(&room).await;
                self.socket.send(json!({"action": action::DETACH, "channel": room})).await;
                self.answer(|frame| frame["action"] == action::DETACHED).await;
            }
            3 => {
                let entered = json!([{"action": 2, "data": "here"}]);
                let serial = self.socket.presence(ROOM, entered).await;
                self.acknowledged(serial).await;
            }
            4 => {
                let target = format!("/channels/{room}/messages");
                self.ask("POST", &target, &json!({"name": "x", "data": "y"}).to_string(), 201).await;
            }
            _ => self.ask("GET", &format!("/channels/{ROOM}/presence"), "", 200).await,
        }
    }

    async fn attach(&mut self, room: &str) {
        self.socket.send(json!({"action": action::ATTACH, "channel": room})).await;
        let attached = self.answer(|frame| frame["channel"] == room && frame["action"] != action::MESSAGE).await;
        assert_eq!(attached["action"], action::ATTACHED, "{attached}");
    }

    async fn acknowledged(&mut self, serial: u64) {
        let answer = self.answer(|frame| frame["msgSerial"] == serial && frame.get("channel").is_none()).await;
        assert_eq!(answer["action"], action::ACK, "{answer}");
    }

    /// The frame that is waited for; what comes before it is looked at.
    async fn answer(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.socket.next().await;
            if is_it(&frame) {
                return frame;
            }
            match frame["action"].as_u64() {
                Some(action::MESSAGE) => self.hear(&frame),
                Some(action::PRESENCE | action::SYNC) => {}
                _ => panic!("{} expected something else than {frame}", self.name),
            }
        }
    }

    /// Every message of every member, once and in order, from the first one that was heard on.
    fn hear(&mut self, frame: &Value) {
        for message in frame["messages"].as_array().expect("messages") {
            let (from, round) =
                (message["name"].as_str(), message["data"].as_str().and_then(|round| round.parse().ok()));
            let (from, round) = from.zip(round).expect("a round of a member");
            let last = self.heard.insert(from.to_owned(), round);
            assert!(last.is_none_or(|last| round == last + 1), "{}: {from} said {round} after {last:?}", self.name);
        }
    }

    async fn ask(&mut self, method: &str, target: &str, body: &str, status: u16) {
        let (_, basic) = self.app.basic(0);
        let length = body.len().to_string();
        let headers = [
            ("Authorization", basic.as_str()),
            ("X-Ably-Version", "6"),
            ("Content-Type", "application/json"),
            ("Content-Length", &length),
        ];
        let answer = self.http.ask_with(method, target, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
}
