//! Which server has which keys. A Redis Cluster divides them into slots, and each slot has one master; a server that is in none has
//! all of them, which is the same with one address.
//!
//! Any server that is known is asked: at the start, and again when a server has answered that it has not what it was asked for, or
//! does not answer, or when nobody has a slot that is needed.

use std::{sync::Arc, thread};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{EndWithOwner, Redis, RedisError, Run, Settings, Value, cmd, link::Inner, reply};
use crate::limits;

/// So many there are.
const SLOTS: u16 = 16_384;

/// Where a key is: what stands between the first `{` and the next `}` counts, or all of it.
pub fn slot_of(key: &[u8]) -> u16 {
    let part = tag_of(key).map_or(key, |tag| &tag[1..tag.len() - 1]);
    let crc = part.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
    });
    crc % SLOTS
}

/// The hash tag of a key, with its braces.
pub fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|byte| *byte == b'{')?;
    let length = key[begin..].iter().position(|byte| *byte == b'}').filter(|length| *length > 1)?;
    Some(&key[begin..=begin + length])
}

/// What is known of the servers.
#[derive(Clone, Default)]
pub struct Map {
    /// Those that have slots.
    pub masters: Vec<Arc<Inner>>,
    /// First and last slot, and whose they are by its place among the masters. Empty: one server has all.
    ranges: Vec<(u16, u16, usize)>,
    replicas: Vec<Arc<Inner>>,
}

impl Map {
    /// There is no more than one server, whatever the slot.
    pub fn is_lone(&self) -> bool {
        self.ranges.is_empty()
    }

    /// None: nobody has it, as far as is known.
    pub fn master_of(&self, slot: u16) -> Option<&Arc<Inner>> {
        let place = match self.is_lone() {
            true => 0,
            false => {
                let behind = self.ranges.partition_point(|(first, ..)| *first <= slot);
                self.ranges[..behind].last().filter(|(_, last, _)| slot <= *last)?.2
            }
        };
        self.masters.get(place)
    }

    /// The first slots that nobody has, as far as is known.
    fn gap(&self) -> Option<(u16, u16)> {
        let mut next = 0;
        for (first, last, _) in &self.ranges {
            if *first > next {
                return Some((next, first - 1));
            }
            next = next.max(last + 1);
        }
        (!self.is_lone() && next < SLOTS).then_some((next, SLOTS - 1))
    }

    fn is(&self, other: &Self) -> bool {
        let addresses = |map: &Self| map.masters.iter().map(|master| Arc::clone(&master.address)).collect::<Vec<_>>();
        self.ranges == other.ranges && addresses(self) == addresses(other)
    }
}

