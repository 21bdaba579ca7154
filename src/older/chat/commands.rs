//! What a client asks for (`docs/protocols/chat.md §4, §10`): one frame, read and judged field by field. What each command
//! does stands with it in a file of its own.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    core::json::object,
    limits,
    older::chat::{
        code::Code,
        fields::{Fields, Rules},
        reply::Reply,
    },
};

mod broadcast;
mod create_group;
mod rooms;
mod send_group_message;
mod send_message;

pub use broadcast::Broadcast;
pub use create_group::CreateGroup;
pub use send_group_message::SendGroupMessage;
pub use send_message::SendMessage;

/// A frame, understood or refused.
#[derive(Debug)]
pub struct Request {
    /// Echoed with the reply.
    pub id: Option<Box<RawValue>>,
    pub command: Result<Command, Reply>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Send(SendMessage),
    SendGroup(SendGroupMessage),
    Broadcast(Broadcast),
    Ping,
    JoinRoom(String),
    LeaveRoom(String),
    CreateGroup(CreateGroup),
    /// Obsolete: who is connected is online.
    Online,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    cmd: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    id: Option<Box<RawValue>>,
}

impl Request {
    /// What the refusal of a frame that is not carried out echoes.
    pub fn id_in(text: &str) -> Option<Box<RawValue>> {
        Envelope::parse(text)?.id
    }

    /// A frame that is nothing at all is a request, too: it is answered.
    pub fn parse(text: &str, rules: Rules) -> Self {
        let Some(envelope) = Envelope::parse(text) else {
            return Self { id: None, command: Err(Code::BadRequest.into()) };
        };
        let cmd = envelope.cmd.map(RawValue::get).unwrap_or_default();
        let cmd: String = serde_json::from_str(cmd).unwrap_or_default();
        Self { id: envelope.id, command: Command::parse(&cmd, envelope.data.map(RawValue::get), rules) }
    }
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut envelope: Self = object(text.as_bytes())?;
        envelope.id = envelope.id.filter(|id| id.get().len() <= limits::CHAT_REQUEST_ID_BYTES);
        Some(envelope)
    }
}

impl Command {
    fn parse(cmd: &str, data: Option<&str>, rules: Rules) -> Result<Self, Reply> {
        let fields = |unreadable| Fields::read(data, unreadable);
        match cmd {
            "send_message" => SendMessage::parse(&fields(Code::Unreadable)?, rules).map(Self::Send),
            "send_group_message" => {
                SendGroupMessage::parse(&fields(Code::GroupMessageUnreadable)?, rules).map(Self::SendGroup)
            }
            "broadcast" => {
                let fields = fields(Code::Unreadable).map_err(|reply| reply.because(Broadcast::FORM))?;
                Broadcast::parse(&fields, rules).map(Self::Broadcast)
            }
            "ping" => Ok(Self::Ping),
            "join_room" => rooms::parse(&fields(Code::JoinUnreadable)?, Code::JoinNoRoom).map(Self::JoinRoom),
            "leave_room" => rooms::parse(&fields(Code::LeaveUnreadable)?, Code::LeaveNoRoom).map(Self::LeaveRoom),
            "create_group" => CreateGroup::parse(&fields(Code::GroupUnreadable)?).map(Self::CreateGroup),
            "online" if !rules.is_source => Ok(Self::Online),
            _ => Err(Code::UnknownCommand.into()),
        }
    }
}

#[cfg(test)]
mod tests;
