//! What a client asks for (`docs/protocols/chat.md §4, §10`): one frame, read and judged field by field. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    limits,
    older::chat::{
        code::Code,
        fields::{Fields, Wrong},
        names::{Room, is_group_id},
        reply::Reply,
    },
};

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    pub to: u64,
    pub content: String,
    pub kind: i64,
    pub client_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendGroupMessage {
    pub group: String,
    pub content: String,
    pub kind: i64,
    pub client_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    pub message: String,
    pub client_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    pub name: String,
    /// In the order given, each once; without the creator.
    pub members: Vec<u64>,
    pub description: String,
}

/// How strictly, and in whose words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Only the types of messages that the document knows.
    pub strict_types: bool,
    /// The texts and codes of the source where it has others.
    pub is_source: bool,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    cmd: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    id: Option<Box<RawValue>>,
}

impl Request {
    /// A frame that is nothing at all is a request, too: it is answered.
    pub fn parse(text: &str, rules: Rules) -> Self {
        // serde takes an array for a struct's fields in order.
        let is_object = text.trim_ascii_start().starts_with('{');
        let written = is_object.then(|| serde_json::from_str::<Written<'_>>(text));
        let Some(Ok(written)) = written else {
            return Self { id: None, command: Err(Code::BadRequest.into()) };
        };
        let cmd = written.cmd.map(RawValue::get).unwrap_or_default();
        let cmd: String = serde_json::from_str(cmd).unwrap_or_default();
        Self {
            id: written.id.filter(|id| id.get().len() <= limits::CHAT_REQUEST_ID_BYTES),
            command: rules.command(&cmd, written.data.map(RawValue::get)),
        }
    }
}

impl Rules {
    fn command(self, cmd: &str, data: Option<&str>) -> Result<Command, Reply> {
        match cmd {
            "send_message" => {
                let fields = Fields::read(data).map_err(|wrong| wrong.told(Code::Unreadable))?;
                self.send_message(&fields).map(Command::Send)
            }
            "send_group_message" => {
                let code = Code::GroupMessageUnreadable;
                let fields = Fields::read(data).map_err(|wrong| wrong.told(code))?;
                self.send_group_message(&fields).map(Command::SendGroup)
            }
            "broadcast" => {
                let fields = Fields::read(data).map_err(|wrong| wrong.told(Code::Unreadable))?;
                self.broadcast(&fields).map(Command::Broadcast)
            }
            "ping" => Ok(Command::Ping),
            "join_room" => room(data, Code::JoinUnreadable, Code::JoinNoRoom).map(Command::JoinRoom),
            "leave_room" => room(data, Code::LeaveUnreadable, Code::LeaveNoRoom).map(Command::LeaveRoom),
            "create_group" => create_group(data).map(Command::CreateGroup),
            "online" if !self.is_source => Ok(Command::Online),
            _ => Err(Code::UnknownCommand.into()),
        }
    }

    /// # Errors
    /// 10001 for what is of the wrong type or too long, 10002 for what is missing.
    pub fn send_message(self, fields: &Fields) -> Result<SendMessage, Reply> {
        let unreadable = |wrong: Wrong| wrong.told(Code::Unreadable);
        let to = fields.user("to_user_id").map_err(unreadable)?;
        let (content, kind, client_id) = self.message(fields).map_err(unreadable)?;
        let to = to.filter(|_| !content.is_empty()).ok_or(Code::Incomplete)?;
        Ok(SendMessage { to, content, kind, client_id })
    }

    fn send_group_message(self, fields: &Fields) -> Result<SendGroupMessage, Reply> {
        let unreadable = |wrong: Wrong| wrong.told(Code::GroupMessageUnreadable);
        let group = fields.text("group_id").map_err(unreadable)?;
        let group = group.unwrap_or_default();
        let (content, kind, client_id) = self.message(fields).map_err(unreadable)?;
        if group.is_empty() || content.is_empty() {
            return Err(Code::GroupMessageIncomplete.into());
        }
        if !is_group_id(group) {
            return Err(Code::GroupInvalid.into());
        }
        Ok(SendGroupMessage { group: group.to_owned(), content, kind, client_id })
    }

    /// # Errors
    /// 10001 for what is no text or too long, 10005 for an empty one; the source has 10002 for that.
    pub fn broadcast(self, fields: &Fields) -> Result<Broadcast, Reply> {
        let unreadable = |wrong: Wrong| wrong.told(Code::Unreadable);
        let message = fields.content("message").map_err(unreadable)?;
        let client_id = fields.client_id().map_err(unreadable)?;
        if message.is_empty() {
            return Err(if self.is_source {
                Reply::told(Code::Incomplete, "广播消息不能为空")
            } else {
                Code::BroadcastEmpty.into()
            });
        }
        Ok(Broadcast { message: message.to_owned(), client_id })
    }

    /// `content`, `message_type` and `client_id`.
    pub fn message(self, fields: &Fields) -> Result<(String, i64, Option<String>), Wrong> {
        let kind = fields.whole("message_type")?.unwrap_or_default();
        // To Go, none and 0 are the same; and only 1 is moderated.
        let kind = if kind == 0 { 1 } else { kind };
        if self.strict_types && !(1..=3).contains(&kind) {
            return Err(Wrong::said("message_type 只能是 1、2 或 3"));
        }
        let content = fields.content("content")?.to_owned();
        Ok((content, kind, fields.client_id()?))
    }
}

fn room(data: Option<&str>, unreadable: Code, missing: Code) -> Result<String, Reply> {
    let told = |wrong: Wrong| wrong.told(unreadable);
    let fields = Fields::read(data).map_err(told)?;
    let id = fields.text("room_id").map_err(told)?.unwrap_or_default();
    if id.is_empty() {
        return Err(missing.into());
    }
    match Room::parse(id) {
        Some(Room::Open(id)) => Ok(id.to_owned()),
        // Nothing would ever come there.
        _ => Err(unreadable.into()),
    }
}

fn create_group(data: Option<&str>) -> Result<CreateGroup, Reply> {
    let told = |wrong: Wrong| wrong.told(Code::GroupUnreadable);
    let fields = Fields::read(data).map_err(told)?;
    let name = fields.text("group_name").map_err(told)?.unwrap_or_default();
    let description = fields.text("description").map_err(told)?;
    let description = description.unwrap_or_default();
    let members = fields.users("member_ids").map_err(told)?;
    if name.len() > limits::CHAT_GROUP_NAME_BYTES
        || description.len() > limits::CHAT_GROUP_DESCRIPTION_BYTES
        || members.len() > limits::CHAT_GROUP_MEMBERS
    {
        return Err(Wrong::said("群聊名称、描述过长或成员过多").told(Code::GroupUnreadable));
    }
    if name.is_empty() {
        return Err(Code::GroupNoName.into());
    }
    if members.is_empty() {
        return Err(Code::GroupNoMembers.into());
    }
    Ok(CreateGroup { name: name.to_owned(), members, description: description.to_owned() })
}

#[cfg(test)]
mod tests;