/// Some slots as a server tells them: the first, the last, who has them, the master first.
pub struct SlotRange {
    pub first: u16,
    pub last: u16,
    /// Host, none where it is that of whoever has told it, and port.
    pub servers: Vec<(Option<String>, u16)>,
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Slots {
    known: Arc<Known>,
    _task: Arc<EndWithOwner>,
}

struct Known {
    seeds: Vec<Settings>,
    map: watch::Sender<Arc<Map>>,
    doubt: Notify,
    /// Why the last question was not answered.
    trouble: Mutex<Option<RedisError>>,
}

impl Slots {
    /// Asks in the background, on the current runtime. Any of `seeds` leads to all the others, with the same password.
    pub fn start(seeds: Vec<Settings>) -> Self {
        let known = Arc::new(Known::new(seeds));
        let task = tokio::spawn(Arc::clone(&known).follow());
        Self { known, _task: Arc::new(EndWithOwner(task)) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Map>> {
        self.known.map.subscribe()
    }

    /// Everything is at one server. False while that is not known.
    pub fn is_one_server(&self) -> bool {
        let map = self.known.map.borrow();
        map.is_lone() && !map.masters.is_empty()
    }

    pub async fn until_known(&self) {
        // Fails only without a sender, and this handle has it.
        let _ = self.watch().wait_for(|map| !map.masters.is_empty()).await;
    }

    /// A connection to each server that has slots; those in `before` are kept.
    pub fn masters(&self, before: Vec<Redis>) -> Vec<Redis> {
        let map = Arc::clone(&self.known.map.borrow());
        let kept = |inner: &Arc<Inner>| before.iter().find(|redis| Arc::ptr_eq(&redis.inner, inner)).cloned();
        map.masters.iter().map(|inner| kept(inner).unwrap_or_else(|| Redis::of(Arc::clone(inner)))).collect()
    }

    /// The first slots that nobody has, as far as is known: which is asked again then, since whoever was asked may not have known all.
    pub fn gap(&self) -> Option<(u16, u16)> {
        let gap = self.known.map.borrow().gap();
        if gap.is_some() {
            self.doubt();
        }
        gap
    }

    pub(super) fn trouble(&self) -> Option<RedisError> {
        self.known.trouble.lock().clone()
    }

    /// Something is not where it was.
    pub(super) fn doubt(&self) {
        self.known.doubt.notify_one();
    }

    /// Runs a script where its first key is, on a connection of its own, and waits for it, as a start may. It answers `ok`, or why
    /// this server does not belong there. Gives whether there is but one server.
    ///
    /// # Errors
    /// [`RedisError::Foreign`], [`RedisError::Unfit`]; others when Redis cannot be asked.
    pub fn greet(seeds: &[Settings], greeting: &Run) -> Result<bool, RedisError> {
        let (known, greeting) = (Known::new(seeds.to_vec()), greeting.clone());
        let failed = |why: String| RedisError::Unreachable { address: "redis".into(), why: why.into() };
        let greet = async move {
            let map = known.ask().await?;
            let slot = greeting.keys.first().map_or(0, |key| slot_of(key.as_bytes()));
            let master = map.master_of(slot).ok_or_else(|| failed(format!("nobody has slot {slot}")))?;
            let mut connection = master.connect(limits::REDIS_ANSWER).await?;
            master.welcomed(greeting.command().query_async(&mut connection).await)?;
            Ok(map.is_lone())
        };
        // Whoever starts may be on a runtime, which must not wait.
        let waiting = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| failed(error.to_string()))?.block_on(greet)
        });
        waiting.join().unwrap_or_else(|_| Err(failed("the greeting has panicked".to_owned())))
    }
}

impl Known {
    fn new(seeds: Vec<Settings>) -> Self {
        Self { seeds, map: watch::Sender::default(), doubt: Notify::new(), trouble: Mutex::default() }
    }

    async fn follow(self: Arc<Self>) {
        loop {
            let found = self.ask().await;
            let is_known = found.is_ok();
            *self.trouble.lock() = found.as_ref().err().cloned();
            if let Ok(map) = found {
                self.map.send_if_modified(|before| {
                    let is_other = !map.is(before);
                    *before = Arc::new(map);
                    is_other
                });
            }
            sleep(limits::REDIS_SLOTS).await;
            if is_known {
                self.doubt.notified().await;
            }
        }
    }

    /// Asks some of those that are known, by chance: the first answer counts.
    async fn ask(&self) -> Result<Map, RedisError> {
        let before = Arc::clone(&self.map.borrow());
        let mut known: Vec<Arc<Inner>> = before.masters.iter().chain(&before.replicas).cloned().collect();
        for seed in &self.seeds {
            let seed = Inner::new(seed);
            if !known.iter().any(|one| one.address == seed.address) {
                known.push(Arc::new(seed));
            }
        }
        known.shuffle(&mut rand::rng());
        let asked = known.iter().take(limits::REDIS_ASKED);
        let mut asked: FuturesUnordered<_> = asked.map(|server| self.ask_one(server, &known)).collect();
        let mut error = None;
        while let Some(told) = asked.next().await {
            match told {
                Ok(map) => return Ok(map),
                Err(why) => error = Some(why),
            }
        }
        Err(error.unwrap_or_else(|| RedisError::Unreachable { address: "redis".into(), why: "no address".into() }))
    }

