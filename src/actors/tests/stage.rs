//! A broker with two worker threads, and clients that talk to it in words.

use std::{
    future::poll_fn,
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use actix::{Actor as _, Addr, Arbiter, ArbiterHandle, Context, Handler, Message};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    actors::{
        accounts::{Accounts, Shares},
        broker::{Broker, Settings},
        channels::channel::Channel,
        channels::{directory::Directory, listening::Listening},
        connections::Connections,
        fanout::hub::HubHandle,
        fanout::outbox::Outbox,
        metrics::Metrics,
        refusals::Refusals,
        stats::Stats,
        transport::context::{Attaching, ProtocolHandler, TransportContext},
        transport::socket::Socket,
        transport::{Inbound, Transport},
        worker::Worker,
    },
    clock::{Clock, OncePerSecond},
    core::{
        budget::Account,
        command::Answer,
        eviction::ChannelShares,
        filter::Filter,
        frame,
        keepalive::Timeouts,
        message::{self, Data, Entry, Payload},
        rate::FrameRate,
        rules::{Rules, Terms},
        window::Bounds,
        wire::{Slot, WireFormat},
    },
    error::Fault,
    ids::{ChannelName, SessionId, Timestamp},
    live::Live,
    log::{Log, memory::MemoryLog},
};

pub const ROOM: &str = "demo1";
const CAP: usize = 3;
/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Stage {
    pub broker: Arc<Broker>,
    pub clock: Clock,
    threads: [ArbiterHandle; 2],
    _second: Arbiter,
}

/// What a log in memory keeps is of no concern.
pub fn unbounded() -> Arc<Account> {
    Arc::new(Account::server(usize::MAX))
}

impl Stage {
    pub fn set() -> Self {
        let history = Bounds { age: Duration::from_secs(120), entries: 100, bytes: 100_000 };
        Self::set_on(Arc::new(MemoryLog::new(history, unbounded())))
    }

    /// With this log.
    pub fn set_on(log: Arc<dyn Log>) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let hour = Duration::from_secs(3_600);
        let broker = Arc::new(Broker {
            listening: Listening::default(),
            clock: clock.clone(),
            log,
            namespaces: Arc::new(Terms { presence_members: 10, ..Terms::default() }),
            connections: Connections::default(),
            accounts: Arc::new(Accounts::new(Shares {
                server: 1 << 30,
                app: 1 << 30,
                network: 1 << 30,
                client: 1 << 20,
                windows: [1 << 30; 2],
                bodies: 1 << 20,
            })),
            directory: Directory::new(ChannelShares { server: 10, app: 10 }),
            metrics: Metrics::default().start(),
            stats: Stats::new(None, clock.clone()).start(),
            settings: Live::new(Settings {
                outbox_bytes: 100_000,
                replay_bytes: 100_000,
                channels_per_connection: 10,
                timeouts: Timeouts {
                    ping_interval: Duration::from_millis(200),
                    idle_timeout: hour,
                    stall_timeout: hour,
                },
                close_timeout: hour,
                frame_rate: Some(FrameRate { per_second: NonZeroU32::MAX, burst: NonZeroU32::MAX }),
                channel_sweep: Duration::from_millis(10),
            }),
            ready: Arc::default(),
            closing: AtomicBool::new(false),
            refusal_warning: OncePerSecond::default(),
            refusals: Refusals::default(),
            attendants: crate::actors::attendants::Attendants::default(),
            disk_warning: OncePerSecond::default(),
            hubs: Mutex::default(),
            about: OnceLock::new(),
            round_trip: AtomicU64::new(0),
        });
        let second = Arbiter::new();
        Self { broker, clock, threads: [Arbiter::current(), second.handle()], _second: second }
    }

    /// A client on one of the two threads; 0 is the test's own.
    pub fn open(&self, thread: usize) -> Client {
        let (words, mut said) = unbounded_channel();
        let (told, heard) = unbounded_channel();
        let broker = Arc::clone(&self.broker);
        let started = self.threads[thread].spawn_fn(move || {
            let worker = Worker::on_this_thread(&broker);
            let outbox = Outbox::new(broker.settings.get().outbox_bytes, None);
            let inbound = stream::poll_fn(move |cx| said.poll_recv(cx));
            let (socket, permit) = (Socket::new(None), Box::new(()));
            let (handler, terms) = (Box::new(Script), crate::actors::transport::Terms::new(&broker.settings.get()));
            Transport::open(worker, handler, terms, inbound, outbox.clone(), socket, permit);
            actix::spawn(async move {
                while let Some(frame) = poll_fn(|cx| outbox.poll_frame(cx)).await {
                    // Short text frames have a header of two bytes; the rest are pings.
                    if let Some(text) = frame.strip_prefix(&[0x81]) {
                        let _ = told.send(String::from_utf8(text[1..].to_vec()).unwrap());
                    }
                }
            });
        });
        assert!(started, "the thread runs");
        Client { words, heard }
    }

    /// A client that is in the room.
    pub async fn join(&self, thread: usize) -> Client {
        let mut client = self.open(thread);
        assert_eq!(client.ask("join").await, "joined");
        client
    }

    pub fn channel(&self) -> Addr<Channel> {
        let name = ChannelName::from(ROOM);
        self.broker.directory.channel(&name, &self.broker, None).unwrap()
    }

    pub async fn until_channels(&self, expected: usize) {
        until(|| self.broker.directory.len() == expected).await;
    }

    pub fn sessions_here(&self) -> Vec<SessionId> {
        let worker = Worker::on_this_thread(&self.broker);
        let sessions = worker.sessions.borrow();
        sessions.keys().copied().collect()
    }

    pub fn hub_here(&self) -> HubHandle {
        Worker::on_this_thread(&self.broker).hub.clone()
    }
}

