//! What is kept is what a model says, kind by kind, after each step of clients that attach, detach, enter, publish, read
//! history, stall, close and are cut, by chance, while time passes: never less, so nothing is kept that nobody pays for, and
//! not much more, so nothing is paid for that is gone.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use letshare_server::{clock::Clock, ids::Timestamp, limits};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::text;
use crate::support::{
    AblyClient, Http, Server, TestApp,
    ably::action,
    raw::{Raw, handshake},
};

const CLIENTS: usize = 6;
const STEPS: usize = 60;
const CHANNELS: [&str; 3] = ["a", "b", "c"];
const WINDOW: Duration = Duration::from_secs(8);
/// Longest wait until what sweeps has swept.
const SWEPT: Duration = Duration::from_secs(30);

/// What a message or a member costs beside its data, at most; and an attachment beside [`limits::ATTACHMENT_COST`].
const AROUND: usize = 1_000;
const NAMES: usize = 200;
/// What a tab has paid for at most of what it has.
const TAB: usize = 4;

#[derive(Default)]
struct Peer {
    client: Option<AblyClient>,
    /// Its attachments, with the data of its member there.
    attached: BTreeMap<usize, Option<usize>>,
}

/// What happened and is kept for a time: bytes of data.
#[derive(Default)]
struct Past(Vec<(Duration, usize)>);

impl Past {
    fn note(&mut self, now: Duration, data: usize) {
        self.0.push((now, data));
    }

    /// Those that are surely kept that long.
    fn within(&self, now: Duration, age: Duration) -> impl Iterator<Item = usize> {
        self.0.iter().filter(move |(came, _)| now.saturating_sub(*came) < age).map(|(_, data)| *data)
    }
}

struct Model {
    server: Server,
    clock: Clock,
    app: TestApp,
    chance: StdRng,
    now: Duration,
    peers: Vec<Peer>,
    stalled: Option<Raw>,
    /// Of each channel.
    messages: [Past; CHANNELS.len()],
    events: [Past; CHANNELS.len()],
    /// Connections that are gone.
    gone: Past,
    /// Members whose connections were cut: their data.
    lost: Past,
}

impl Model {
    async fn start(seed: u64) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let server = Server::sandbox_at(clock.clone(), |config| {
            config.limits.memory = 32_000_000;
            config.limits.network_share = 100;
            config.history.window = WINDOW;
        });
        let app = TestApp::plain(&server).await;
        let peers = (0..CLIENTS).map(|_| Peer::default()).collect();
        Self {
            server,
            clock,
            app,
            chance: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            peers,
            stalled: None,
            messages: Default::default(),
            events: Default::default(),
            gone: Past::default(),
            lost: Past::default(),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.chance.random_range(0..below)
    }

