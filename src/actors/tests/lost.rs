//! Commands that their channel does not carry out, and a channel whose log takes long to open.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;

use super::stage::{self, ROOM, Stage};
use crate::{
    actors::{channels::undone::Command, worker::Worker},
    core::{
        command::{Attach, AttachmentId, Publish, Reply, Start},
        dedupe::Known,
        eviction::ChannelShares,
        filter::Filter,
        frame,
        history::Query,
        message::{Entry, EntryId, Message, Payload},
        operation::MessageRef,
        replay::{Choice, Found, Past, Wanted},
        serial::{Epoch, Mint},
        window::Bounds,
    },
    error::Fault,
    ids::{AppId, ChannelName, ConnectionId},
    log::{AnnotatedRead, ChannelLog, Later, Log, MessageRead, PageRead, StoreError, memory::MemoryLog},
};

const BUSY: &str = "refused: the server is busy, try again";
const LONG: Duration = Duration::from_secs(20);

/// What the log of the room does with an entry.
#[derive(Clone, Copy)]
enum Manner {
    /// Never says whether it has it.
    Silent,
    Panics,
    /// Takes it, but its past is read when the test wants it.
    ReadsLater,
}

/// Reads that have not been answered.
type Reads = Arc<Mutex<Vec<Box<dyn FnOnce(Found) + Send>>>>;

/// A log in memory; the room behaves otherwise, and a channel named `slow` opens when it is told to.
struct OddLog {
    memory: MemoryLog,
    manner: Option<Manner>,
    go: Mutex<Receiver<()>>,
    reads: Reads,
}

impl OddLog {
    fn new(manner: Option<Manner>) -> (Arc<Self>, Sender<()>) {
        let history = Bounds { age: Duration::from_secs(120), entries: 100, bytes: 100_000 };
        let (open, go) = channel();
        (
            Arc::new(Self {
                memory: MemoryLog::new(history, stage::unbounded()),
                manner,
                go: Mutex::new(go),
                reads: Reads::default(),
            }),
            open,
        )
    }
}

impl Log for OddLog {
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        if channel.as_str() == "slow" {
            self.go.lock().recv_timeout(LONG).expect("nobody waits for it");
        }
        let log = self.memory.open(channel);
        match self.manner.filter(|_| channel.as_str() == ROOM) {
            Some(manner) => Box::new(Odd { log, manner, reads: Arc::clone(&self.reads) }),
            None => log,
        }
    }

    fn opens_at_once(&self, channel: &ChannelName) -> bool {
        channel.as_str() != "slow"
    }

    fn close(&self, channel: &ChannelName) {
        self.memory.close(channel);
    }

    fn forget(&self, channel: &ChannelName) {
        self.memory.forget(channel);
    }

    fn shrink(&self, app: AppId, now: Duration) -> bool {
        self.memory.shrink(app, now)
    }
}

struct Odd {
    log: Box<dyn ChannelLog>,
    manner: Manner,
    reads: Reads,
}

impl ChannelLog for Odd {
    fn annotated_lately(&self) -> Vec<MessageRef> {
        self.log.annotated_lately()
    }

    fn annotated(&self, target: MessageRef, later: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead> {
        self.log.annotated(target, later)
    }

    fn mint(&self) -> Mint {
        self.log.mint()
    }

    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        match self.manner {
            Manner::Silent => Poll::Pending,
            Manner::Panics => panic!("on purpose"),
            Manner::ReadsLater => self.log.append(now, entry, later),
        }
    }

    fn remembered(&mut self) -> Vec<Known> {
        self.log.remembered()
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.log.recent()
    }

    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, later: Later<'_, Found>) -> Poll<Found> {
        match self.manner {
            Manner::ReadsLater => {
                self.reads.lock().push(later());
                Poll::Pending
            }
            Manner::Silent | Manner::Panics => self.log.read(wanted, choice, later),
        }
    }

    fn past(&self) -> Arc<dyn Past> {
        self.log.past()
    }

    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead> {
        self.log.page(query, later)
    }

    fn newest(&self, target: MessageRef, later: Later<'_, MessageRead>) -> Poll<MessageRead> {
        self.log.newest(target, later)
    }

    fn give_up(&mut self, bytes: usize) -> bool {
        self.log.give_up(bytes)
    }

    fn expire(&mut self, now: Duration) -> bool {
        self.log.expire(now)
    }
}

/// A publish of the only connection of this thread, to be answered.
fn publish(stage: &Stage) -> Command<Publish> {
    let hub = stage.hub_here();
    let sessions = stage.sessions_here();
    let [session] = sessions[..] else { panic!("one connection") };
    let message = Message { payload: Payload::json("late".into()), ..Message::default() };
    let body = Publish {
        reply: Some(Reply { session, hub: hub.id, token: Some(7) }),
        ..Publish::message(EntryId::Serial, message)
    };
    Command::new(hub, ChannelName::from(ROOM), body)
}

/// There is no place for any channel.
fn fill(stage: &Stage) {
    stage.broker.directory.set_shares(ChannelShares { server: 0, app: 0 });
}

/// findings C1: a publish that reaches a retired channel while there is no room for a successor is answered.
#[actix::test]
async fn a_publish_to_a_retired_channel_is_refused_when_there_is_no_room_for_another() {
    let stage = Stage::set();
    let mut client = stage.join(0).await;
    let retired = stage.channel();
    assert_eq!(client.ask("leave").await, "left");
    stage.until_channels(0).await;
    fill(&stage);
    retired.do_send(publish(&stage));
    assert_eq!(client.hear().await, BUSY);
}

