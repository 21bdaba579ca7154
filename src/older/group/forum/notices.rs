//! Notifications (`docs/protocols/group.md §6`): kept until they are read, and sent to all connections of their user.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use super::Forum;
use crate::{
    core::message::{EntryId, Message, Payload},
    limits,
    older::group::{
        code::Code,
        courier::Parcel,
        post::{NOTIFICATION, Notice, VERIFY_PROGRESS, user_channel},
        shelf::{KeptNotice, Shelf},
        streams::{Notification, Outgoing, VerifyProgress},
    },
    store::{Batch, StoreError},
};

impl Forum {
    /// Keeps a notification as unread and sends it, on every instance. False: the user has it already.
    ///
    /// # Errors
    /// What the disk says; then nobody has got it.
    pub async fn notify(self: &Arc<Self>, user: &str, notice: Notice) -> Result<bool, Code> {
        let outgoing = match self.bus() {
            Some(bus) => {
                let prepared = bus.notification(&join(user, &notice));
                Some(prepared.map_err(|_| Code::NotStored)?)
            }
            None => None,
        };
        // Before it can come back.
        if outgoing.is_some() {
            let mut echoes = self.echoes.lock();
            if echoes.len() >= limits::GROUP_ECHOES {
                echoes.pop_front();
            }
            echoes.push_back((user.to_owned(), notice.notification_id.clone()));
        }
        let shown = notice.clone();
        let kept = self.keep_notice(user, notice, outgoing).await;
        if kept == Ok(true) {
            self.show_notice(user, &shown);
        } else {
            self.is_echo(user, &shown);
        }
        kept
    }

    /// Whether a notification that Redis brings is one that was sent from here, and shown then.
    pub(super) fn is_echo(&self, user: &str, notice: &Notice) -> bool {
        let mut echoes = self.echoes.lock();
        let is_it = |(to, id): &(String, String)| to == user && *id == notice.notification_id;
        let place = echoes.iter().position(is_it);
        place.and_then(|place| echoes.remove(place)).is_some()
    }

    /// Keeps a notification as unread. False: the user has it already.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) async fn keep_notice(
        self: &Arc<Self>,
        user: &str,
        notice: Notice,
        outgoing: Option<Outgoing>,
    ) -> Result<bool, Code> {
        let name = (user.to_owned(), notice.notification_id.clone());
        // Taken before it is looked for, so that of two who bring it one waits for the other: what became of that one
        // is known when the disk is done with what it was handed before.
        while !self.keeping.lock().insert(name.clone()) {
            let settled = self.commit(Batch::new()).await;
            settled.map_err(|error| self.told(&error))?;
        }
        let known = self.shelf.has_notice(user, &notice.notification_id);
        if !matches!(known, Ok(false)) {
            self.keeping.lock().remove(&name);
            return known.map(|_| false).map_err(|error| self.told(&error));
        }
        let forum = Arc::clone(self);
        let until = self.too_old_at();
        let (told, outcome) = oneshot::channel();
        {
            let mut outgoing = outgoing;
            let mut line = self.line.lock();
            line.last += 1;
            let mut batch = Shelf::put_notice(Batch::new(), user, line.last, &notice, until);
            if let Some(outgoing) = &mut outgoing {
                batch = outgoing.row(batch);
            }
            let done = Box::new(move |result: Result<_, StoreError>| {
                forum.keeping.lock().remove(&name);
                if let (Ok(_), Some(outgoing)) = (&result, outgoing) {
                    outgoing.send();
                }
                let _ = told.send(result.map(drop));
            });
            self.shelf.submit(batch, done);
        }
        self.kept(outcome).await?;
        Ok(true)
    }

    /// Sends a notification to the connections of its user here.
    pub(super) fn show_notice(&self, user: &str, notice: &Notice) {
        // Cannot fail: texts and a number.
        let data = serde_json::to_string(notice).unwrap_or_default();
        let id = EntryId::Item(notice.notification_id.as_str().into());
        self.show(user, NOTIFICATION, id, data);
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
        if self.roll.since(user).is_none() || self.courier.is_full(&channel) {
            return;
        }
        self.courier.hand_over(Parcel::Publish {
            channel,
            id,
            message: Message { name: name.into(), payload: Payload::json(data.into()), ..Message::default() },
            is_ephemeral: true,
        });
    }

    /// A page of a user's notifications, the newest first; how many there are; how many are unread.
    ///
    /// # Errors
    /// What the disk says.
    pub fn notices(&self, user: &str, skip: usize, limit: usize) -> Result<(Vec<KeptNotice>, usize, usize), Code> {
        let page = self.shelf.notices(user, skip, limit);
        let (page, total) = page.map_err(|error| self.told(&error))?;
        Ok((page, total, self.unread_notices(user)?))
    }

    /// # Errors
    /// What the disk says.
    pub fn unread_notices(&self, user: &str) -> Result<usize, Code> {
        self.shelf.unread(user).map_err(|error| self.told(&error))
    }

    /// Marks these as read, or all; how many were not.
    ///
    /// # Errors
    /// What the disk says; then none is.
    pub async fn read_notices(self: &Arc<Self>, user: &Arc<str>, ids: Option<Vec<String>>) -> Result<usize, Code> {
        let user = Arc::clone(user);
        let marked = self.beside(move |forum| {
            let marked = forum.shelf.read_notices(&user, ids.as_deref());
            marked.map_err(|error| forum.told(&error))
        });
        let (batch, count) = marked.await?;
        let committed = self.commit(batch).await;
        committed.map_err(|error| self.told(&error))?;
        Ok(count)
    }
}

fn join(user: &str, notice: &Notice) -> Notification {
    Notification {
        user_id: user.to_owned(),
        notification_id: notice.notification_id.clone(),
        kind: notice.kind.clone(),
        title: notice.title.clone(),
        content: notice.content.clone(),
        created_at: notice.created_at.cast_signed(),
    }
}