    async fn step(&mut self) -> String {
        let (number, at, data) = (self.draw(CLIENTS), self.draw(CHANNELS.len()), self.draw(20_000));
        let (what, now) = (self.draw(14), self.now);
        let name = CHANNELS[at];
        let Peer { client: Some(client), attached } = &mut self.peers[number] else {
            let query = format!("v=6&key={}&clientId=c{number}", self.app.keys[0]);
            let (client, _) = AblyClient::connect_with(&self.server, &query).await;
            self.peers[number].client = Some(client);
            return format!("{number} comes");
        };
        let is_attached = attached.contains_key(&at);
        match what {
            0..=3 => {
                let serial = client.publish(name, json!([{"data": "x".repeat(data)}])).await;
                client.acked(serial).await;
                self.messages[at].note(now, data);
            }
            4..=6 if is_attached => {
                let serial = client.presence(name, json!([{"action": 2, "data": "x".repeat(data)}])).await;
                client.acked(serial).await;
                let before = attached.insert(at, Some(data)).flatten().unwrap_or_default();
                // It is told with the data that it has, and had.
                self.events[at].note(now, data.max(before));
            }
            4..=7 => {
                client.send(json!({"action": action::ATTACH, "channel": format!("[?rewind=10]{name}")})).await;
                until(client, action::ATTACHED).await;
                client.send(json!({"action": action::DETACH, "channel": format!("[?rewind=10]{name}")})).await;
                until(client, action::DETACHED).await;
                client.send(json!({"action": action::ATTACH, "channel": name})).await;
                until(client, action::ATTACHED).await;
                attached.entry(at).or_default();
            }
            8 if is_attached => {
                client.send(json!({"action": action::DETACH, "channel": name})).await;
                until(client, action::DETACHED).await;
                let member = attached.remove(&at).flatten();
                member.into_iter().for_each(|data| self.events[at].note(now, data));
            }
            8 | 9 => {
                let (_, basic) = self.app.basic(0);
                let target = format!("/channels/{name}/messages?limit=100");
                let page = Http::connect(&self.server).await.ask("GET", &target, &[("Authorization", &basic)]).await;
                assert_eq!(page.status, 200, "{page:?}");
            }
            10 if self.stalled.is_none() => {
                let mut raw = Raw::connect_narrow(self.server.address).await;
                let target = format!("/?v=6&key={}", self.app.keys[0]);
                raw.write(handshake(self.server.address, &target, "").as_bytes()).await.expect("open");
                raw.reader.head().await;
                raw.write(&text(&json!({"action": action::ATTACH, "channel": name}))).await.expect("open");
                self.stalled = Some(raw);
            }
            10 => {
                self.stalled.take().expect("one").reset();
                self.gone.note(now, 0);
            }
            11 | 12 => {
                let attached = std::mem::take(attached);
                let mut client = self.peers[number].client.take().expect("it is there");
                let is_cut = what == 11;
                for (at, data) in attached.into_iter().filter_map(|(at, data)| Some((at, data?))) {
                    // Its leave is told with its data, at once or after a while.
                    self.events[at].note(now + if is_cut { limits::PRESENCE_HOLD } else { Duration::ZERO }, data);
                    if is_cut {
                        self.lost.note(now, data);
                    }
                }
                self.gone.note(now, 0);
                if is_cut {
                    client.cut();
                } else {
                    client.send(json!({"action": action::CLOSE})).await;
                    until(&mut client, action::CLOSED).await;
                }
            }
            _ => {
                let passed = [1, 5, 20, 70][self.draw(4)];
                self.pass(Duration::from_secs(passed));
            }
        }
        format!("{number} does {what} on {name} with {data}")
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.now += time;
    }

    /// What must be kept of each kind.
    fn expected(&self, rooms: usize) -> BTreeMap<&'static str, RangeInclusive<usize>> {
        let now = self.now;
        // What goes is swept within some seconds of the clock's, which the test moves.
        let swept = |past: &Past, age: Duration| past.within(now + Duration::from_millis(1), age).count();
        let open = self.peers.iter().filter(|peer| peer.client.is_some()).count();
        let stalled = usize::from(self.stalled.is_some());
        let attachments: usize = self.peers.iter().map(|peer| peer.attached.len()).sum();
        let (connections, left) = (open + stalled, swept(&self.gone, limits::CONNECTION_STATE_TTL));
        let states = connections * limits::CONNECTION_STATE_COST;
        let own = connections * limits::CONNECTION_COST + states + left * limits::CONNECTION_STATE_COST;
        let names = (attachments + stalled) * (limits::ATTACHMENT_COST + NAMES);
        let connection = own + attachments * limits::ATTACHMENT_COST..=own + (connections + left) * 16 + TAB * names;

        let members: Vec<usize> =
            self.peers.iter().flat_map(|peer| peer.attached.values().copied().flatten()).collect();
        let (data, lost) = (members.iter().sum(), self.lost.within(now, limits::PRESENCE_HOLD).sum::<usize>());
        let leaves = self.events.iter().map(|events| swept(events, limits::PRESENCE_REENTRY)).sum::<usize>();
        let all = data + lost + (members.len() + self.lost.0.len()) * AROUND;
        // Members, and pages of them.
        let presence = data..=2 * all + TAB * leaves * (limits::PRESENCE_LEAVE_COST + NAMES);

