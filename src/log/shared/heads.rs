//! Looks at many channels by one script: whether anything has happened to their logs that was not heard of, and whether the counts
//! are what they were told to be (`docs/design/cluster.md §2`). So a channel that nothing happens on costs Redis next to nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::timeout,
};

use super::{Domain, Done, HEADS, Inner, Keys, SharedLog, lease, understand, usage::Usage, wire};
use crate::{core::serial::Serial, engines::redis::Call, ids::ChannelName, limits, store::StoreError};

/// What a channel has of its log, to be compared with what Redis has.
pub struct Look {
    pub channel: ChannelName,
    pub seen: Serial,
    /// The counts of this node, as the log was told them.
    pub own: Usage,
    /// Those of the other nodes together.
    pub others: Usage,
    /// Something may have been missed: it is not to wait for others.
    pub is_urgent: bool,
    pub done: Done<Looked>,
}

/// What differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    pub has_other_entries: bool,
    pub has_other_counts: bool,
}

pub(super) type Looks = UnboundedSender<Look>;

impl SharedLog {
    /// Looks whether there is anything new. Answered within the deadline, after up to [`limits::HEADS_GATHERED`].
    pub fn look(&self, look: Look) {
        // Its task ends with the log.
        let _ = self.0.looks.send(look);
    }

    /// Drops `done` when all are answered.
    fn look_at(&self, looks: Vec<Look>, done: oneshot::Sender<()>) {
        let done = Arc::new(done);
        // What one server has is looked at by one script.
        let mut groups: HashMap<Domain, Vec<Look>> = HashMap::new();
        let is_one = self.0.reads.is_one_server();
        for look in looks {
            groups.entry(if is_one { Domain::BESIDE } else { Domain::of(&look.channel) }).or_default().push(look);
        }
        for looks in groups.into_values() {
            let done = Arc::clone(&done);
            self.look_at_once(looks, move || drop(done));
        }
    }

    fn look_at_once(&self, looks: Vec<Look>, done: impl FnOnce() + Send + 'static) {
        let mut keys = Vec::new();
        let mut args = vec![lease::node_bytes(self.0.node)];
        for look in &looks {
            let life = self.bounds(&look.channel).0 + limits::HEAD_LIFE.as_millis();
            let of = Keys::of(&look.channel);
            let [head, _, members, counts, _, objects] = of.log();
            keys.extend([of.domain().leases(), head, members, counts, objects]);
            let epoch = look.seen.epoch().bits().to_be_bytes();
            let seen = [&epoch[..], &wire::place_bytes(look.seen.place())].concat();
            let lives = [life.to_string().into(), self.objects_life(&look.channel)];
            args.extend(lives);
            args.extend([seen.into(), look.own.bytes(), look.others.bytes()]);
        }
        let read = |parts: &[Bytes]| parts.first().cloned();
        let answered = move |answer| {
            let told: Result<Bytes, StoreError> = understand(answer, read);
            for (place, look) in looks.into_iter().enumerate() {
                (look.done)(told.clone().map(|digits| Looked::read(digits.get(place).copied())));
            }
            done();
        };
        self.0.reads.call(Call { script: HEADS, keys, args, repeats: true, done: Box::new(answered) });
    }
}

impl Looked {
    /// What cannot be read is looked at.
    fn read(digit: Option<u8>) -> Self {
        let digit = digit.map_or(3, |digit| digit.wrapping_sub(b'0'));
        Self { has_other_entries: digit & 1 != 0, has_other_counts: digit & 2 != 0 }
    }
}

/// Gathers looks, and has them answered one script after the other, for as long as there is the log.
pub(super) async fn gather(log: Weak<Inner>, mut asked: UnboundedReceiver<Look>) {
    while let Some(first) = asked.recv().await {
        let mut looks = vec![first];
        let others = async {
            while looks.len() < limits::HEADS_AT_ONCE && !looks.last().is_some_and(|look| look.is_urgent) {
                match asked.recv().await {
                    Some(look) => looks.push(look),
                    None => return,
                }
            }
        };
        let _: Result<(), _> = timeout(limits::HEADS_GATHERED, others).await;
        while looks.len() < limits::HEADS_AT_ONCE
            && let Ok(look) = asked.try_recv()
        {
            looks.push(look);
        }
        let (told, answered) = oneshot::channel();
        let Some(inner) = log.upgrade() else { return };
        SharedLog(inner).look_at(looks, told);
        // Nobody waits for a server that is away but those whose channels it has.
        let _ = timeout(limits::HEADS_GATHERED, answered).await;
    }
}
