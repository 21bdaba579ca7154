//! Notifications (`docs/protocols/group.md §6`): kept until they are read, and sent to all connections of their user.

use std::sync::Arc;

use serde_json::json;

use super::{Delivery, Groups};
use crate::{
    core::{
        command::Publish,
        message::{EntryId, Message, Payload},
    },
    limits,
    older::group::{
        code::Code,
        message::{NOTIFICATION, Notification, VERIFY_PROGRESS, to_json, user_channel},
        repository::{Repository, StoredNotification},
        streams::{Outgoing, VerifyProgress},
    },
    store::{Batch, StoreError},
};

impl Groups {
    /// Keeps a notification as unread and sends it, on every instance. False: the user has it already.
    pub async fn notify(self: &Arc<Self>, notification: Notification) -> Result<bool, Code> {
        if self.is_shared() {
            self.check_room()?;
            return self.store_notification_once(&notification, true).await;
        }
        let outgoing = self.bus.as_ref().map(|bus| bus.notification(&notification)).transpose();
        let outgoing = outgoing.map_err(|_| Code::NotStored)?;
        // Before it can come back.
        if outgoing.is_some() {
            let mut echoes = self.echoes.lock();
            if echoes.len() >= limits::GROUP_ECHOES {
                echoes.pop_front();
            }
            echoes.push_back((notification.user_id.clone(), notification.notification_id.clone()));
        }
        let stored = self.store_notification(&notification, outgoing).await;
        if stored == Ok(true) {
            self.show_notification(&notification);
        } else {
            self.is_echo(&notification);
        }
        stored
    }

    /// Whether a notification that Redis brings is one that was sent from here, and shown then.
    pub(super) fn is_echo(&self, notification: &Notification) -> bool {
        let mut echoes = self.echoes.lock();
        let place =
            echoes.iter().position(|(user, id)| *user == notification.user_id && *id == notification.notification_id);
        place.and_then(|place| echoes.remove(place)).is_some()
    }

    /// Keeps a notification as unread. False: the user has it already.
    pub(super) async fn store_notification(
        self: &Arc<Self>,
        new: &Notification,
        outgoing: Option<Outgoing>,
    ) -> Result<bool, Code> {
        if self.is_shared() {
            return self.store_notification_once(new, false).await;
        }
        // One at a time: of two who bring it, the other finds it on disk, or stores it when the first could not.
        let turn = self.notifying.lock([&*new.user_id, "\0", &*new.notification_id].concat().into()).await;
        if self.read(self.repository.has_notification(&new.user_id, &new.notification_id).await)? {
            return Ok(false);
        }
        let until = self.too_old_at();
        let put = |batch, number| Repository::put_notification(batch, number, new, until);
        self.stored(self.commit_numbered(put, outgoing, move |_, _, _| drop(turn))).await?;
        Ok(true)
    }

    /// The same in the store of all nodes; one that is `told` comes to its user by the stream, at each of them.
    async fn store_notification_once(self: &Arc<Self>, new: &Notification, told: bool) -> Result<bool, Code> {
        let until = self.too_old_at();
        for _ in 0..limits::GROUP_TRIES {
            let outgoing = self.bus.as_ref().filter(|_| told).and_then(|bus| bus.notification(new).ok());
            let (number, _) = self.numbers.lock().give(self.clock.now(), Batch::new());
            let batch = Repository::expect_no_notification(Batch::new(), number, new);
            let batch = Repository::put_notification(batch, number, new, until);
            match self.commit(batch, outgoing, |_, _| {}).await {
                Ok(_) => return Ok(true),
                // Another node has given the number to another one.
                Err(StoreError::Changed) => {}
                Err(error) => return Err(self.not_stored(&error)),
            }
            if self.read(self.repository.has_notification(&new.user_id, &new.notification_id).await)? {
                return Ok(false);
            }
        }
        Err(Code::Busy)
    }

    /// Sends a notification to the connections of its user here.
    pub(super) fn show_notification(&self, new: &Notification) {
        let id = EntryId::Item(new.notification_id.as_str().into());
        self.show(&new.user_id, NOTIFICATION, id, to_json(new));
    }

    pub(super) fn show_progress(&self, progress: &VerifyProgress) {
        let data = json!({
            "verify_id": progress.verify_id,
            "status": progress.status,
            "refresh": progress.refresh,
        });
        self.show(&progress.user_id, VERIFY_PROGRESS, EntryId::Serial, data.to_string());
    }

    fn show(&self, user: &str, name: &'static str, id: EntryId, data: String) {
        // Whoever comes later, or takes nothing any more, asks for what it has not read.
        let channel = user_channel(user);
        if !self.online.is_online(user) || self.deliveries.is_full(&channel) {
            return;
        }
        let message = Message { name: name.into(), payload: Payload::json(data.into()), ..Message::default() };
        let publish = Publish { is_ephemeral: true, ..Publish::message(id, message) };
        self.deliveries.push(channel, Delivery::Publish(Box::new(publish)));
    }

    /// A page of a user's notifications, the newest first; how many there are; how many are unread.
    pub fn notifications(
        &self,
        user: &str,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<StoredNotification>, usize, usize), Code> {
        let (page, total) = self.read(self.repository.notifications(user, skip, limit))?;
        Ok((page, total, self.unread_notifications(user)?))
    }

    pub fn unread_notifications(&self, user: &str) -> Result<usize, Code> {
        self.read(self.repository.unread_notifications(user))
    }

    /// Marks these as read, or all; how many were not.
    pub async fn read_notifications(
        self: &Arc<Self>,
        user: &Arc<str>,
        ids: Option<Vec<String>>,
    ) -> Result<usize, Code> {
        let user = Arc::clone(user);
        let marked =
            self.beside(move |groups| groups.read(groups.repository.read_notifications(&user, ids.as_deref())));
        let (batch, count) = marked.await?;
        self.read(self.repository.commit(batch).await)?;
        Ok(count)
    }
}
