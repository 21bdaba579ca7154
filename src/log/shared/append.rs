//! Appending to a log that nodes share: what the script is given, and what came of it.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{
    APPEND, Done, SharedLog, keys::Keys, lease, members, messages, seen_args, tally::Outcome, understand, wire,
};
use crate::{
    core::{
        dedupe::{Content, Published},
        message::{Body, Entry, EntryId},
        operation::Change,
        serial::{Place, Serial},
    },
    engines::redis::Call,
    log::disk::encoding,
};

/// What an append says that was judged by what was published before it: who is present, or what a message is.
pub struct Judged {
    /// The newest entry of that kind that was known.
    pub by: Place,
    /// Of an entry about members: it leaves its connection none.
    pub is_emptied: bool,
    /// Of an append: it is to bring the whole message. Others always do.
    pub is_whole: bool,
}

/// What came of an append.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It is the entry at `serial`, behind the one at `previous`.
    Kept { previous: Serial, serial: Serial },
    /// It was published before.
    Again(Published),
    /// Not appended: it was judged by too little.
    Behind,
    /// Not appended: the lease of this node is over.
    Fenced,
    /// Not appended: what it is appended to is not at hand, so it has to bring the whole message.
    Bare,
}

impl Told {
    fn read(parts: &[Bytes]) -> Option<Self> {
        match (&parts.first()?[..], &parts[1..]) {
            (b"kept", [epoch, previous, place]) => {
                Some(Self::Kept { previous: wire::serial(epoch, previous)?, serial: wire::serial(epoch, place)? })
            }
            (b"again", [epoch, place, len]) => {
                let len = std::str::from_utf8(len).ok()?.parse().ok()?;
                Some(Self::Again(Published { serial: wire::serial(epoch, place)?, len }))
            }
            (b"behind", []) => Some(Self::Behind),
            (b"fenced", []) => Some(Self::Fenced),
            (b"bare", []) => Some(Self::Bare),
            _ => None,
        }
    }
}

impl SharedLog {
    /// Appends an entry, whose serial and time the log gives. What is known by the same id, or for a frame by the same id
    /// and `content`, is not appended again, but for presence: what of that is new is judged by who is present. `seen` is the
    /// newest entry that was seen, `judged` what it was judged by.
    pub fn append(&self, entry: &Entry, content: Content, seen: Serial, judged: Option<Judged>, done: Done<Told>) {
        let inner = &self.0;
        let keys = Keys::of(&entry.channel);
        let is_presence = matches!(entry.body, Body::Presence(_));
        // The same id for something else that is done is another.
        let content_of =
            |id: &str| if entry.is_judged() { [id.as_bytes(), &content.to_bytes()].concat() } else { id.into() };
        let id = match &entry.id {
            EntryId::Frame { connection, msg_serial } if !is_presence => {
                [b"f", &connection.to_bytes()[..], &msg_serial.to_be_bytes(), &content.to_bytes()].concat()
            }
            EntryId::Base(id) if !is_presence => [b"b", &content_of(id)[..]].concat(),
            EntryId::Item(id) if !is_presence => [b"i", &content_of(id)[..]].concat(),
            _ => {
                let number = inner.appended.fetch_add(1, Ordering::Relaxed);
                [b"s", &inner.node.to_bytes()[..], &number.to_be_bytes()].concat()
            }
        };
        let (age, bytes) = self.bounds(&entry.channel);
        let whole = judged.as_ref().filter(|judged| judged.is_whole).and_then(|_| encoding::encode_whole(entry));
        let is_whole = entry.operation().is_some_and(|operation| operation.change != Change::Append) || whole.is_some();
        let mut args = seen_args(Some(seen));
        args.extend([
            age.to_string().into(),
            bytes.to_string().into(),
            id.into(),
            entry.len().to_string().into(),
            lease::node_bytes(inner.node),
            whole.map_or_else(|| wire::body(entry), Bytes::from),
            judged.as_ref().map_or_else(Bytes::new, |judged| Bytes::copy_from_slice(&wire::place_bytes(judged.by))),
        ]);
        let mut script_keys = keys.all();
        script_keys.push(keys.domain().leases());
        if let Some(judged) = judged.filter(|_| is_presence) {
            script_keys.extend([keys.members(), keys.domain().owned_by(inner.node)]);
            args.extend([Bytes::from_static(b"p"), keys.name()]);
            args.extend(members::changes(entry, inner.node, judged.is_emptied));
        } else if matches!(entry.body, Body::Objects(_)) {
            script_keys.push(keys.objects());
            args.extend([Bytes::from_static(b"o"), self.objects_life(&entry.channel)]);
        } else if entry.is_judged() {
            let (lists, touched) = messages::touches(&keys, entry, is_whole);
            script_keys.extend(lists);
            args.extend(touched);
        }
        let (log, asked) = (self.clone(), inner.clock.uptime());
        let done = Box::new(move |answer| {
            let told = understand(answer, Told::read);
            let outcome = told.as_ref().map(|told| match told {
                Told::Kept { .. } => Outcome::Kept,
                Told::Again(_) => Outcome::Again,
                Told::Behind => Outcome::Behind,
                Told::Bare => Outcome::Bare,
                Told::Fenced => Outcome::Fenced,
            });
            log.0.tally.append(outcome, log.0.clock.uptime().saturating_sub(asked));
            done(told);
        });
        inner.appends.call(Call { script: APPEND, keys: script_keys, args, repeats: true, done });
    }
}
