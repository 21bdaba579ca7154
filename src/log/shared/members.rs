//! The members of a channel as Redis has them beside the log: so a node that begins with the channel need not read all of it.
//!
//! A hash: `m`, connection, clientId -> place, index, entry with this event alone; `o`, connection -> owner. It is written by the
//! script that appends the entry, so it is as the log has made it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{lease, wire};
use crate::{
    core::{
        message::{Body, Entry},
        presence::{Member, PresenceAction},
        serial::{Epoch, Serial},
    },
    ids::{ChannelName, ConnectionId, NodeId, Timestamp},
    log::disk::encoding,
};

const MEMBER: &[u8] = b"m";
const OWNER: &[u8] = b"o";

/// What an entry about members changes: fields and their values, empty ones to be deleted. `is_emptied`: it leaves its
/// connection none.
pub fn changes(entry: &Entry, node: NodeId, is_emptied: bool) -> Vec<Bytes> {
    let Some(connection) = entry.publisher else { return Vec::new() };
    let connection = connection.to_bytes();
    let owner = if is_emptied { Bytes::new() } else { lease::node_bytes(node) };
    let mut changes = vec![[OWNER, &connection[..]].concat().into(), owner];
    for (index, event) in entry.presence().iter().enumerate() {
        let field = [MEMBER, &connection[..], event.client_id.as_str().as_bytes()].concat();
        let value = match event.action {
            PresenceAction::Leave => Bytes::new(),
            PresenceAction::Enter | PresenceAction::Update => {
                let alone = encoding::encode(&entry.with(Body::Presence(vec![event.clone()])));
                [&(index as u16).to_be_bytes()[..], &alone].concat().into()
            }
        };
        changes.extend([field.into(), value]);
    }
    changes
}

/// Everybody, with the owner; none: this node.
pub fn read(
    channel: &ChannelName,
    epoch: Epoch,
    here: NodeId,
    parts: &[Bytes],
) -> Option<Vec<(Arc<Member>, Option<NodeId>)>> {
    let (mut owners, mut members) = (HashMap::new(), Vec::new());
    for pair in parts.chunks(2) {
        let (field, value) = (pair.first()?, pair.get(1)?);
        let (kind, rest) = field.split_at_checked(1)?;
        let (connection, _) = rest.split_at_checked(9)?;
        let connection = ConnectionId::from_bytes(connection.try_into().ok()?);
        if kind == OWNER {
            owners.insert(connection, lease::read_node(value)?);
        } else {
            members.push(member(channel, epoch, connection, value)?);
        }
    }
    let with_owner = |member: Member| {
        let node = owners.get(&member.connection).copied().filter(|node| *node != here);
        (Arc::new(member), node)
    };
    Some(members.into_iter().map(with_owner).collect())
}

fn member(channel: &ChannelName, epoch: Epoch, connection: ConnectionId, value: &Bytes) -> Option<Member> {
    let (place, _) = value.split_at_checked(10)?;
    let (index, _) = value.get(10..)?.split_at_checked(2)?;
    let place = wire::place(place)?;
    let entry = encoding::decode(channel, Serial::at(epoch, place), value.slice(12..))?;
    let event = entry.presence().first()?;
    let index = u16::from_be_bytes(index.try_into().ok()?).into();
    Some(Member {
        id: event.id.clone().unwrap_or_else(|| entry.item_id(index).to_string().into()),
        connection,
        client_id: event.client_id.clone(),
        payload: event.payload.clone(),
        extras: event.extras.clone(),
        timestamp: Timestamp::from_millis(place.0),
    })
}
