//! `send_message`: stored, acknowledged, and sent to all members (`docs/protocols/group.md §4, §6`).

use bytes::Bytes;

use super::Request;
use crate::older::group::{
    code::Code,
    frame::{Frame, filled},
    groups::Sent,
    message::GroupMessage,
    socket::Socket,
};

#[derive(Debug, PartialEq, Eq)]
pub struct SendMessage<'a> {
    /// All of it as the client wrote it: the same again is the same message.
    pub data: &'a str,
    pub group: String,
    /// 1 text, 2 image.
    pub msg_type: u8,
    pub content: String,
    pub image_url: String,
}

impl<'a> SendMessage<'a> {
    pub fn parse(frame: &Frame<'a>) -> Result<Self, Code> {
        let data = frame.data()?;
        let group = filled(data.group_id, "group_id")?;
        let (content, image_url) = (data.content, data.image_url);
        let (msg_type, content, image_url) = match data.msg_type {
            Some(1) => (1, filled(content, "content")?, image_url.unwrap_or_default().into_owned()),
            Some(2) => (2, content.unwrap_or_default().into_owned(), filled(image_url, "image_url")?),
            Some(_) => return Err(Code::BadFormat),
            None => return Err(Code::Missing("msg_type")),
        };
        Ok(Self { data: frame.raw_data(), group, msg_type, content, image_url })
    }

    pub fn run(self, socket: &mut Socket, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let Self { data, group, msg_type, content, image_url } = self;
        let user = socket.user()?;
        let is_free = socket.limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok());
        if !is_free || !socket.shared.rates.allow(&user) {
            return Err(Code::TooFrequent);
        }
        if socket.shared.groups.admit(&group, &user)? {
            socket.join(&group, Bytes::new(), request.transport)?;
        }
        let message = GroupMessage {
            group_id: group,
            sender_id: user.to_string(),
            msg_type,
            content,
            image_url,
            ..GroupMessage::default()
        };
        if let Sent::Now(id) = socket.shared.groups.send(message, data, request.answer_to())? {
            let ack = request.reply().ack(&id, true);
            request.transport.send_frame(ack);
        }
        Ok(())
    }
}
