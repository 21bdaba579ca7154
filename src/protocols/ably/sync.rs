//! SYNC: the members, page by page (`docs/protocols/ably.md §7.4`).

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    actors::transport::context::{Attaching, TransportContext},
    core::{
        modes::Modes,
        presence::{EncodedMembers, Member, MemberList},
    },
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
    pub(super) fn send_members(&self, channel: &str, members: &MemberList, transport: &mut TransportContext<'_>) {
        let pages = members.pages(format_of(self.format).slot(), |members| encoded_pages(members, self.format));
        // No `@` or `.` in a sync id (T42).
        let id = self.shared.next_sync_id();
        let mut sent = 0;
        for (place, page) in pages.iter().enumerate() {
            sent += page.len;
            let is_last = place + 1 == pages.len();
            let cursor = if is_last { format!("{id}:") } else { format!("{id}:{sent}") };
            let (cursor, timestamp) = (Some(&*cursor), transport.now());
            let frame = ServerFrame::Sync { channel, cursor, timestamp, members: &page.bytes };
            self.say(&frame, transport);
        }
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

fn encoded_pages(members: &[Arc<Member>], format: Format) -> Vec<EncodedMembers> {
    let encoded = |page: &[Arc<Member>]| {
        let bytes = encode_value(format, &items::members(page, format));
        EncodedMembers { bytes, len: page.len() }
    };
    pages(members).into_iter().map(encoded).collect()
}

/// Cut so that no frame gets longer than clients can read (§1.4). At least one, if it is empty.
fn pages(members: &[Arc<Member>]) -> Vec<&[Arc<Member>]> {
    let mut pages = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (place, member) in members.iter().enumerate() {
        bytes += member.size();
        let is_full = place - first >= limits::SYNC_PAGE_MEMBERS || bytes > limits::SYNC_PAGE_BYTES;
        if is_full && place > first {
            pages.push(&members[first..place]);
            (first, bytes) = (place, member.size());
        }
    }
    pages.push(&members[first..]);
    pages
}
