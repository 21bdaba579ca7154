//! What clients ask for, one command a file (`docs/protocols/group.md §4`): its fields, how they are read, what it does.

use crate::{
    actors::transport::context::TransportContext,
    older::group::{
        code::Code,
        frame::{Frame, Kind},
        groups::AnswerTo,
        reply::ReplyTo,
        socket::Socket,
    },
};

mod auth;
mod join_group;
mod leave_group;
mod mark_read;
mod send_message;

use auth::Auth;
use join_group::JoinGroup;
use leave_group::LeaveGroup;
use mark_read::MarkRead;
use send_message::SendMessage;

#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Ping,
    Auth(Auth),
    SendMessage(SendMessage<'a>),
    JoinGroup(JoinGroup),
    LeaveGroup(LeaveGroup),
    MarkRead(MarkRead),
}

/// A command that a client sent by the name `id`.
pub struct Request<'a, 'b> {
    pub id: &'a str,
    pub transport: &'a mut TransportContext<'b>,
}

impl Request<'_, '_> {
    pub fn reply(&self) -> ReplyTo<'_> {
        ReplyTo { id: self.id, now: self.transport.now() }
    }

    pub fn answer_to(&self) -> AnswerTo {
        AnswerTo { handle: self.transport.handle(), id: self.id.to_owned() }
    }
}

impl<'a> Command<'a> {
    /// # Errors
    /// The first rule that `data` breaks.
    pub fn parse(frame: &Frame<'a>) -> Result<Self, Code> {
        Ok(match frame.kind {
            Kind::Ping => Self::Ping,
            Kind::Auth => Self::Auth(Auth::parse(frame.data()?)?),
            Kind::SendMessage => Self::SendMessage(SendMessage::parse(frame)?),
            Kind::JoinGroup => Self::JoinGroup(JoinGroup::parse(frame.data()?)?),
            Kind::LeaveGroup => Self::LeaveGroup(LeaveGroup::parse(frame.data()?)?),
            Kind::MarkRead => Self::MarkRead(MarkRead::parse(frame.data()?)?),
            Kind::Unknown => return Err(Code::UnknownType),
        })
    }

    /// # Errors
    /// Why it is not done.
    pub fn run(self, socket: &mut Socket, mut request: Request<'_, '_>) -> Result<(), Code> {
        match self {
            Self::Ping => {
                let pong = request.reply().pong();
                request.transport.send_frame(pong);
                Ok(())
            }
            Self::Auth(command) => command.run(socket, &mut request),
            Self::SendMessage(command) => command.run(socket, &mut request),
            Self::JoinGroup(command) => command.run(socket, &mut request),
            Self::LeaveGroup(command) => command.run(&mut request),
            Self::MarkRead(command) => command.run(socket, &request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Command<'_>, Code> {
        Command::parse(&Frame::parse(text).expect("an envelope"))
    }

    /// docs/protocols/group.md §4, field by field.
    #[test]
    fn commands() {
        assert_eq!(command(r#"{"type":"ping"}"#), Ok(Command::Ping));
        let auth = command(r#"{"type":"auth","data":{"token":"t","last_message_id":"m"}}"#);
        let expected = Auth { token: "t".into(), last_message: Some("m".into()) };
        assert_eq!(auth, Ok(Command::Auth(expected)));
        let data = r#"{"group_id":"g","msg_type":1,"content":"\u5c0f"}"#;
        let text = format!(r#"{{"type":"send_message","data":{data}}}"#);
        let expected =
            SendMessage { data, group: "g".into(), msg_type: 1, content: "小".into(), image_url: String::new() };
        assert_eq!(command(&text), Ok(Command::SendMessage(expected)));
        let image =
            command(r#"{"type":"send_message","data":{"group_id":"g","msg_type":2,"image_url":"u","content":null}}"#);
        assert!(matches!(image, Ok(Command::SendMessage(message)) if message.image_url == "u"));
        let read = command(r#"{"type":"mark_read","data":{"group_id":"g","message_id":7}}"#);
        let expected = MarkRead { group: "g".into(), message: "7".into() };
        assert_eq!(read, Ok(Command::MarkRead(expected)));
    }

    #[test]
    fn what_is_missing_or_wrong() {
        const FORMAT: &str = "消息格式错误";
        for (text, message) in [
            (r#"{"type":"auth"}"#, FORMAT),
            (r#"{"type":"auth","data":[]}"#, FORMAT),
            (r#"{"type":"auth","data":{"token":5}}"#, FORMAT),
            (r#"{"type":"auth","data":{"token":"t","last_message_id":{}}}"#, FORMAT),
            (r#"{"type":"auth","data":{}}"#, "token 不能为空"),
            (r#"{"type":"join_group","data":{}}"#, "group_id 不能为空"),
            (r#"{"type":"join_group","data":{"group_id":""}}"#, "group_id 不能为空"),
            (r#"{"type":"join_group","data":{"group_id":12}}"#, FORMAT),
            (r#"{"type":"leave_group"}"#, FORMAT),
            (r#"{"type":"mark_read","data":{"group_id":"g"}}"#, "message_id 不能为空"),
            (r#"{"type":"send_message","data":null}"#, FORMAT),
            (r#"{"type":"send_message","data":{"msg_type":1}}"#, "group_id 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","content":"x"}}"#, "msg_type 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":3,"content":"x"}}"#, FORMAT),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":"1"}}"#, FORMAT),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":1}}"#, "content 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":1,"content":""}}"#, "content 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":2}}"#, "image_url 不能为空"),
            (r#"{"type":"shout","data":{}}"#, "未知的消息类型"),
            (r#"{"data":{}}"#, "未知的消息类型"),
        ] {
            let reply = command(text).expect_err("refused").reply();
            assert_eq!((reply.code, &*reply.text), (400, message), "{text}");
        }
    }
}
