//! Messages as differences to the one before (`docs/protocols/ably.md §8.6`).
//!
//! A subscription holds no message: it goes on from the one it got last as long as that is in its channel's window, and gets
//! the next one whole otherwise.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Weak},
};

use crate::{
    core::{
        message::{Body, Data, Entry, Message, Payload},
        vcdiff,
    },
    limits,
};

/// The extra that says which message a difference is to.
pub const DELTA: &str = "delta";

/// What one subscription gets.
#[derive(Debug)]
pub struct DeltaStream {
    /// What was sent last.
    last: Weak<Entry>,
    deltas: Rc<RefCell<Deltas>>,
}

impl DeltaStream {
    /// Begins with a whole message.
    pub const fn new(deltas: Rc<RefCell<Deltas>>) -> Self {
        Self { last: Weak::new(), deltas }
    }

    /// Another one, that begins anew.
    pub fn anew(&self) -> Self {
        Self::new(Rc::clone(&self.deltas))
    }

    /// Goes on from another entry; none: with a whole message.
    pub fn go_on_from(&mut self, last: Weak<Entry>) {
        self.last = last;
    }

    /// How the next entry is sent.
    pub fn next(&mut self, entry: &Arc<Entry>) -> Arc<Entry> {
        let sent = self.deltas.borrow_mut().of(entry, self.last.upgrade());
        if is_base(entry) {
            self.last = Arc::downgrade(entry);
        }
        sent.unwrap_or_else(|| Arc::clone(entry))
    }
}

/// Whether a client goes on from it: from the last message that it got, whatever kind that is; and from nothing if that has no
/// data of its own. Presence, annotations and object operations are no messages.
pub fn is_base(entry: &Entry) -> bool {
    !matches!(entry.body, Body::Presence(_) | Body::Annotations(_) | Body::Objects(_))
}

/// The newest entry that was delivered on a thread, as the differences that its subscriptions get: made once for each entry
/// that they go on from.
#[derive(Debug, Default)]
pub struct Deltas {
    entry: Option<Arc<Entry>>,
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    /// None: the first message is whole.
    base: Option<Arc<Entry>>,
    /// None: it is sent as it is.
    sent: Option<Arc<Entry>>,
}

impl Deltas {
    /// `entry` for those who go on from `base`; none: as it is. So it is also for whoever has yet another base than
    /// [`limits::DELTA_BASES`] before it.
    fn of(&mut self, entry: &Arc<Entry>, base: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        if entry.messages().is_empty() || (base.is_none() && entry.len() == 1) {
            return None;
        }
        if self.entry.as_ref().is_none_or(|known| !Arc::ptr_eq(known, entry)) {
            self.entry = Some(Arc::clone(entry));
            self.made.clear();
        }
        let place = |base: &Option<Arc<Entry>>| base.as_ref().map(Arc::as_ptr);
        if let Some(made) = self.made.iter().find(|made| place(&made.base) == place(&base)) {
            return made.sent.clone();
        }
        if self.made.len() == limits::DELTA_BASES {
            return None;
        }
        let sent = differences(entry, base.as_deref()).map(Arc::new);
        self.made.push(Made { base, sent: sent.clone() });
        sent
    }
}

/// The entry with each message as the difference to the one before it, where that is shorter; none: nowhere.
fn differences(entry: &Entry, base: Option<&Entry>) -> Option<Entry> {
    let mut before = base.and_then(|base| Some((base, base.len().checked_sub(1)?)));
    let mut is_any = false;
    let messages = entry.messages().iter().enumerate().map(|(index, message)| {
        let base = before.replace((entry, index));
        let difference = base.and_then(|(base, index)| difference(message, base, index));
        is_any |= difference.is_some();
        difference.unwrap_or_else(|| message.clone())
    });
    let messages: Vec<Message> = messages.collect();
    is_any.then(|| entry.with(Body::Messages(messages)))
}

fn difference(message: &Message, base: &Entry, index: usize) -> Option<Message> {
    let delta = vcdiff::encode(plain(&base.messages().get(index)?.payload)?, plain(&message.payload)?)?;
    let steps = match message.payload.data {
        Data::Text(_) => "utf-8/vcdiff",
        Data::None | Data::Binary(_) => "vcdiff",
    };
    let separator = if message.payload.encoding.is_empty() { "" } else { "/" };
    let encoding = format!("{}{separator}{steps}", message.payload.encoding).into();
    let mut extras = message.extras.clone().unwrap_or_default();
    let from = base.item_id(index).to_string();
    extras.insert(DELTA.to_owned(), serde_json::json!({ "from": from, "format": "vcdiff" }));
    let payload = Payload { data: Data::Binary(delta.into()), encoding, is_json: false };
    Some(Message { payload, extras: Some(extras), ..message.clone() })
}

/// The bytes of a payload, where a difference may be made from or to it: what is encrypted has nothing in common with anything.
fn plain(payload: &Payload) -> Option<&[u8]> {
    let is_plain = payload.encoding.split('/').all(|step| !step.starts_with("cipher") && step != "vcdiff");
    Some(payload.data.as_bytes()).filter(|bytes| is_plain && !bytes.is_empty())
}

#[cfg(test)]
mod tests;