        let ids = |age| self.messages.iter().chain(&self.events).map(|past| swept(past, age)).sum::<usize>();
        let ids = self.messages.iter().map(|past| swept(past, limits::IDEMPOTENCY_WINDOW)).sum::<usize>()
            * limits::SEEN_ID_COST
            ..=TAB * ids(limits::IDEMPOTENCY_WINDOW) * (limits::SEEN_ID_COST + NAMES);

        let mut window = 0..=0;
        for (messages, events) in self.messages.iter().zip(&self.events) {
            let least: usize = messages.within(now, WINDOW).map(|data| 2 * data).sum();
            let paid = least.saturating_sub(limits::WINDOW_FREE);
            let both = messages.within(now, WINDOW + Duration::from_secs(1)).chain(
                // A leave that is still to come counts from then on.
                events.0.iter().filter(|(came, _)| now.saturating_sub(*came) <= WINDOW).map(|(_, data)| *data),
            );
            let most: usize = both.map(|data| 2 * (data + AROUND) + AROUND).sum();
            let most = most.div_ceil(limits::WINDOW_STEP) * limits::WINDOW_STEP;
            window = window.start() + paid..=window.end() + most;
        }
        let room = limits::CHANNEL_COST;
        let told: usize = self.messages.iter().flat_map(|past| &past.0).map(|(_, data)| data + AROUND).sum();
        let entered: usize = self.events.iter().flat_map(|past| &past.0).map(|(_, data)| 2 * data + AROUND).sum();
        BTreeMap::from([
            ("connection", connection),
            ("presence", presence),
            ("seen_ids", ids),
            ("window", window),
            ("channel", rooms * room..=rooms * room),
            ("outbox", 0..=stalled * (told + entered).next_multiple_of(64 * 1024)),
            // The connection that asks.
            ("plain_connection", limits::PLAIN_CONNECTION_COST..=limits::PLAIN_CONNECTION_COST),
            ("app", 1..=1 << 20),
        ])
    }

    /// Waits until what is kept is what it must be, while so much time passes at each look. Whatever the model knows nothing of is not kept at all.
    async fn holds(&mut self, step: &str, passing: Duration) {
        for client in self.peers.iter_mut().filter_map(|peer| peer.client.as_mut()) {
            client.answered_so_far().await;
        }
        let end = Instant::now() + SWEPT;
        loop {
            let page = Http::connect(&self.server).await.ask("GET", "/metrics", &[]).await.json();
            let rooms = page["websocket"]["total_rooms"].as_u64().expect("a figure") as usize;
            let expected = self.expected(rooms);
            let kept = page["kept"].as_object().expect("kinds").iter();
            let wrong: Vec<String> = kept
                .filter_map(|(kind, bytes)| {
                    let (bytes, range) = (bytes.as_u64()? as usize, expected.get(&**kind).cloned().unwrap_or(0..=0));
                    (!range.contains(&bytes)).then(|| format!("{kind}: {bytes}, not {range:?}"))
                })
                .collect();
            if wrong.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "after {step}: {wrong:?}");
            self.pass(passing);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Reads up to a frame of this kind.
async fn until(client: &mut AblyClient, action: u64) -> Value {
    loop {
        let frame = client.next().await;
        assert!(frame["action"] != action::ERROR && frame["action"] != action::NACK, "{frame}");
        if frame["action"] == action {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_what_the_model_says() {
    join_all([1, 2, 3].map(async |seed| {
        let mut model = Model::start(seed).await;
        model.holds("the start", Duration::ZERO).await;
        for number in 0..STEPS {
            let step = model.step().await;
            model.holds(&format!("step {number} of seed {seed}: {step}"), Duration::ZERO).await;
        }
        model.peers.iter_mut().filter_map(|peer| peer.client.take()).for_each(AblyClient::cut);
        model.stalled = None;
        model.peers.iter_mut().for_each(|peer| peer.attached.clear());
        // Nothing of it is left; the leaves of those that were cut come and go as well.
        model.pass(Duration::from_secs(600));
        model.holds(&format!("the end of seed {seed}"), Duration::from_secs(60)).await;
    }))
    .await;
}
