//! Letters on their way in and out of mailboxes (`docs/protocols/postoffice.md §4`).
//!
//! A letter is published to the channel of its mailbox and stays in the queue until a reader has confirmed it. It is written to
//! disk when nobody reads it now, and when its reader goes or falls behind.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_web::rt;
use bytes::Bytes;

use crate::{
    core::message::EntryId,
    error::Fault,
    ids::{ChannelName, Timestamp},
    older::postoffice::{
        owner::Taken,
        refusal::Refusal,
        shared::{Mailbox, Shared},
    },
    store::{
        Commit,
        mailbox::{Contents, Full, Message},
    },
};

/// A letter for a mailbox.
pub struct NewLetter {
    pub text: Bytes,
    pub level: i64,
    /// Who sent it, and the id that the sender gave it: the same again is not delivered twice.
    pub id: Option<Arc<str>>,
}

impl Shared {
    /// Puts a letter into a mailbox. `publish` sends it to the channel under its number, while nobody else can put one in,
    /// so that the channel has them in the order of their numbers. `on_loss` is called when the letter could not be stored.
    ///
    /// # Errors
    /// What the sender is told.
    pub fn put(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        letter: NewLetter,
        publish: impl FnOnce(&ChannelName, EntryId) -> Result<(), Fault>,
        on_loss: impl FnOnce() + 'static,
    ) -> Result<(), Refusal> {
        let NewLetter { text, level, id } = letter;
        let bytes = text.len();
        let message = Message { body: text, bytes, since: self.clock.now(), level, key: "".into() };
        let mut contents = mailbox.lock();
        let Contents { queue, owner } = &mut *contents;
        let (storage, uptime) = (self.storage(), self.clock.uptime());
        let taken = owner.take_in((message, id), queue, storage, &self.mailboxes.payers, uptime);
        if let Err(_) | Ok(Taken::Dropped) = &taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let (put, to_disk) = match taken {
            Ok(Taken::In { put, to_disk }) => (put, to_disk),
            Ok(Taken::Again | Taken::Dropped) => return Ok(()),
            Err(Full::Owner) => return Err(Refusal::MailboxFull(storage.bounds.messages)),
            Err(Full::All) => return Err(Refusal::AllMailboxesFull),
            Err(Full::Memory(full)) => return Err(full.to_fault().into()),
        };
        let (number, displaced) = (put.number, put.displaced.len() as u64);
        let entry_id = EntryId::Frame { connection: owner.publisher, msg_serial: number };
        if publish(&owner.channel, entry_id).is_err() {
            // The reader finds the letter in the queue when it answers.
            owner.readers.iter().for_each(|reader| reader.handle.transport.probe());
        }
        self.note_displaced(&mailbox.name, displaced);
        if !to_disk {
            drop(contents);
            self.mailboxes.discard(mailbox, put.displaced);
            return Ok(());
        }
        drop(contents);
        let written = self.mailboxes.write(mailbox, put);
        let (shared, mailbox) = (Arc::clone(self), Arc::clone(mailbox));
        self.watch(written, "a letter could not be written to disk, and its sender is told", move || {
            mailbox.lock().owner.forget(number);
            // What was displaced has come back.
            shared.dropped.fetch_sub(displaced, Ordering::Relaxed);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            on_loss();
        });
        Ok(())
    }

    /// The senders of letters that make room for others are told nothing (`§4`): it is counted, and the operator hears of it.
    pub(super) fn note_displaced(&self, mailbox: &str, displaced: u64) {
        self.dropped.fetch_add(displaced, Ordering::Relaxed);
        if displaced > 0
            && let Some(more) = self.full_warning.allows(&self.clock)
        {
            let letters = self.settings.mailbox_messages;
            tracing::warn!(mailbox, letters, more, "letters make room for others (postoffice.mailbox_messages)");
        }
    }

    /// The text of a letter that is on disk; none when it cannot be read.
    pub fn text(&self, mailbox: &Mailbox, number: u64) -> Option<Bytes> {
        let body = self.mailboxes.body(&mailbox.name, number);
        body.unwrap_or_else(|error| {
            if let Some(more) = self.disk_warning.allows(&self.clock) {
                tracing::error!(%error, more, "a stored letter cannot be read and is not delivered");
            }
            None
        })
    }

    /// Writes to disk what a mailbox has in memory only, if nobody reads it now.
    pub fn spill(self: &Arc<Self>, mailbox: &Arc<Mailbox>) {
        if self.mailboxes.sharing().is_some() {
            return;
        }
        let is_due = {
            let owner = &mailbox.lock().owner;
            owner.is_remembered && owner.readers.iter().all(|reader| reader.is_behind)
        };
        if is_due
            && self.storage().is_on
            && let Some(written) = self.mailboxes.spill(mailbox)
        {
            self.watch(
                written,
                "letters could not be written to disk; they stay in memory, and are tried again",
                || {},
            );
        }
    }

    /// Removes the letters of a mailbox that have waited too long, and forgets the ids of those that came long ago.
    pub fn expire(&self, mailbox: &Mailbox) {
        self.mailboxes.expire(mailbox, self.oldest());
        mailbox.lock().owner.forget_old(self.clock.uptime());
    }

    /// What came before has waited too long.
    fn oldest(&self) -> Timestamp {
        let age = Duration::as_millis(&self.settings.mailbox_age) as u64;
        Timestamp::from_millis(self.clock.now().millis().saturating_sub(age).saturating_add(1))
    }

    /// Removes what is too old, and tries again what could not be written, or was not told.
    pub async fn sweep(self: &Arc<Self>) {
        if self.mailboxes.sharing().is_some() {
            match self.mailboxes.sweep(self.oldest()).await {
                Ok(owners) => {
                    let read = owners.iter().filter_map(|(name, _)| self.mailboxes.find(name));
                    read.for_each(|mailbox| self.fetch(&mailbox));
                }
                Err(error) => tracing::debug!(%error, "letters are swept later"),
            }
            // What was told to this node and did not come.
            let _ = self.look_at_all().await;
        }
        for mailbox in self.mailboxes.all() {
            self.expire(&mailbox);
            self.spill(&mailbox);
            // One that was made for a connection which then did not open.
            self.mailboxes.release(&mailbox);
        }
    }

    /// Calls `on_failure` when a write has failed, which the operator hears of.
    pub(super) fn watch(self: &Arc<Self>, written: Commit, what: &'static str, on_failure: impl FnOnce() + 'static) {
        let shared = Arc::clone(self);
        rt::spawn(async move {
            let Err(error) = written.await else { return };
            if let Some(more) = shared.disk_warning.allows(&shared.clock) {
                tracing::error!(%error, more, "{what}");
            }
            on_failure();
        });
    }
}
