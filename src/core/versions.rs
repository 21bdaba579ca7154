//! Operations on messages that are on their way into the log (`docs/protocols/ably.md §9.2, §9.4`).
//!
//! What a message has become stands in the log; here is only what the log has not told yet. An operation is completed from the
//! version before it, so the channel learns that first ([`Versions::learn`]). Appends do not wait for each other: they are
//! judged by the kind and the size of those before them.

use std::sync::Arc;

use bytestring::ByteString;

use crate::{
    core::{
        budget::Account,
        growth::Grown,
        hashing::FastMap,
        message::{Data, Entry, Extras, Message, USER_CLAIM},
        operation::{Change, Latest, MessageRef, Operation},
    },
    error::{Fault, Found},
    ids::Timestamp,
    limits,
};

/// The messages with operations that are judged and not taken.
#[derive(Debug, Default)]
pub struct Versions {
    pending: FastMap<MessageRef, Pending>,
    /// Of the app: pays for messages that grow.
    account: Option<Account>,
}

/// One message.
#[derive(Debug)]
struct Pending {
    /// As the log has it.
    latest: Latest,
    /// The newest operation that the log has not told yet, how many there are, and whether all of them are appends.
    newest: Option<Arc<Entry>>,
    untold: usize,
    only_appends: bool,
    /// Bytes that those append.
    bytes: usize,
    /// Of the data, as soon as it has any: whether it is binary, and its encoding.
    shape: Option<(bool, ByteString)>,
}

/// What has to be known before an operation can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// The message as the log has it.
    Latest,
    /// What comes of the operations on it that are on their way.
    Outcomes,
}

impl Versions {
    pub fn charge_to(&mut self, account: Account) {
        self.account = Some(account);
    }

    pub fn needs(&self, operation: &Operation) -> Needs {
        match self.pending.get(&operation.target) {
            None => Needs::Latest,
            Some(pending) if pending.untold == 0 => Needs::Nothing,
            Some(pending) if operation.change == Change::Append && pending.only_appends => Needs::Nothing,
            Some(_) => Needs::Outcomes,
        }
    }

    /// The message as the log has it.
    pub fn learn(&mut self, latest: Latest) {
        let payload = latest.message().map(|message| message.payload.clone()).unwrap_or_default();
        let shape = shape_of(&payload.data, &payload.encoding).or_else(|| {
            let grown = latest.grown().map(|grown| grown.join())?;
            shape_of(&grown, &payload.encoding)
        });
        let pending = Pending { newest: None, untold: 0, only_appends: true, bytes: 0, shape, latest };
        self.pending.entry(pending.latest.target()).or_insert(pending);
    }

    /// Completes an operation.
    ///
    /// # Errors
    /// [`Fault::NotFound`]: there is no such message. [`Fault::NotOwn`], [`Fault::InvalidData`], [`Fault::TooLarge`],
    /// [`Fault::MemoryFull`].
    pub fn judge(&mut self, operation: &mut Operation, own_only: bool) -> Result<(), Fault> {
        let Some(pending) = self.pending.get(&operation.target) else {
            return Err(Fault::NotFound { what: "a message with this serial" });
        };
        pending.complete(operation, own_only, self.account.as_ref())
    }

    /// The operation for which a message was learnt is judged: nothing is kept of it when nothing came of that.
    pub fn judged(&mut self, target: MessageRef) {
        if self.pending.get(&target).is_some_and(|pending| pending.untold == 0) {
            self.pending.remove(&target);
        }
    }

    /// The time of an operation: each version is newer than the one before.
    pub fn timestamp(&self, operation: &Operation, now: Timestamp) -> Timestamp {
        let before = self.pending.get(&operation.target);
        let before = before.map(|pending| pending.newest.as_ref().unwrap_or(&pending.latest.entry).timestamp);
        now.max(Timestamp::from_millis(before.map_or(0, |before| before.millis() + 1)))
    }

    /// Notes what an append makes of its message, before the log has it; whether it is the first that is done to it, so that
    /// a log has nothing else to put the message together from.
    pub fn grow(&self, entry: &Entry) -> bool {
        let append = entry.operation().filter(|operation| operation.change == Change::Append);
        let Some((operation, pending)) = append.and_then(|append| Some((append, self.pending.get(&append.target)?)))
        else {
            return false;
        };
        operation.grow(&pending.latest, self.account.as_ref());
        pending.latest.entry.operation().is_none()
    }

