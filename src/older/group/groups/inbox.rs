//! What other instances and services say (`docs/protocols/group.md §7`). Any of it may come twice.

use std::{collections::hash_map::Entry, sync::Arc};

use bytestring::ByteString;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{self, MissedTickBehavior},
};

use super::Groups;
use crate::{
    core::message::EntryId,
    engines::redis,
    ids::ClientId,
    limits,
    older::group::{
        code::Code,
        message::{GroupMessage, group_channel, to_json},
        repository::Numbers,
        streams::{Event, Receipt, Received},
    },
};

impl Groups {
    /// Does what comes, for ever, unless another worker thread does or there is no Redis.
    pub async fn listen(self: &Arc<Self>) {
        let Some(Ok(mut inbox)) = self.inbox.as_ref().map(AsyncMutex::try_lock) else {
            return;
        };
        let mut looks = time::interval(limits::GROUP_RETURN_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = inbox.recv() => match received {
                    Some(Received { event, id, receipt }) => self.hear(event, id, receipt).await,
                    None => return,
                },
                _ = looks.tick() => self.give_up(),
            }
        }
    }

    /// Without `receipt.done()` it comes again: what the disk did not take.
    async fn hear(self: &Arc<Self>, event: Event, id: redis::EntryId, receipt: Receipt) {
        let (change, heard) = match event {
            Event::Message(message) => return self.hear_message(message, id, receipt),
            Event::Notification(notification) => {
                if !self.is_echo(&notification) {
                    self.show_notification(&notification);
                }
                return receipt.done();
            }
            Event::StoreNotification(notification) => {
                if self.store_notification(&notification, None).await.is_ok() {
                    receipt.done();
                }
                return;
            }
            Event::VerifyProgress(progress) => {
                self.show_progress(&progress);
                return receipt.done();
            }
            Event::MemberAdded(it) => ("added", self.add_from_elsewhere(&it.group_id, &it.user_id).await),
            Event::MemberRemoved(it) => ("removed", self.remove_from_elsewhere(&it.group_id, &it.user_id).await),
        };
        match heard {
            Err(Code::NotStored) => return,
            Err(code) => tracing::error!(?code, "a member that a stream names is not {change}"),
            Ok(()) => {}
        }
        receipt.done();
    }

    /// A message that was sent elsewhere, or, where the stream orders them, by one of our clients: kept here as well, so that
    /// history and resuming are the same on every instance.
    fn hear_message(self: &Arc<Self>, message: GroupMessage, at: redis::EntryId, receipt: Receipt) {
        // Not done, it comes again, and what is behind it after it.
        if self.deliveries.is_full(&group_channel(&message.group_id)) {
            return;
        }
        // Where the stream orders messages, that somebody is a member here may be read after the first of them: all are
        // kept.
        let is_kept = self.is_ordered() || self.membership.read().get(&message.group_id).is_some();
        let (id, json) = (message.message_id.clone(), ByteString::from(to_json(&message)));
        // Noted before it is looked for: between the two it could have come to disk.
        match self.storing.lock().entry(id.clone()) {
            // On its way there, which may fail: it comes again.
            Entry::Occupied(known) if known.get().is_written => return,
            known => known.or_default().is_written = true,
        }
        let known = self.read(self.repository.find(&id));
        if known == Ok(None) && is_kept {
            let groups = Arc::clone(self);
            let number = self.is_ordered().then(|| Numbers::of(at));
            return self.store(&message, json, None, number, move |outcome| {
                groups.settle(&id, &outcome);
                if outcome.is_ok() {
                    receipt.done();
                }
            });
        }
        self.settle(&id, &known.clone().map(drop));
        match known {
            // Nobody is a member; who watches the channel by another protocol gets it.
            Ok(None) => {
                let sender = ClientId::new(&*message.sender_id);
                self.publish(group_channel(&message.group_id), sender, json, EntryId::Item(id.into()));
            }
            Ok(Some(_)) => {}
            Err(_) => return,
        }
        receipt.done();
    }
}