/// findings C1: so is one that waits in the mailbox of a channel that dies.
#[actix::test]
async fn a_publish_in_the_mailbox_of_a_channel_that_dies_is_answered() {
    let stage = Stage::set();
    let mut client = stage.join(0).await;
    let channel = stage.channel();
    stage::kill_soon(&channel);
    channel.do_send(publish(&stage));
    assert_eq!(client.hear().await, BUSY);
    // The successor takes the next one.
    assert_eq!(client.ask("join").await, "joined");
}

/// findings C1: and one that the channel dies of.
#[actix::test]
async fn a_publish_that_a_channel_dies_of_is_answered() {
    let (log, _open) = OddLog::new(Some(Manner::Panics));
    let stage = Stage::set_on(log);
    let mut client = stage.join(0).await;
    stage.channel().do_send(publish(&stage));
    assert_eq!(client.hear().await, BUSY);
}

/// findings C1: and one that waits for the disk when the channel dies; once each, in their order.
#[actix::test]
async fn what_waits_for_the_disk_of_a_channel_that_dies_is_answered() {
    let (log, _open) = OddLog::new(Some(Manner::Silent));
    let stage = Stage::set_on(log);
    let mut client = stage.join(0).await;
    let channel = stage.channel();
    channel.do_send(publish(&stage));
    channel.do_send(publish(&stage));
    assert_eq!(client.ask("?").await, "what?", "not answered yet");
    stage::kill(&stage).await;
    assert_eq!(client.hear().await, BUSY);
    assert_eq!(client.hear().await, BUSY);
    assert_eq!(client.ask("?").await, "what?");
}

/// findings C1: requests to attach and to detach in that mailbox are carried out by the successor, and answered once.
#[actix::test]
async fn an_attachment_outlives_the_channel_that_should_have_made_it() {
    let stage = Stage::set();
    let mut witness = stage.join(1).await;
    let mut client = stage.open(0);
    assert_eq!(client.ask("?").await, "what?");
    stage::kill_soon(&stage.channel());
    assert_eq!(client.ask("join").await, "joined");
    witness.say("1");
    assert_eq!(client.hear().await, "1");
    stage::kill_soon(&stage.channel());
    assert_eq!(client.ask("leave").await, "left");
    witness.say("2");
    assert_eq!(client.ask("?").await, "what?");
    assert_eq!(witness.ask("?").await, "what?");
}

/// findings C4: while the log of one channel is read from the disk, others are opened, on the same thread too; what was
/// sent to it meanwhile is carried out then.
#[actix::test]
async fn a_channel_whose_log_opens_slowly_stalls_no_other() {
    let (log, open) = OddLog::new(None);
    let stage = Stage::set_on(log);
    let slow = ChannelName::from("slow");
    let channel = stage.broker.directory.channel(&slow, &stage.broker, None).expect("there is room");
    let here = stage.join(0).await;
    let mut there = stage.join(1).await;
    here.say("1");
    assert_eq!(there.hear().await, "1");
    assert!(stage.broker.directory.is_in_charge(&slow, &channel));
    let waiting = channel.send(crate::actors::channels::questions::Occupied);
    open.send(()).expect("it waits");
    assert!(matches!(waiting.await, Ok(Ok(_))));
}

/// findings C1, C4: a channel whose log cannot be opened at all answers, too.
#[actix::test]
async fn a_channel_that_never_opens_answers() {
    let (log, open) = OddLog::new(None);
    let stage = Stage::set_on(log);
    let mut client = stage.join(0).await;
    let worker = Worker::on_this_thread(&stage.broker);
    let channel = worker.broker.directory.channel(&ChannelName::from("slow"), &stage.broker, None).expect("room");
    channel.do_send(publish(&stage));
    // Nobody is left to say that it may open.
    drop(open);
    assert_eq!(client.hear().await, BUSY);
    assert_eq!(
        channel.send(crate::actors::channels::questions::Occupied).await.unwrap_or(Err(Fault::Busy)).err(),
        Some(Fault::Busy)
    );
}

/// A second attachment of the only connection of this thread, after a position of another log.
fn attach(stage: &Stage) -> Command<Attach> {
    let hub = stage.hub_here();
    let sessions = stage.sessions_here();
    let [session] = sessions[..] else { panic!("one connection") };
    let body = Attach {
        id: AttachmentId { session, alias: 1 },
        connection: ConnectionId::from_bytes([1; 9]),
        hub: hub.id,
        filter: Filter::named(),
        rules: None,
        start: Start::After(Some(Mint::new(Epoch::new(1)).position())),
        evicts: false,
        context: frame::text(b"attached"),
        asked: Duration::ZERO,
    };
    Command::new(hub, ChannelName::from(ROOM), body)
}

/// What follows an attach waits for its past, and no other channel does; a read that fails is answered as a gap.
#[actix::test]
async fn an_attachment_whose_past_is_read_later_keeps_its_place() {
    let (log, _open) = OddLog::new(Some(Manner::ReadsLater));
    let reads = Arc::clone(&log.reads);
    let stage = Stage::set_on(log);
    let mut client = stage.join(0).await;
    let witness = stage.join(1).await;
    for fails in [false, true] {
        let channel = stage.channel();
        channel.do_send(attach(&stage));
        witness.say("1");
        let other = stage.broker.directory.channel(&ChannelName::from("other"), &stage.broker, None).expect("room");
        assert!(other.send(crate::actors::channels::questions::Occupied).await.is_ok());
        let read = loop {
            if let Some(read) = reads.lock().pop() {
                break read;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(client.ask("?").await, "what?", "not answered yet");
        if fails {
            drop(read)
        } else {
            read(Ok(Vec::new()))
        }
        assert_eq!(client.hear().await, "attached");
        assert_eq!(client.hear().await, "1");
    }
}