    /// An operation is on its way into the log.
    pub fn stamped(&mut self, entry: &Arc<Entry>) {
        let Some(operation) = entry.operation() else {
            return;
        };
        if let Some(pending) = self.pending.get_mut(&operation.target) {
            let Message { payload, .. } = &operation.message;
            pending.untold += 1;
            if operation.change == Change::Append {
                pending.bytes += payload.data.len();
            } else {
                pending.only_appends = false;
                pending.shape = None;
            }
            pending.shape = pending.shape.take().or_else(|| shape_of(&payload.data, &payload.encoding));
            pending.newest = Some(Arc::clone(entry));
        }
    }

    /// The log has an operation, and all before it.
    pub fn taken(&mut self, entry: &Arc<Entry>) {
        self.settle(entry, |pending, operation, account| {
            if operation.change == Change::Append {
                operation.grow(&pending.latest, account);
            }
            pending.latest = Latest { entry: Arc::clone(entry), index: 0 };
        });
    }

    /// The log has refused it.
    pub fn withdrawn(&mut self, entry: &Entry) {
        self.settle(entry, |_, _, _| {});
    }

    fn settle(&mut self, entry: &Entry, note: impl FnOnce(&mut Pending, &Operation, Option<&Account>)) {
        let Some(operation) = entry.operation() else {
            return;
        };
        if let Some(pending) = self.pending.get_mut(&operation.target) {
            note(pending, operation, self.account.as_ref());
            pending.untold = pending.untold.saturating_sub(1);
            if operation.change == Change::Append {
                pending.bytes = pending.bytes.saturating_sub(operation.message.payload.data.len());
            }
            if pending.untold == 0 {
                self.pending.remove(&operation.target);
            }
        }
    }
}

impl Pending {
    fn complete(&self, operation: &mut Operation, own_only: bool, account: Option<&Account>) -> Result<(), Fault> {
        let newest = self.newest.as_ref().and_then(|newest| newest.operation());
        let known = newest.map(|newest| &newest.message).or_else(|| self.latest.message());
        let known = known.ok_or(Fault::Internal)?;
        let is_own = operation.version.client_id.is_some() && operation.version.client_id == known.client_id;
        if own_only && !is_own {
            return Err(Fault::NotOwn);
        }
        let message = &mut operation.message;
        if message.name.is_empty() || operation.change == Change::Append {
            message.name = known.name.clone();
        }
        message.client_id = known.client_id.clone();
        complete_extras(&mut message.extras, known.extras.as_deref());
        operation.origin = self.latest.origin();
        if operation.change == Change::Append {
            return self.judge_append(message, account);
        }
        if message.payload.data == Data::None {
            message.payload = self.latest.payload();
        }
        Ok(())
    }

    fn judge_append(&self, message: &mut Message, account: Option<&Account>) -> Result<(), Fault> {
        let payload = &mut message.payload;
        let added = payload.data.len();
        if let Some((is_binary, encoding)) = &self.shape {
            if let Some(given) = shape_of(&payload.data, &payload.encoding)
                && given != (*is_binary, encoding.clone())
            {
                let (found, rule) = match &payload.data {
                    Data::Binary(bytes) => (Found::bytes(bytes.len()), "data of the kind and encoding of the message"),
                    _ => (Found::text(&payload.encoding), "data of the kind and encoding of the message"),
                };
                return Err(Fault::InvalidData { found, rule });
            }
            payload.encoding = encoding.clone();
        }
        let (size, limit) = (self.latest.data_len() + self.bytes + added, limits::MESSAGE_TOTAL_BYTES);
        if size > limit {
            return Err(Fault::TooLarge { what: "the message with all that was appended to it", size, limit });
        }
        Grown::make_room(&self.latest, self.bytes + added, account).map_err(|full| full.to_fault())
    }
}

/// Extras are replaced as a whole; none were given when there is nothing but what the server writes, which is always the
/// operator's (`docs/protocols/ably.md §12.4`).
fn complete_extras(given: &mut Option<Box<Extras>>, known: Option<&Extras>) {
    let claim = given.as_mut().and_then(|extras| extras.remove(USER_CLAIM));
    if given.is_none() || (claim.is_some() && given.as_ref().is_some_and(|extras| extras.is_empty())) {
        *given = known.cloned().map(Box::new);
        if let Some(extras) = given {
            extras.remove(USER_CLAIM);
        }
    }
    if let Some(claim) = claim {
        given.get_or_insert_default().insert(USER_CLAIM.to_owned(), claim);
    }
    if given.as_ref().is_some_and(|extras| extras.is_empty()) {
        *given = None;
    }
}

/// Whether data is binary, and its encoding; none of no data.
fn shape_of(data: &Data, encoding: &ByteString) -> Option<(bool, ByteString)> {
    (*data != Data::None).then(|| (matches!(data, Data::Binary(_)), encoding.clone()))
}
