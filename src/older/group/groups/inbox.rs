//! What other instances and services say (`docs/protocols/group.md §7`). Any of it may come twice.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, atomic::Ordering},
};

use bytestring::ByteString;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{self, MissedTickBehavior},
};

use super::Groups;
use crate::{
    core::message::EntryId,
    ids::ClientId,
    limits,
    older::group::{
        code::Code,
        message::{GroupMessage, group_channel, to_json},
        repository::{self, At, Numbers},
        streams::{Author, Event, Receipt, Received},
    },
    store::{Batch, StoreError},
};

impl Groups {
    /// Does what comes, for ever, unless another worker thread does or there is no Redis.
    pub async fn listen(self: &Arc<Self>) {
        let Some(Ok(mut inbox)) = self.inbox.as_ref().map(AsyncMutex::try_lock) else {
            return;
        };
        let mut looks = time::interval(limits::GROUP_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = inbox.recv() => match received {
                    Some(received) => self.hear(received).await,
                    None => return,
                },
                // While it is away, clients are told so when they ask for something.
                _ = looks.tick() => drop(self.look_at_store(false).await),
            }
        }
    }

    /// Without `receipt.done()` it comes again: what the disk did not take.
    async fn hear(self: &Arc<Self>, received: Received) {
        let Received { event, id, author, is_live, receipt } = received;
        let (change, heard) = match event {
            Event::Message(message) if self.is_shared() => {
                let number = Numbers::of(id);
                let is_heard = self.hear_in_order(message, number, author, is_live).await;
                self.heard.fetch_max(number, Ordering::Relaxed);
                if is_heard {
                    receipt.done();
                }
                return;
            }
            Event::Message(message) => return self.hear_message(message, receipt),
            Event::Changed(change) => {
                self.hear_change(change, id, author);
                return receipt.done();
            }
            Event::ReadAgain => {
                self.heard.fetch_max(Numbers::of(id), Ordering::Relaxed);
                if self.look_at_store(true).await.is_ok() {
                    receipt.done();
                }
                return;
            }
            // Nodes hear of those among the changes.
            Event::MemberAdded(_) | Event::MemberRemoved(_) if author != Author::Other => return receipt.done(),
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

    /// A message as all nodes hear it. What a node has said is stored; what a service has, is stored by the first of them. False: it
    /// has to come again, and what is behind it after it.
    async fn hear_in_order(
        self: &Arc<Self>,
        message: GroupMessage,
        number: u64,
        author: Author,
        is_live: bool,
    ) -> bool {
        let (channel, id) = (group_channel(&message.group_id), message.message_id.clone());
        if self.deliveries.is_full(&channel) {
            return false;
        }
        let json = to_json(&message);
        match author {
            Author::Node => {}
            Author::Own => self.until_settled(&id).await,
            Author::Other => {
                let batch = repository::expect_new(Batch::new(), &id);
                let batch = repository::put_message(batch, At::Number(number), &message, &json);
                let found = match self.repository.commit(batch).await {
                    Ok(_) => Ok(Some(number)),
                    Err(StoreError::Changed) => self.repository.number(&id).await,
                    Err(error) => Err(error),
                };
                match found {
                    Ok(found) if found == Some(number) => {}
                    // It stands in the stream twice.
                    Ok(_) => return true,
                    Err(error) => {
                        self.not_stored(&error);
                        return false;
                    }
                }
            }
        }
        if is_live {
            self.publish(channel, ClientId::new(&*message.sender_id), json.into(), self.entry_id(number));
        }
        true
    }

    /// A message that was sent elsewhere: kept here as well, so that history and resuming are the same on every instance.
    fn hear_message(self: &Arc<Self>, message: GroupMessage, receipt: Receipt) {
        // Not done, it comes again, and what is behind it after it.
        if self.deliveries.is_full(&group_channel(&message.group_id)) {
            return;
        }
        let is_kept = self.membership.read().get(&message.group_id).is_some();
        let (id, json) = (message.message_id.clone(), ByteString::from(to_json(&message)));
        // Noted before it is looked for: between the two it could have come to disk.
        match self.storing.lock().entry(id.clone()) {
            // On its way there, which may fail: it comes again.
            Entry::Occupied(_) => return,
            known => drop(known.or_default()),
        }
        let known = self.read(self.repository.find(&id));
        if known == Ok(None) && is_kept {
            let groups = Arc::clone(self);
            return self.store(&message, json, None, move |outcome| {
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
