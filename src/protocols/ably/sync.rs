//! SYNC: the members, page by page (`docs/protocols/ably.md §7.4`).

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::transport::context::{Attaching, TransportContext},
    core::{
        modes::Modes,
        presence::{Member, MemberList},
    },
    error::Fault,
    ids::ChannelName,
    limits,
    protocols::ably::{
        attach::Attachment,
        connection::AblyConnection,
        name::Name,
        wire::{Format, ProtocolMessage, ServerFrame, encode_value, format_of, items},
    },
};

/// Comes back with the answer to an attach that only asks who is present.
pub(super) const ASKED: Bytes = Bytes::from_static(b"sync");

impl AblyConnection {
    /// One page is sent at once. Of more, each is written when the socket has taken the ones before it, with the members as they
    /// are then: what has changed meanwhile follows, and clients know what is newer (RTP2).
    pub(super) fn send_members(
        &self,
        channel: &ChannelName,
        requested: &ByteString,
        members: &Arc<MemberList>,
        transport: &mut TransportContext<'_>,
    ) {
        let (mut cursor, timestamp, format) = (self.cursor(), transport.now(), self.format);
        let (name, mut from) = (requested.clone(), None);
        let mut page = move |members: &MemberList| {
            let encode = |members: &[Arc<Member>]| encode_value(format, &items::members(members, format));
            let page = members.page(from.as_ref(), format_of(format).slot(), encode);
            from = page.next;
            let cursor = cursor.next(from.is_none());
            let frame = ServerFrame::Sync { channel: &name, cursor: Some(&cursor), timestamp, members: &page.bytes };
            (frame.encode(format), from.is_none())
        };
        if members.is_one_page() {
            transport.send_frame(page(members).0);
        } else {
            transport.send_list(channel, members, sync_broken(requested, format), page);
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { id: self.shared.next_sync_id(), place: 0 }
    }

    /// The client wants to know who is present, from the beginning. Asked for like a change of the
    /// attachment, so that the answer keeps its place among the presence events.
    pub(super) fn sync(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let Ok(name) = Name::parse(message.channel.unwrap_or_default()) else {
            return;
        };
        let channel = name.channel(self.access.app.id);
        let alias = self.aliases.known(&name);
        let Some((alias, filter)) = alias.and_then(|alias| Some((alias, transport.filter(&channel, alias)?.clone())))
        else {
            return;
        };
        // Without the mode the members are not to be seen.
        if !filter.modes.has(Modes::PRESENCE_SUBSCRIBE) {
            return;
        }
        let cost = self.attachments.get(&(channel.clone(), alias)).map_or(0, Attachment::cost);
        let attaching = Attaching { alias, context: ASKED, cost, ..Attaching::new(filter) };
        transport.spend(limits::SYNC_COST);
        if let Err(fault) = transport.attach(&channel, attaching) {
            tracing::debug!(%fault, "a presence sync was not sent");
        }
    }
}

/// The `channelSerial` of the pages of one sync. No `@` or `.` in its id (T42).
pub(super) struct Cursor {
    id: u64,
    place: usize,
}

impl Cursor {
    /// Of the next page.
    pub fn next(&mut self, is_last: bool) -> String {
        self.place += 1;
        if is_last { format!("{}:", self.id) } else { format!("{}:{}", self.id, self.place) }
    }
}

/// Instead of the rest, when the channel cannot tell it: the client attaches again (RTL13a).
pub(super) fn sync_broken(channel: &str, format: Format) -> Bytes {
    ServerFrame::Detached { channel, error: Some(&(&Fault::Busy).into()) }.encode(format)
}
