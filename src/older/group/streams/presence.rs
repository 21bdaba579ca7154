//! Who is online on any instance (`docs/protocols/group.md §7`, presence).
//!
//! | key | what |
//! |---|---|
//! | `user:status:<id>` | hash that other services read: `is_online`, `last_seen`, `last_online_at`, `last_offline_at` (Unix seconds) |
//! | `user:conns:<id>` | hash: instance -> its connections of the user |
//! | `broker:instances` | sorted set: instance -> when its lease ends, in ms by the clock of Redis |
//! | `broker:users:<instance>` | set: users who are online there |
//! | `broker:online` | set: users who are online anywhere |
//!
//! Each instance counts its own connections and reports which users come and go, as soon as Redis is
//! there. What an instance reported counts only as long as its lease; the others clean up after it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::Notify,
    time::{self, MissedTickBehavior},
};

use crate::{
    engines::redis::{RedisError, Run},
    limits,
    older::group::streams::bus::Instance,
};

const RENEW: &str = include_str!("presence/renew.lua");
const REPORT: &str = include_str!("presence/report.lua");
const STATUS: &str = include_str!("presence/status.lua");
const REMOVE: &str = include_str!("presence/remove.lua");
const ONLINE_USERS: &str = "return redis.call('SCARD', KEYS[1])";
const USERS_OF: &str = "return redis.call('SRANDMEMBER', KEYS[1], ARGV[1])";

const INSTANCES: &str = "broker:instances";
const ONLINE: &str = "broker:online";
/// How often a lease is renewed while it lasts.
const RENEWALS: u32 = 3;
/// What is known of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    pub is_online: bool,
    /// Unix seconds, as the other two; 0 when unknown.
    pub last_seen: i64,
    pub last_online_at: i64,
    pub last_offline_at: i64,
}

pub struct Presence {
    instance: Arc<Instance>,
    here: Mutex<Here>,
    /// There is something to report.
    changed: Notify,
    /// There is somebody to clean up after.
    died: Notify,
    /// How often the lease was renewed since Redis last failed.
    renewed: AtomicU32,
}

#[derive(Default)]
struct Here {
    /// Who has connections here, and who is to be reported.
    users: HashMap<Arc<str>, User>,
    /// Who is to be reported, each once, who has waited longest first: whoever comes and goes again and again overtakes
    /// nobody.
    waiting: VecDeque<Arc<str>>,
    /// Instances whose leases have ended.
    dead: BTreeSet<String>,
    /// Nothing is reported any more.
    has_left: bool,
}

#[derive(Default)]
struct User {
    connections: u32,
    is_waiting: bool,
}

impl Here {
    fn report(&mut self, name: Arc<str>) {
        let user = self.users.entry(Arc::clone(&name)).or_default();
        if !mem::replace(&mut user.is_waiting, true) {
            self.waiting.push_back(name);
        }
    }

    /// Who is to be reported next, and with how many connections.
    fn take_page(&mut self) -> Vec<(Arc<str>, u32)> {
        let count = self.waiting.len().min(limits::ONLINE_PAGE);
        let users = &mut self.users;
        let taken = self.waiting.drain(..count).map(|name| {
            let connections = users.get_mut(&name).map_or(0, |user| {
                user.is_waiting = false;
                user.connections
            });
            if connections == 0 {
                users.remove(&name);
            }
            (name, connections)
        });
        taken.collect()
    }
}

