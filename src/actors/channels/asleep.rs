//! A channel that is only published to here, of a log that nodes share: the log orders and keeps what is published, and whoever has
//! the channel open hears of it, so it needs neither an actor nor a subscription (`docs/design/cluster.md §7`).

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    actors::{
        accounts::{Full, Kind},
        broker::Broker,
        worker::Worker,
    },
    core::{
        command::Publish,
        dedupe::{Content, Published},
        message::{Body, Draft, Entry},
        serial::{Epoch, Serial},
        stats::{Source, Weighed},
    },
    error::Fault,
    ids::ChannelName,
    log::{
        StoreError,
        shared::{SharedLog, Told},
    },
};

const NOTHING_SEEN: Serial = Serial::at(Epoch::new(0), (0, 0));

impl Broker {
    /// The log to append to, if this is judged by nothing that a channel knows, and no channel is open that would deliver it at once.
    pub(super) fn asleep(&self, name: &ChannelName, publish: &Publish) -> Option<SharedLog> {
        let log = self.log.shared_by(name)?;
        let is_kept =
            matches!(&publish.body, Body::Messages(messages) if !messages.is_empty()) && !publish.is_ephemeral;
        let is_plain = is_kept && publish.refusal.is_none() && publish.attached.is_none();
        (is_plain && self.directory.open(name).is_none()).then_some(log)
    }

    /// Appends messages to a channel that is not open.
    pub(super) async fn append_asleep(
        self: &Arc<Self>,
        log: &SharedLog,
        name: &ChannelName,
        publish: Publish,
    ) -> Result<Published, Fault> {
        let weighed = Weighed::of(&publish.body);
        let (entry, content) = self.unseen(name, publish);
        let worker = Worker::on_this_thread(self);
        let charge = self.accounts.app(name.app()).charge(Kind::Inbound, entry.cost()).map_err(Full::to_fault);
        let outcome = match charge {
            Err(fault) => Err(fault),
            Ok(_charge) => {
                let (told, answer) = oneshot::channel();
                log.append(&entry, content, NOTHING_SEEN, None, Box::new(|outcome| drop(told.send(outcome))));
                match answer.await.unwrap_or(Err(StoreError::Closed)) {
                    Ok(Told::Kept { serial, .. }) => {
                        worker.count(|counters| counters.published += 1);
                        if self.namespaces.terms(name).attributes.is_persisted {
                            worker.count_for(name.app(), |traffic| traffic.was_persisted(&entry));
                        }
                        Ok(Published { serial, len: entry.len() })
                    }
                    Ok(Told::Again(published)) => Ok(published),
                    // These are answers to what was judged.
                    Ok(Told::Behind | Told::Fenced | Told::Bare) => Err(Fault::Internal),
                    Err(error) => Err(self.not_taken(&error)),
                }
            }
        };
        worker.count_for(name.app(), |traffic| traffic.came_in(Source::Rest, weighed, outcome.is_ok()));
        outcome
    }

    /// The same of what the server says itself; nobody hears what comes of it.
    pub(super) fn put_asleep(&self, log: &SharedLog, name: &ChannelName, publish: Publish) {
        let (entry, content) = self.unseen(name, publish);
        log.append(&entry, content, NOTHING_SEEN, None, Box::new(drop));
    }

    /// An entry for a log of which nothing is known here.
    fn unseen(&self, name: &ChannelName, publish: Publish) -> (Entry, Content) {
        let Publish { publisher, id, body, is_ephemeral, .. } = publish;
        let content = Content::of(&id, &body);
        let draft = Draft { channel: name.clone(), publisher, id, body, is_ephemeral, content };
        (Entry::of(draft, NOTHING_SEEN, self.clock.now()), content)
    }

    /// What a publisher is told.
    pub(super) fn not_taken(&self, error: &StoreError) -> Fault {
        if let Some(more) = self.disk_warning.allows(&self.clock) {
            tracing::warn!(%error, more, "a message was refused: the log that the nodes share did not take it");
        }
        error.to_fault()
    }
}
