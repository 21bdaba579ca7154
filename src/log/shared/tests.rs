//! The contract of all logs, over a `redis-server` of this machine. A channel asks the shared log to append and takes what it has got
//! into its replica; so does the log here.

use std::{cell::RefCell, sync::mpsc, task::Poll};

use super::*;
use crate::{
    core::{
        budget::Account,
        dedupe::{Content, Known},
        history::Query,
        operation::MessageRef,
        replay::{self, Choice, Past, Wanted},
        serial::Mint,
        summaries::Annotated,
        window::Bounds,
    },
    ids::Timestamp,
    log::{AnnotatedRead, Later, MessageRead, PageRead, contract, disk::Retention},
    store::redis::tests::Server,
};

/// Waits for what a log calls back with.
fn wait<T: Send + 'static>(ask: impl FnOnce(Done<T>)) -> Result<T, StoreError> {
    let (told, answer) = mpsc::channel();
    ask(Box::new(move |outcome| drop(told.send(outcome))));
    answer.recv().unwrap()
}

struct Joining(SharedLog);

struct Appending {
    log: SharedLog,
    channel: ChannelName,
    judged: Place,
    replica: Box<dyn ChannelLog>,
}

impl Log for Joining {
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        let Joined { judged, log: replica, .. } = wait(|done| self.0.join(channel, None, |_| {}, done)).unwrap();
        Box::new(Appending { log: self.0.clone(), channel: channel.clone(), judged, replica })
    }

    fn close(&self, channel: &ChannelName) {
        self.0.close(channel);
    }

    fn forget(&self, channel: &ChannelName) {
        self.0.forget(channel);
    }

    fn shrink(&self, app: AppId, now: Duration) -> bool {
        self.0.shrink(app, now)
    }
}

impl Appending {
    fn ask(&self, entry: &Entry, is_whole: bool) -> Told {
        let seen = self.replica.mint().position();
        let judged = entry.is_judged().then_some(Judged { by: self.judged, is_emptied: false, is_whole });
        wait(|done| self.log.append(entry, Content::of(&entry.id, &entry.body), seen, judged, done)).unwrap()
    }
}

impl ChannelLog for Appending {
    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        let mut entry = entry.with(entry.body.clone());
        entry.channel = self.channel.clone();
        let mut told = self.ask(&entry, false);
        if told == Told::Bare {
            let append = entry.operation().unwrap();
            let (told_by, latest) = mpsc::channel();
            let newest = self.replica.newest(append.target, &mut || {
                let told_by = told_by.clone();
                Box::new(move |latest| drop(told_by.send(latest)))
            });
            let latest = match newest {
                Poll::Ready(latest) => latest,
                Poll::Pending => latest.recv().unwrap(),
            };
            append.grow(&latest.unwrap().unwrap(), None);
            told = self.ask(&entry, true);
        }
        let Told::Kept { serial, .. } = told else { panic!("it is new: {told:?}") };
        (entry.serial, entry.timestamp) = (serial, Timestamp::from_millis(serial.place().0));
        if entry.is_judged() {
            self.judged = serial.place();
        }
        self.replica.append(now, Arc::new(entry), later)
    }

    fn mint(&self) -> Mint {
        self.replica.mint()
    }

    fn remembered(&mut self) -> Vec<Known> {
        self.replica.remembered()
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.replica.recent()
    }

    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, later: Later<'_, replay::Found>) -> Poll<replay::Found> {
        self.replica.read(wanted, choice, later)
    }

    fn past(&self) -> Arc<dyn Past> {
        self.replica.past()
    }

    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead> {
        self.replica.page(query, later)
    }

    fn newest(&self, target: MessageRef, later: Later<'_, MessageRead>) -> Poll<MessageRead> {
        self.replica.newest(target, later)
    }

    fn annotated_lately(&self) -> Vec<MessageRef> {
        self.replica.annotated_lately()
    }

    fn annotated(&self, target: MessageRef, later: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead> {
        self.replica.annotated(target, later)
    }

    fn keep_summary(&mut self, target: MessageRef, annotated: &Annotated) {
        self.replica.keep_summary(target, annotated);
    }

    fn keep_whole(&mut self, append: &Arc<Entry>) {
        self.replica.keep_whole(append);
    }

    fn give_up(&mut self, bytes: usize) -> bool {
        self.replica.give_up(bytes)
    }

    fn expire(&mut self, now: Duration) -> bool {
        self.replica.expire(now)
    }
}

#[test]
fn keeps_the_contract() {
    holds_on(Server::start);
}

#[test]
fn keeps_the_contract_on_a_redis_cluster() {
    holds_on(Server::start_cluster);
}

fn holds_on(start: fn() -> Server) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    // A Redis for each log: what they tell goes to all databases of one.
    let servers = RefCell::new(Vec::new());
    let make = || {
        let server = start();
        let settings = redis::Settings::at(&format!("127.0.0.1:{}", server.1), Default::default(), 0);
        servers.borrow_mut().push(server);
        let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: 1 << 20 };
        let memory = MemoryLog::new(bounds, Arc::new(Account::server(1 << 24)));
        let kept = Retention { age: Duration::from_secs(3_600), bytes: 1 << 24 };
        let retention: RetentionOf = Box::new(move |channel| channel.as_str().starts_with("p ").then_some(kept));
        let seconds = Duration::from_secs;
        let greeting = nodes::greeting(None, seconds(15));
        let times = Times { deadline: seconds(20), lease: seconds(15) };
        let keeping = Keeping { retention, is_own: Box::new(|_| false) };
        let log = SharedLog::start(vec![settings], greeting, Needs::default(), times, memory, keeping, Clock::system());
        let (told, renewed) = mpsc::channel();
        log.renew(move |outcome| drop(told.send(outcome)));
        assert!(renewed.iter().all(|outcome| outcome.is_ok()));
        Joining(log)
    };
    contract::holds(make);
}