/// A panic in a channel's actor.
#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Channel {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

/// Has the room's actor die of what it does next.
pub fn kill_soon(channel: &Addr<Channel>) {
    channel.do_send(Die);
}

/// Kills the room's actor and waits until it is dead.
pub async fn kill(stage: &Stage) {
    let channel = stage.channel();
    assert!(channel.send(Die).await.is_err());
    let dead = async {
        while channel.connected() {
            tokio::task::yield_now().await;
        }
    };
    in_time(dead).await;
}

/// Asks for a place until there is one.
pub async fn until_joined(client: &mut Client) {
    in_time(async { while client.ask("join").await != "joined" {} }).await;
}

pub async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    in_time(wait).await;
}

async fn in_time<T>(event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(PATIENCE, event).await;
    event.expect("it happens in the end")
}

/// Its connection ends with it.
pub struct Client {
    words: UnboundedSender<Inbound>,
    heard: UnboundedReceiver<String>,
}

impl Client {
    pub fn say(&self, text: &'static str) {
        self.tell(text);
    }

    pub async fn ask(&mut self, request: &'static str) -> String {
        self.tell(request);
        self.hear().await
    }

    pub async fn hear(&mut self) -> String {
        in_time(self.heard.recv()).await.expect("the connection is open")
    }

    fn tell(&self, text: &'static str) {
        let text = Inbound::Text(ByteString::from_static(text));
        self.words.send(text).expect("the connection is open");
    }
}

/// A protocol of few words: `join`, `leave`, `?`; everything else is said to the room.
struct Script;

impl ProtocolHandler for Script {
    fn format(&self) -> &'static dyn WireFormat {
        &Plain
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        let room = ChannelName::from(ROOM);
        let done = match &*text {
            "join" => {
                let rules = Some(Arc::new(Rules::letshare_room(CAP)));
                let mut filter = Filter::named();
                filter.add_every_name();
                let attaching = Attaching { rules, context: frame::text(b"joined"), ..Attaching::new(filter) };
                transport.attach(&room, attaching)
            }
            "leave" => transport.detach(&room, 0, frame::text(b"left")),
            "?" => {
                transport.send_text(b"what?");
                Ok(())
            }
            words => {
                let message = message::Message { payload: Payload::json(words.into()), ..message::Message::default() };
                transport.publish(&room, message)
            }
        };
        if let Err(fault) = done {
            tell(&fault, transport);
        }
    }

    fn binary(&mut self, _: Bytes, _: &mut TransportContext<'_>) {}

    fn answered(&mut self, _: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(attached) => transport.send_frame(attached.context),
            Answer::Detached { context, .. } => transport.send_frame(context),
            Answer::AttachRefused { fault, .. } | Answer::PublishRefused { fault, .. } => {
                tell(&fault, transport);
            }
            Answer::Published { .. } | Answer::Broken(_) => {}
        }
    }
}

fn tell(fault: &Fault, transport: &mut TransportContext<'_>) {
    transport.send_text(format!("refused: {fault}").as_bytes());
}

/// The data as it is.
struct Plain;

impl WireFormat for Plain {
    fn slot(&self) -> Slot {
        Slot::LetShareJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        let [message] = entry.messages() else {
            return Bytes::new();
        };
        let Data::Text(text) = &message.payload.data else {
            return Bytes::new();
        };
        frame::text(text.as_bytes())
    }
}