    async fn ask_one(&self, server: &Arc<Inner>, known: &[Arc<Inner>]) -> Result<Map, RedisError> {
        let unfit = |why: &str| RedisError::Unfit { address: Arc::clone(&server.address), why: why.into() };
        let mut connection = server.connect(limits::REDIS_ANSWER).await?;
        let told: Result<Value, _> = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await;
        let ranges = match told.map_err(|error| server.told("CLUSTER", &error)) {
            Ok(told) => reply::slots(told).ok_or_else(|| unfit("what it tells of its slots cannot be understood"))?,
            // It has none.
            Err(RedisError::Refused { .. }) if self.seeds.len() == 1 => {
                return Ok(Map { masters: vec![Arc::clone(server)], ..Map::default() });
            }
            Err(RedisError::Refused { .. }) => {
                return Err(unfit("it is one server without slots, and several addresses are named"));
            }
            Err(error) => return Err(error),
        };
        if ranges.is_empty() {
            return Err(unfit("it runs in cluster mode and knows of no slots"));
        }
        let find = |(host, port): (Option<String>, u16)| {
            let host = host.unwrap_or_else(|| server.settings.host.clone());
            let found = Inner::new(&Settings { host, port, ..server.settings.clone() });
            let same = known.iter().find(|one| one.address == found.address);
            same.map_or_else(|| Arc::new(found), Arc::clone)
        };
        let mut map = Map::default();
        for SlotRange { first, last, servers } in ranges {
            let mut servers = servers.into_iter();
            let Some(master) = servers.next() else { continue };
            for replica in servers.map(find) {
                if !map.replicas.iter().any(|one| one.address == replica.address) {
                    map.replicas.push(replica);
                }
            }
            let master = find(master);
            let place = map.masters.iter().position(|one| one.address == master.address).unwrap_or_else(|| {
                map.masters.push(master);
                map.masters.len() - 1
            });
            map.ranges.push((first, last, place));
        }
        map.ranges.sort_unstable();
        Ok(map)
    }
}

#[cfg(test)]
pub mod tests {
    use std::future::pending;

    use super::*;

    /// Knows what it is told here, and asks nobody.
    pub fn told(masters: &[&str], ranges: &[(u16, u16, usize)]) -> Slots {
        let known = Arc::new(Known::new(Vec::new()));
        known.map.send_replace(map(masters, ranges));
        Slots { known, _task: Arc::new(EndWithOwner(tokio::spawn(pending()))) }
    }

    fn map(masters: &[&str], ranges: &[(u16, u16, usize)]) -> Arc<Map> {
        let inner = |at: &&str| Arc::new(Inner::new(&Settings::at(at, "".into(), 0)));
        let masters = masters.iter().map(inner).collect();
        Arc::new(Map { masters, ranges: ranges.to_vec(), replicas: Vec::new() })
    }

    impl Slots {
        pub fn tell(&self, masters: &[&str], ranges: &[(u16, u16, usize)]) {
            self.known.map.send_replace(map(masters, ranges));
        }

        pub async fn doubted(&self) {
            self.known.doubt.notified().await;
        }
    }

    #[test]
    fn slots_that_nobody_has_are_found() {
        type Ranges = &'static [(u16, u16, usize)];
        let rows: [(Ranges, _); 6] = [
            (&[], None),
            (&[(0, 16_383, 0)], None),
            (&[(0, 99, 0), (100, 16_383, 1)], None),
            (&[(5, 16_383, 0)], Some((0, 4))),
            (&[(0, 99, 0), (101, 16_383, 0)], Some((100, 100))),
            (&[(0, 16_382, 0)], Some((16_383, 16_383))),
        ];
        for (ranges, gap) in rows {
            assert_eq!(map(&["a:1", "b:1"], ranges).gap(), gap, "{ranges:?}");
        }
    }

    /// As `CLUSTER KEYSLOT` of Redis 7 says.
    #[test]
    fn slots_are_those_of_redis() {
        let slots = [("123456789", 12_739), ("foo", 12_182), ("ls:{foo}l", 12_182), ("{}foo", 9_500), ("", 0)];
        for (key, slot) in slots {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(tag_of(b"ls:{p17}h:{x}"), Some(&b"{p17}"[..]));
        assert_eq!(tag_of(b"ls:p17}"), None);
    }
}
