//! What is counted while it happens: a few numbers per app, in the hands of one thread.

use std::ops::AddAssign;

use crate::core::{
    message::{Body, Entry, Message},
    operation::Annotation,
    presence::PresenceEvent,
};

/// What happened for one app since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    inbound: BySource,
    outbound: BySource,
    persisted: Kinds,
    pub connections: Coming,
    pub channels: Coming,
    pub token_requests: Outcomes,
    /// All other requests.
    pub requests: Outcomes,
}

/// By what something came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Realtime,
    Rest,
}

impl Source {
    const ALL: [Self; 2] = [Self::Realtime, Self::Rest];

    const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Rest => "rest",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BySource([Kinds; Source::ALL.len()]);

/// Messages and presence events are counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    messages: Volume,
    presence: Volume,
}

/// Items that went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub count: u64,
    /// In bytes, as the limits count them (`docs/protocols/ably.md §3.7`).
    pub data: u64,
    /// Items that were refused; they are in none of the two others.
    pub refused: u64,
}

/// What opens and closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coming {
    pub opened: u64,
    pub closed: u64,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub succeeded: u64,
    pub failed: u64,
    pub refused: u64,
}

impl Outcomes {
    /// Counts a request by the status of its answer: what the server could not do has failed, the rest is refused.
    pub const fn count(&mut self, status: u16) {
        match status {
            ..400 => self.succeeded += 1,
            400..500 => self.refused += 1,
            500.. => self.failed += 1,
        }
    }
}

/// The items of a body, of one kind.
#[derive(Clone, Copy)]
enum Kind {
    Messages,
    Presence,
}

fn weigh(body: &Body) -> Option<(Kind, Volume)> {
    let (kind, count, data) = match body {
        Body::Messages(messages) => (Kind::Messages, messages.len(), messages.iter().map(|item| item.size()).sum()),
        Body::Presence(events) => (Kind::Presence, events.len(), events.iter().map(|item| item.size()).sum()),
        Body::Operation(operation) => (Kind::Messages, 1, operation.size()),
        Body::Annotations(annotations) => {
            (Kind::Messages, annotations.len(), annotations.iter().map(|item| item.size()).sum())
        }
        Body::Objects(operations) => {
            (Kind::Messages, operations.len(), operations.iter().map(|item| item.size()).sum())
        }
        Body::Occupancy(_) | Body::Summary(_) => return None,
    };
    let data: usize = data;
    Some((kind, Volume { count: count as u64, data: data as u64, refused: 0 }))
}

impl Kinds {
    fn add(&mut self, kind: Kind, volume: Volume) {
        match kind {
            Kind::Messages => self.messages += volume,
            Kind::Presence => self.presence += volume,
        }
    }
}

/// What a client hands in, weighed before it is known whether it is taken.
pub struct Weighed(Option<(Kind, Volume)>);

impl Weighed {
    pub fn of(body: &Body) -> Self {
        Self(weigh(body))
    }
}

impl Traffic {
    pub fn came_in(&mut self, source: Source, Weighed(weighed): Weighed, is_taken: bool) {
        if let Some((kind, volume)) = weighed {
            let refused = Volume { refused: volume.count, ..Volume::default() };
            self.inbound.0[source as usize].add(kind, if is_taken { volume } else { refused });
        }
    }

    /// An entry was delivered so many times.
    pub fn went_out(&mut self, entry: &Entry, deliveries: u64) {
        if let Some((kind, Volume { count, data, .. })) = weigh(&entry.body) {
            let volume = Volume { count: count * deliveries, data: data * deliveries, refused: 0 };
            self.outbound.0[Source::Realtime as usize].add(kind, volume);
        }
    }

    /// An item of an entry was read by a request.
    pub fn was_read(&mut self, entry: &Entry, index: usize) {
        let (kind, size) = match &entry.body {
            Body::Messages(messages) => (Kind::Messages, messages.get(index).map(Message::size)),
            Body::Presence(events) => (Kind::Presence, events.get(index).map(PresenceEvent::size)),
            Body::Operation(operation) => (Kind::Messages, Some(operation.size())),
            Body::Annotations(annotations) => (Kind::Messages, annotations.get(index).map(Annotation::size)),
            Body::Objects(_) | Body::Occupancy(_) | Body::Summary(_) => return,
        };
        if let Some(size) = size {
            let volume = Volume { count: 1, data: size as u64, refused: 0 };
            self.outbound.0[Source::Rest as usize].add(kind, volume);
        }
    }

    pub fn was_persisted(&mut self, entry: &Entry) {
        if let Some((kind, volume)) = weigh(&entry.body) {
            self.persisted.add(kind, volume);
        }
    }

    /// Everything that is not 0, by its name.
    pub fn named(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let ways = [("inbound", &self.inbound), ("outbound", &self.outbound)];
        let volumes = ways.into_iter().flat_map(|(way, sources)| {
            Source::ALL.into_iter().flat_map(move |source| {
                let Kinds { messages, presence } = sources.0[source as usize];
                let path = move |kind| format!("messages.{way}.{}.{kind}", source.name());
                [(path("messages"), messages), (path("presence"), presence)]
            })
        });
        let Kinds { messages, presence } = self.persisted;
        let kept = [
            ("messages.persisted.messages".to_owned(), messages),
            ("messages.persisted.presence".to_owned(), presence),
        ];
        let volumes = volumes.chain(kept).flat_map(|(path, Volume { count, data, refused })| {
            [("count", count), ("data", data), ("refused", refused)]
                .map(|(name, number)| (format!("{path}.{name}"), number))
        });
        let requests = [("tokenRequests", self.token_requests), ("other", self.requests)];
        let requests = requests.into_iter().flat_map(|(kind, Outcomes { succeeded, failed, refused })| {
            [("succeeded", succeeded), ("failed", failed), ("refused", refused)]
                .map(|(name, number)| (format!("apiRequests.{kind}.{name}"), number))
        });
        let opened = [("connections.all.opened", self.connections), ("channels.opened", self.channels)];
        let opened = opened.map(|(name, coming)| (name.to_owned(), coming.opened));
        volumes.chain(requests).chain(opened).filter(|(_, number)| *number > 0)
    }
}

/// Adds the fields of two structs.
macro_rules! sums {
    ($($of:ident { $($field:ident),* })*) => {$(
        impl AddAssign for $of {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }
    )*};
}

sums! {
    Volume { count, data, refused }
    Kinds { messages, presence }
    Coming { opened, closed }
    Outcomes { succeeded, failed, refused }
    Traffic { inbound, outbound, persisted, connections, channels, token_requests, requests }
}

impl AddAssign for BySource {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(kinds, more)| *kinds += more);
    }
}
