//! How many use a channel at each node, and how many of them hold one of the seats that rules count.

use bytes::Bytes;

use super::{Domain, Done, Keys, LEAVE, OWNED, SEAT, SharedLog, lease};
use crate::{
    core::occupancy::Occupancy,
    engines::redis::Call,
    ids::{AppId, ChannelName, NodeId},
    limits,
    log::shared::understand,
};

/// How many use a channel at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub seats: usize,
    /// Of its attachments; members are counted by the log.
    pub occupancy: Occupancy,
}

/// What a node has of a channel.
#[derive(Debug, Default)]
pub struct Seated {
    /// Its seats: those that it had, and of those that it wanted as many as there were.
    pub seats: usize,
    /// What the other live nodes have.
    pub others: Vec<(NodeId, Usage)>,
}

/// Which seats a node asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seats {
    /// Of all nodes.
    pub cap: usize,
    pub wanted: usize,
    pub held: usize,
}

impl Usage {
    pub(super) const BYTES: usize = 32;

    /// As Redis has it.
    pub(super) fn bytes(&self) -> Bytes {
        let seats = u32::try_from(self.seats).unwrap_or(u32::MAX).to_be_bytes();
        [&seats[..], &self.occupancy_bytes()].concat().into()
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { seats: self.seats + other.seats, occupancy: self.occupancy.plus(other.occupancy) }
    }

    fn occupancy_bytes(&self) -> Bytes {
        let Occupancy { connections, publishers, subscribers, presence_connections, presence_subscribers, .. } =
            self.occupancy;
        let Occupancy { object_publishers, object_subscribers, .. } = self.occupancy;
        let counts = [connections, publishers, subscribers, presence_connections, presence_subscribers];
        let counts = counts.into_iter().chain([object_publishers, object_subscribers]);
        counts.flat_map(|count| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()).collect()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let mut counts = bytes.chunks(4).map(|count| count.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        let mut next = || counts.next().unwrap_or_default();
        let seats = next();
        let occupancy = Occupancy {
            connections: next(),
            publishers: next(),
            subscribers: next(),
            presence_connections: next(),
            presence_members: 0,
            presence_subscribers: next(),
            object_publishers: next(),
            object_subscribers: next(),
        };
        Some(Self { seats, occupancy })
    }
}

/// Nodes and their counts, one after the other.
pub(super) fn read_all(parts: &[Bytes]) -> Option<Vec<(NodeId, Usage)>> {
    parts.chunks(2).map(|pair| Some((lease::read_node(pair.first()?)?, Usage::read(pair.get(1)?)?))).collect()
}

impl SharedLog {
    /// Tells the other nodes how many use a channel here, and asks for seats.
    pub fn seat(&self, channel: &ChannelName, seats: Seats, occupancy: Occupancy, done: Done<Seated>) {
        let keys = Keys::of(channel);
        let counts = Usage { seats: 0, occupancy };
        let life = self.bounds(channel).0 + limits::HEAD_LIFE.as_millis();
        let args = vec![
            lease::node_bytes(self.0.node),
            keys.name(),
            seats.cap.to_string().into(),
            seats.wanted.to_string().into(),
            seats.held.to_string().into(),
            counts.occupancy_bytes(),
            life.to_string().into(),
            self.lease().as_millis().to_string().into(),
        ];
        let seated = |parts: &[Bytes]| {
            let (seats, others) = parts.split_first()?;
            Some(Seated { seats: std::str::from_utf8(seats).ok()?.parse().ok()?, others: read_all(others)? })
        };
        let done = Box::new(move |answer| done(understand(answer, seated)));
        let domain = keys.domain();
        let keys = vec![keys.counts(), domain.leases(), domain.owned_by(self.0.node), keys.topic()];
        self.0.appends.call(Call { script: SEAT, keys, args, repeats: true, done });
    }

    /// A node has a channel open no more, and nothing in it; `done` is told the nodes that have it open, or had it when they died.
    pub fn leave(&self, channel: &ChannelName, node: NodeId, done: Done<Vec<NodeId>>) {
        let keys = Keys::of(channel);
        let args = vec![lease::node_bytes(node), keys.name()];
        let keys = vec![keys.counts(), keys.domain().owned_by(node), keys.topic()];
        let others = |parts: &[Bytes]| parts.iter().skip(1).map(|node| lease::read_node(node)).collect();
        let done = Box::new(move |answer| done(understand(answer, others)));
        self.0.appends.call(Call { script: LEAVE, keys, args, repeats: true, done });
    }

    /// Some of the channels of a domain in which a node has something.
    pub fn owned(&self, domain: Domain, node: NodeId, done: Done<Vec<ChannelName>>) {
        let channel = |name: &Bytes| {
            let (app, name) = std::str::from_utf8(name).ok()?.split_once('/')?;
            Some(ChannelName::new(AppId::parse(app)?, name))
        };
        let owned = move |parts: &[Bytes]| Some(parts.iter().skip(1).filter_map(channel).collect());
        let done = Box::new(move |answer| done(understand(answer, owned)));
        let args = vec![limits::REAPED_AT_ONCE.to_string().into()];
        self.0.reads.call(Call { script: OWNED, keys: vec![domain.owned_by(node)], args, repeats: true, done });
    }
}
