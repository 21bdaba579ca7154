//! The letters of a thread: `GET threads_path?clientID=…&subjectId=…` reads them out of the history of a mailbox
//! (`docs/protocols/postoffice.md §4` "Delays, history"). As far back as the history goes: who wants more than the last minutes
//! makes channels of `po:` persisted.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    actors::{
        accounts::{Charge, Full},
        broker::Broker,
    },
    core::{
        history::{Direction, ItemPosition, Kind, Query},
        message::Message,
    },
    edge::http::query,
    error::Fault,
    limits,
    older::postoffice::{endpoint::Refused, format, shared::Mailbox},
};

/// Fields of a letter that name its thread; also the headers of its message.
pub const THREAD_FIELDS: [&str; 2] = ["subjectId", "references"];

/// Which letters are asked for.
pub struct ThreadQuery {
    subject_id: String,
    limit: usize,
}

/// A page; the oldest letter first.
#[derive(Default, Serialize)]
pub struct Thread {
    letters: Vec<Box<RawValue>>,
    /// There are older ones.
    has_more: bool,
}

impl ThreadQuery {
    /// # Errors
    /// Without a `subjectId`, or with a `limit` that is none.
    pub fn parse(query: &query::Query) -> Result<Self, Refused> {
        Ok(Self {
            subject_id: query.text("subjectId").ok_or(Refused::NoSubject)?.to_owned(),
            limit: query.page_items().ok_or(Refused::BadLimit)?,
        })
    }

    /// The newest letters of the thread in a mailbox: those that carry its id as `subjectId` or `references`.
    /// `charge` pays for them.
    pub async fn read(&self, mailbox: &Mailbox, broker: &Arc<Broker>, charge: &mut Charge) -> Result<Thread, Fault> {
        let channel = mailbox.lock().owner.channel.clone();
        let (mut letters, mut has_more, mut after) = (Vec::new(), true, None);
        let (mut bytes, mut looked_at) = (0, 0);
        'pages: while looked_at < limits::POST_THREAD_LETTERS {
            let query = Query {
                kind: Kind::Messages,
                start: None,
                end: None,
                until: None,
                direction: Direction::Backwards,
                limit: limits::PAGE_ITEMS_MAX,
                after,
            };
            let page = broker.history(&channel, query).await?;
            // A page that is long comes in portions.
            let last = page.items.last().map(|(entry, index)| ItemPosition { serial: entry.serial, index: *index });
            after = if page.is_whole() { page.next } else { last };
            looked_at += page.items.len();
            for (entry, index) in page.items {
                let message = entry.messages().get(index);
                let Some(message) = message.filter(|message| self.is_meant(message)) else { continue };
                if letters.len() == self.limit {
                    break 'pages;
                }
                let letter = format::letter(message, &mailbox.name);
                bytes += letter.len();
                // They stand beside the answer that is made of them.
                charge.set(2 * bytes).map_err(Full::to_fault)?;
                letters.push(RawValue::from_string(letter.into_owned()).map_err(|_| Fault::Internal)?);
            }
            if after.is_none() {
                has_more = false;
                break;
            }
        }
        letters.reverse();
        Ok(Thread { letters, has_more })
    }

    fn is_meant(&self, message: &Message) -> bool {
        let extras = message.extras.as_deref();
        let headers = extras.and_then(|extras| extras.get("headers"));
        let is_it = |name| headers.is_some_and(|headers| headers[name] == *self.subject_id);
        THREAD_FIELDS.into_iter().any(is_it)
    }
}
