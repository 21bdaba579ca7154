//! What the keys of a channel are called. Those of one partition share a hash tag, and with it a slot of Redis Cluster.

use bytes::Bytes;

use crate::{
    core::serial::Place,
    ids::{ChannelName, NodeId},
    limits,
};

/// How the topics of channels begin.
pub const TOPICS: &[u8] = b"ls:{p";

/// Where a lease counts: a partition, since what it guards has to be in one slot with it; or, none, what stands beside the
/// channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain(Option<u32>);

impl Domain {
    pub const BESIDE: Self = Self(None);

    pub fn of(channel: &ChannelName) -> Self {
        Self(Some(Keys::of(channel).partition))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..limits::PARTITIONS).map(Some).chain([None]).map(Self)
    }

    fn key(self, kind: &[u8]) -> Vec<u8> {
        let tag = self.0.map_or_else(|| "ls:{ctl}".to_owned(), |partition| format!("ls:{{p{partition}}}"));
        [tag.as_bytes(), kind].concat()
    }

    /// Nodes and the ends of their leases.
    pub fn leases(self) -> Vec<u8> {
        self.key(b"leases")
    }

    /// The channels in which a node has members or is counted.
    pub fn owned_by(self, node: NodeId) -> Vec<u8> {
        self.key(&[b"c:", &node.to_bytes()[..]].concat())
    }

    /// How the topics of its channels begin.
    pub fn topics(self) -> Vec<u8> {
        self.key(b"t:")
    }
}

pub struct Keys {
    partition: u32,
    channel: String,
}

impl Keys {
    pub fn of(channel: &ChannelName) -> Self {
        let channel = format!("{}/{}", channel.app().as_str(), channel.as_str());
        Self { partition: crc32fast::hash(channel.as_bytes()) % limits::PARTITIONS, channel }
    }

    pub fn domain(&self) -> Domain {
        Domain(Some(self.partition))
    }

    fn key(&self, kind: &str) -> Vec<u8> {
        format!("ls:{{p{}}}{kind}:{}", self.partition, self.channel).into_bytes()
    }

    /// What is published is heard here.
    pub fn topic(&self) -> Vec<u8> {
        self.key("t")
    }

    /// What nodes count.
    pub fn counts(&self) -> Vec<u8> {
        self.key("a")
    }

    pub fn members(&self) -> Vec<u8> {
        self.key("m")
    }

    pub fn head(&self) -> Vec<u8> {
        self.key("h")
    }

    pub fn stream(&self) -> Vec<u8> {
        self.key("s")
    }

    pub fn objects(&self) -> Vec<u8> {
        self.key("o")
    }

    /// The versions of a message, whose place and index are to be appended.
    pub fn versions(&self) -> Vec<u8> {
        self.key_of_message("v")
    }

    /// The annotations of a message; the same.
    pub fn annotations(&self) -> Vec<u8> {
        self.key_of_message("w")
    }

    fn key_of_message(&self, kind: &str) -> Vec<u8> {
        [self.key(kind), b":".to_vec()].concat()
    }

    /// Head, stream, members, counts, messages that were changed or annotated, objects.
    pub fn log(&self) -> [Vec<u8>; 6] {
        ["h", "s", "m", "a", "k", "o"].map(|kind| self.key(kind))
    }

    /// Head, stream, ids of even and odd halves, topic, messages that were changed or annotated.
    pub fn all(&self) -> Vec<Vec<u8>> {
        ["h", "s", "i0", "i1", "t", "k"].map(|kind| self.key(kind)).into()
    }

    /// App and name of the channel.
    pub fn name(&self) -> Bytes {
        self.channel.clone().into_bytes().into()
    }
}

/// The id of an entry of the stream.
pub fn id((millis, counter): Place) -> String {
    format!("{millis}-{counter}")
}
