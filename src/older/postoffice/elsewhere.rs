//! Letters where several nodes share the mailboxes (`docs/cluster.md`): a letter is in the store before it is published to the channel
//! of its mailbox, and what is published says to the connections that read it, at whichever node, that something waits.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use actix_web::{rt, rt::time::timeout};
use bytes::Bytes;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};

use crate::{
    actors::{
        accounts::{Full as NoRoom, Kind},
        broker::Broker,
        transport::context::TransportContext,
    },
    config::FromCheck,
    core::{
        command::Publish,
        message::{Data, EntryId, Message},
    },
    error::Fault,
    ids::ConnectionId,
    limits,
    older::postoffice::{
        connection::Connection,
        letter::Letter,
        refusal::{About, Refusal, cut},
        shared::{Mailbox, REMEMBERED, Shared},
    },
    store::{
        Read, StoreError,
        mailbox::{Full, Message as Waiting, Posted},
    },
};

/// Names the letters of a mailbox among the entries of its channel, together with their numbers. The id of a connection cannot be
/// chosen, so nobody else publishes under it.
pub fn publisher_of(name: &str) -> ConnectionId {
    let digest = Sha256::new_with_prefix(b"postoffice ").chain_update(name).finalize();
    let mut bytes = [0; 9];
    bytes.copy_from_slice(&digest[..9]);
    ConnectionId::from_bytes(bytes)
}

/// A letter on its way.
struct Sending {
    shared: Arc<Shared>,
    broker: Arc<Broker>,
    sender: Arc<str>,
    publisher: ConnectionId,
    /// Who may be named as the sender if no mailbox has that name.
    claimed: BTreeSet<String>,
    message: Message,
    text: Bytes,
    level: i64,
    id: Option<String>,
    is_heartbeat: bool,
}

/// Gives a letter to its recipients, behind those that the same client has sent before. Whom it does not reach is told later.
///
/// # Errors
/// There is no memory for it.
pub fn send(
    connection: &Connection,
    letter: &Letter<'_>,
    message: Message,
    names: Vec<String>,
    about: &About<'_>,
    transport: &mut TransportContext<'_>,
) -> Result<(), Refusal> {
    let (Data::Text(text), Some(turn)) = (&message.payload.data, connection.letters.clone()) else { return Ok(()) };
    let text = text.as_bytes().clone();
    let charge = transport.charge(Kind::Inbound, text.len() + limits::POST_SENDING_COST).map_err(NoRoom::to_fault)?;
    let shared = Arc::clone(&connection.shared);
    let sender = Arc::clone(&connection.mailbox.name);
    let is_foreign = |from: &str| from != &*sender && !connection.principal.covers(from);
    let claimed = match shared.settings.from_check {
        FromCheck::Known => letter.senders().filter(|from| is_foreign(from)).map(Into::into).collect(),
        FromCheck::Off | FromCheck::Strict => BTreeSet::new(),
    };
    let id = letter.shown("id").filter(|id| id.len() <= limits::MESSAGE_ID_BYTES).map(Into::into);
    let sending = Sending {
        shared,
        broker: Arc::clone(&transport.worker().broker),
        sender,
        publisher: transport.connection(),
        claimed,
        level: letter.level(),
        id,
        is_heartbeat: letter.is_heartbeat(),
        message,
        text,
    };
    let handle = transport.handle();
    let abouts: Vec<_> = names.iter().map(|name| about.to(name)).collect();
    rt::spawn(async move {
        let _charge = charge;
        let turn = timeout(limits::MAILBOX_TURN, turn.lock()).await;
        let give = async |name: &String| match &turn {
            Ok(_) => sending.give(name).await,
            Err(_) => Err(Fault::Busy.into()),
        };
        let given = join_all(names.iter().map(give)).await;
        let frames = given.into_iter().zip(&abouts).filter_map(|(given, about)| Some(given.err()?.frame(about)));
        let frames: Vec<Bytes> = frames.collect();
        if !frames.is_empty() && !sending.shared.is_silent() {
            handle.send(frames);
        }
    });
    Ok(())
}

