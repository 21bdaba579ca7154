//! From messages as a client wrote them to what is published: whose they are, what they may carry, what
//! they are known by (`docs/protocols/ably.md §6`). The same for frames and for HTTP.

use std::time::Duration;

use bytestring::ByteString;
use secrecy::ExposeSecret as _;

use crate::{
    actors::connections::Connections,
    auth::ably::{AllowedClient, ConnectionKeys},
    core::message::{EntryId, Extras, Message, USER_CLAIM},
    error::{Fault, Found},
    ids::{AppId, ClientId, ConnectionId},
    limits,
    protocols::ably::{
        behalf::Elsewhere,
        endpoint::Settings,
        wire::{WireMessage, is_ephemeral},
    },
};

/// The action of a message that is none of the operations on one (§9.1).
pub const CREATE: u64 = 0;

/// Who publishes.
pub struct Publisher<'a> {
    pub app: AppId,
    pub identity: &'a AllowedClient,
    /// The token's claim about its user on this channel (§12.4).
    pub user_claim: Option<&'a str>,
    /// None: by HTTP.
    pub connection: Option<ConnectionId>,
    pub keys: &'a ConnectionKeys,
    pub connections: &'a Connections,
    /// Those that other nodes have and that the messages name, if they were asked.
    pub elsewhere: Option<&'a Elsewhere>,
    /// Now, monotonic.
    pub uptime: Duration,
}

/// Messages that may be published together.
pub struct Checked {
    pub messages: Vec<Message>,
    /// The connection that they count as.
    pub publisher: Option<ConnectionId>,
    /// What the client knows them by; none = it gave no id.
    pub id: Option<EntryId>,
    pub is_ephemeral: bool,
}

/// # Errors
/// The first fault of the first message that has one, then those that they have together, in the order of §6.1;
/// then nothing may be published.
pub fn check(messages: Vec<WireMessage>, publisher: &Publisher<'_>, settings: &Settings) -> Result<Checked, Fault> {
    let id = common_id(messages.iter().map(|message| message.id.as_ref()));
    let mut connection = publisher.connection;
    let mut checked = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let (client_id, on_behalf) = attribute(&message, publisher)?;
        if index > 0 && on_behalf != connection {
            return Err(Fault::SeveralConnections);
        }
        connection = on_behalf;
        if message.action != CREATE {
            let what = "an update, delete or append stands alone in its frame; by HTTP it is a PATCH of the message";
            return Err(Fault::Malformed { what: what.into() });
        }
        let mut message = message.into_message(client_id)?;
        claim(&mut message.extras, publisher.user_claim);
        checked.push(message);
    }
    let ephemeral = checked.iter().filter(|message| is_ephemeral(message)).count();
    if ephemeral > 0 && ephemeral < checked.len() {
        let (all, what) = (checked.len(), "messages with extras.ephemeral; allowed: all or none in one publish");
        return Err(Fault::Malformed { what: format!("messages: found {ephemeral} of {all} {what}").into() });
    }
    let size = checked.iter().map(Message::size).sum();
    let limit = settings.max_message_bytes;
    if size > limit {
        let what = "the publish (names, clientIds, extras and data of its messages)";
        return Err(Fault::TooLarge { what, size, limit });
    }
    let id = id?;
    let limit = limits::FRAME_ITEMS;
    if checked.len() > limit {
        return Err(Fault::TooManyMessages { limit });
    }
    Ok(Checked { messages: checked, publisher: connection, id, is_ephemeral: ephemeral > 0 })
}

/// Writes the claim of the publisher's token about its user, which no client can write itself (§3.6).
pub fn claim(extras: &mut Option<Box<Extras>>, user_claim: Option<&str>) {
    if let Some(claim) = user_claim {
        let extras = extras.get_or_insert_default();
        extras.insert(USER_CLAIM.to_owned(), claim.into());
    }
}

/// Whose message it is: its client, and the connection that it counts as (§6.5, §6.6).
fn attribute(
    message: &WireMessage,
    publisher: &Publisher<'_>,
) -> Result<(Option<ClientId>, Option<ConnectionId>), Fault> {
    let claimed = message.client_id.as_deref();
    if let Some(connection_id) = &message.connection_id {
        let own = publisher.connection.map(|own| own.to_string());
        if own.as_deref() != Some(&**connection_id) {
            return Err(Fault::ForeignConnection);
        }
    }
    let Some(key) = &message.connection_key else {
        let client_id = publisher.identity.attribute(claimed)?;
        return Ok((client_id, publisher.connection));
    };
    let app = publisher.app;
    let connection = publisher.keys.verify(app, key.expose_secret());
    let connection = connection.map_err(|_| Fault::ForeignConnection)?.connection;
    let owner = match (publisher.connections.owner(connection, publisher.uptime), publisher.elsewhere) {
        (None, Some(elsewhere)) => {
            let found = elsewhere.as_ref().map_err(Fault::clone)?.iter().find(|(id, _)| *id == connection);
            found.map(|(_, owner)| owner.clone())
        }
        (owner, _) => owner,
    };
    let owner = owner.filter(|owner| owner.app == app);
    let owner = owner.ok_or(Fault::ForeignConnection)?;
    let client_id = match (owner.client_id, claimed) {
        (Some(owner), Some(claimed)) if owner.as_str() != claimed => {
            let (found, rule) =
                (Found::text(claimed), "the clientId of the connection that connectionKey names, or none");
            return Err(Fault::InvalidClientId { found, rule });
        }
        (Some(owner), _) => Some(owner),
        (None, claimed) => publisher.identity.attribute(claimed)?,
    };
    Ok((client_id, Some(connection)))
}

/// What the client knows the items by: any id for a single one; for several `<base>:<index>` with one
/// base (§6.4).
pub fn common_id<'a>(ids: impl Iterator<Item = Option<&'a ByteString>> + Clone) -> Result<Option<EntryId>, Fault> {
    if ids.clone().all(|id| id.is_none()) {
        return Ok(None);
    }
    let ids: Vec<Option<&ByteString>> = ids.map(|id| id.filter(|id| !id.is_empty())).collect();
    if let Some(long) = ids.iter().flatten().find(|id| id.len() > limits::MESSAGE_ID_BYTES) {
        let (size, limit) = (long.len(), limits::MESSAGE_ID_BYTES);
        return Err(Fault::TooLarge { what: "the id of a message", size, limit });
    }
    if ids.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut base = None;
    for (index, id) in ids.iter().enumerate() {
        let suffix = format!(":{index}");
        let this = id.and_then(|id| id.strip_suffix(&suffix));
        match (this, base) {
            (Some(this), None) if index == 0 => base = Some(this),
            (Some(this), Some(base)) if this == base => {}
            _ if ids.len() == 1 => return Ok(ids[0].map(|id| EntryId::Item(id.clone()))),
            _ => {
                let found = Found::optional(id.map(|id| &**id));
                return Err(Fault::InvalidMessageId { index, found });
            }
        }
    }
    Ok(base.map(|base| EntryId::Base(base.into())))
}
