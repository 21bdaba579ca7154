//! SYNC: the members, page by page (`docs/protocols/ably.md §7.4`).

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

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
    /// One page is sent at once; of more, each is written when the socket has taken the ones before it. All who are sent the same
    /// members share the pages, and each pays for them meanwhile: later changes make others.
    pub(super) fn send_members(
        &self,
        channel: &ByteString,
        members: &Arc<MemberList>,
        transport: &mut TransportContext<'_>,
    ) {
        // No `@` or `.` in a sync id (T42).
        let (id, timestamp, format) = (self.shared.next_sync_id(), transport.now(), self.format);
        let pages = pages_in(members, format);
        let (count, bytes) = (pages.len(), pages.iter().map(|page| page.bytes.len()).sum());
        let (channel, members) = (channel.clone(), Arc::clone(members));
        let mut sent = 0;
        let mut frames = (0..count).map(move |place| {
            let page = &pages_in(&members, format)[place];
            sent += page.len;
            let cursor = if place + 1 == count { format!("{id}:") } else { format!("{id}:{sent}") };
            let frame = ServerFrame::Sync { channel: &channel, cursor: Some(&cursor), timestamp, members: &page.bytes };
            frame.encode(format)
        });
        match count {
            1 => frames.next().into_iter().for_each(|frame| transport.send_frame(frame)),
            _ => transport.send_made(frames, bytes),
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

fn pages_in(members: &MemberList, format: Format) -> &[EncodedMembers] {
    members.pages(format_of(format).slot(), |members| encoded_pages(members, format))
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