impl Presence {
    pub fn new(instance: Arc<Instance>) -> Arc<Self> {
        let (here, changed, died) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Self { instance, here, changed, died, renewed: AtomicU32::new(0) })
    }

    /// One more connection, or one less.
    pub fn count(&self, user: &str, more: i32) {
        let mut here = self.here.lock();
        let name: Arc<str> = user.into();
        let known = here.users.entry(Arc::clone(&name)).or_default();
        let was_online = known.connections > 0;
        known.connections = known.connections.saturating_add_signed(more);
        if was_online != (known.connections > 0) {
            here.report(name);
            self.changed.notify_one();
        }
    }

    pub async fn status(&self, user: &str) -> Result<Option<Status>, RedisError> {
        let reply = self.run(STATUS, vec![conns_of(user), status_of(user), INSTANCES.to_owned()], Vec::new()).await?;
        let [is_known, is_online, seen, came, went] = &reply[..] else {
            return Ok(None);
        };
        let seconds = |text: &String| text.parse().unwrap_or(0);
        Ok((is_known == "1").then(|| Status {
            is_online: matches!(&**is_online, "1" | "true"),
            last_seen: seconds(seen),
            last_online_at: seconds(came),
            last_offline_at: seconds(went),
        }))
    }

    pub async fn online_users(&self) -> Result<u64, RedisError> {
        let reply = self.run(ONLINE_USERS, vec![ONLINE.to_owned()], Vec::new()).await?;
        Ok(reply.first().and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Reports to Redis, for ever. One task, of parts that do not wait for each other: users who come and go without an
    /// end, or many to clean up after, must not make the others take this instance for dead, nor let what was reported
    /// run out.
    pub async fn run_for_ever(self: Arc<Self>) {
        tokio::join!(self.keep_lease(), self.report_changes(), self.report_all_at_times(), self.clean_up());
    }

    async fn keep_lease(&self) {
        let mut renewals = time::interval(self.instance.lease / RENEWALS);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            // Since Redis is there: when it was away, no lease was renewed, and their owners need a moment.
            let is_settled = self.renewed.load(Ordering::Relaxed) > RENEWALS;
            match self.renew(is_settled).await {
                Ok(()) => drop(self.renewed.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    self.failed(&error).await;
                    renewals.reset_immediately();
                }
            }
        }
    }

    async fn report_changes(&self) {
        loop {
            match self.report_some().await {
                Ok(true) => {}
                Ok(false) => self.changed.notified().await,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn report_all_at_times(&self) {
        let mut refreshes = time::interval(limits::ONLINE_REFRESH);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            refreshes.tick().await;
            self.report_all();
        }
    }

    async fn clean_up(&self) {
        loop {
            let dead = self.here.lock().dead.pop_first();
            let Some(dead) = dead else {
                self.died.notified().await;
                continue;
            };
            if let Err(error) = self.clean_up_after(&dead, false).await {
                self.here.lock().dead.insert(dead);
                self.failed(&error).await;
            }
        }
    }

    /// Waits until Redis is there again. The leases of the others may have ended meanwhile.
    async fn failed(&self, error: &RedisError) {
        self.renewed.store(0, Ordering::Relaxed);
        self.instance.until_again(error, "redis does not hear who is online").await;
    }

    /// Takes everybody offline here. When Redis does not answer, the end of the lease does.
    pub async fn leave(&self) -> Result<(), RedisError> {
        {
            let mut here = self.here.lock();
            here.has_left = true;
            here.users.clear();
        }
        self.clean_up_after(&self.instance.name, true).await
    }

    /// Renews the lease; if it had ended, all is reported again. Notes the dead, if asked to, so that they are cleaned up
    /// after.
    async fn renew(&self, and_clean_up: bool) -> Result<(), RedisError> {
        if self.here.lock().has_left {
            return Ok(());
        }
        let args = vec![self.instance.name.clone(), self.instance.lease.as_millis().to_string()];
        let mut reply = self.run(RENEW, vec![INSTANCES.to_owned()], args).await?.into_iter();
        if reply.next().is_some_and(|had_ended| had_ended == "1") {
            self.report_all();
        }
        if and_clean_up {
            self.here.lock().dead.extend(reply);
            self.died.notify_one();
        }
        Ok(())
    }

    /// Takes everybody offline there; one that is alive only if it is asked for.
    async fn clean_up_after(&self, instance: &str, even_alive: bool) -> Result<(), RedisError> {
        loop {
            let users = self.run(USERS_OF, vec![users_of(instance)], vec![limits::ONLINE_PAGE.to_string()]).await?;
            if users.is_empty() {
                let keys = vec![INSTANCES.to_owned(), users_of(instance)];
                let args = vec![instance.to_owned(), u8::from(even_alive).to_string()];
                return self.run(REMOVE, keys, args).await.map(drop);
            }
            let runs: Vec<_> = users.iter().map(|user| self.report(instance, user, 0, !even_alive)).collect();
            let replies = self.instance.redis.run(&runs).await?;
            if replies.iter().flatten().any(|reply| reply == "alive") {
                return Ok(());
            }
            if !even_alive {
                tracing::info!(users = users.len(), "offline: their instance is gone");
            }
        }
    }

    fn report_all(&self) {
        let mut here = self.here.lock();
        let all: Vec<_> = here.users.keys().cloned().collect();
        all.into_iter().for_each(|user| here.report(user));
        self.changed.notify_one();
    }

    /// Reports some users; whether there may be more.
    async fn report_some(&self) -> Result<bool, RedisError> {
        let page = {
            let mut here = self.here.lock();
            if here.has_left { Vec::new() } else { here.take_page() }
        };
        if page.is_empty() {
            return Ok(false);
        }
        let report =
            |(user, connections): &(Arc<str>, u32)| self.report(&self.instance.name, user, *connections, false);
        let reported = self.instance.redis.run(&page.iter().map(report).collect::<Vec<_>>()).await;
        if reported.is_err() {
            let mut here = self.here.lock();
            page.into_iter().for_each(|(user, _)| here.report(user));
        }
        reported.map(|_| true)
    }

    fn report(&self, instance: &str, user: &str, connections: u32, if_dead: bool) -> Run {
        Run {
            script: REPORT,
            keys: vec![conns_of(user), status_of(user), INSTANCES.to_owned(), ONLINE.to_owned(), users_of(instance)],
            args: vec![
                instance.to_owned(),
                connections.to_string(),
                user.to_owned(),
                (self.instance.clock.now().millis() / 1_000).to_string(),
                limits::STATUS_KEPT.as_secs().to_string(),
                (6 * limits::ONLINE_REFRESH.as_secs()).to_string(),
                u8::from(if_dead).to_string(),
            ],
        }
    }

    async fn run(&self, script: &'static str, keys: Vec<String>, args: Vec<String>) -> Result<Vec<String>, RedisError> {
        let replies = self.instance.redis.run(&[Run { script, keys, args }]).await?;
        Ok(replies.into_iter().next().unwrap_or_default())
    }
}

fn conns_of(user: &str) -> String {
    format!("user:conns:{user}")
}

fn status_of(user: &str) -> String {
    format!("user:status:{user}")
}

fn users_of(instance: &str) -> String {
    format!("broker:users:{instance}")
}