fn unavailable(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full => Refusal::NotStored,
        error => error.to_fault().into(),
    }
}

impl Sending {
    async fn give(&self, name: &str) -> Result<(), Refusal> {
        let shared = &self.shared;
        for from in &self.claimed {
            if shared.known(from).await.map_err(|error| unavailable(&error))?.is_some() {
                return Err(Refusal::ForeignSender(cut(from)));
            }
        }
        let mailbox = shared.known(name).await.map_err(|error| unavailable(&error))?;
        let mailbox = mailbox.ok_or_else(|| Refusal::UnknownRecipient(cut(name)))?;
        let storage = shared.storage();
        let id = if self.is_heartbeat || !storage.is_on {
            EntryId::Serial
        } else {
            let Some(number) = self.store(&mailbox).await? else { return Ok(()) };
            EntryId::Frame { connection: publisher_of(name), msg_serial: number }
        };
        let is_stored = id != EntryId::Serial;
        let channel = mailbox.lock().owner.channel.clone();
        let publish = Publish {
            publisher: Some(self.publisher),
            is_ephemeral: self.is_heartbeat,
            ..Publish::message(id, self.message.clone())
        };
        match self.broker.publish(&channel, publish).await {
            Ok(_) => Ok(()),
            // Its reader finds it all the same.
            Err(_) if is_stored => {
                shared.fetch(&mailbox);
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// The number of the letter; none: it came before.
    async fn store(&self, mailbox: &Mailbox) -> Result<Option<u64>, Refusal> {
        let (shared, storage) = (&self.shared, self.shared.storage());
        let waiting = Waiting {
            body: self.text.clone(),
            bytes: self.text.len(),
            since: shared.clock.now(),
            level: self.level,
            key: "".into(),
        };
        let once = self.id.as_ref().map(|id| [&*mailbox.name, &*self.sender, id].join("\0").into_bytes());
        let posted = shared.mailboxes.post(mailbox, waiting, storage.bounds, once).await;
        match posted.map_err(|error| unavailable(&error))? {
            Posted::Kept { number, displaced } => {
                shared.note_displaced(&mailbox.name, displaced);
                Ok(Some(number))
            }
            Posted::Known => Ok(None),
            Posted::Full(full) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
                Err(match full {
                    Full::Owner => Refusal::MailboxFull(storage.bounds.messages),
                    Full::All => Refusal::AllMailboxesFull,
                    Full::Memory(full) => full.to_fault().into(),
                })
            }
        }
    }
}

impl Shared {
    /// The mailbox of this name, if it has been opened before, at whichever node.
    pub async fn known(&self, name: &str) -> Result<Option<Arc<Mailbox>>, StoreError> {
        let found = self.mailboxes.find(name);
        let is_known = |mailbox: &Arc<Mailbox>| mailbox.lock().owner.is_kept();
        if self.mailboxes.sharing().is_none() || found.as_ref().is_some_and(is_known) {
            return Ok(found);
        }
        if self.store.read_one(Read::get(REMEMBERED, name)).await?.value()?.is_none() {
            return Ok(found);
        }
        let mailbox = self.mailboxes.of(name);
        mailbox.lock().owner.is_known = true;
        Ok(Some(mailbox))
    }

    /// Takes in hand what waits in a mailbox that is read here, and tells its readers.
    pub fn fetch(self: &Arc<Self>, mailbox: &Arc<Mailbox>) {
        let (mailboxes, let_go) = (Arc::clone(&self.mailboxes), Arc::clone(mailbox));
        self.mailboxes.fetch(
            mailbox,
            |mailbox| !mailbox.lock().owner.readers.is_empty(),
            |mailbox| mailbox.lock().owner.readers.iter().for_each(|reader| reader.handle.transport.nudge()),
            async move { mailboxes.let_go(&let_go) },
        );
    }
}
