//! `auth`: who the client is, by its first message (`docs/protocols/group.md §4, §5, §9`).

use bytes::Bytes;

use super::Request;
use crate::{
    actors::refusals::Reason,
    limits,
    older::group::{
        access::Denied,
        code::Code,
        frame::{Data, filled},
        message::{group_channel, user_channel},
        resume::Resuming,
        socket::{FIVE_ATTEMPTS, Identity, NO_ROOM, Socket},
    },
};

#[derive(Debug, PartialEq, Eq)]
pub struct Auth {
    pub token: String,
    /// The last message that the client has; what came after it is to follow.
    pub last_message: Option<String>,
}

impl Auth {
    pub fn parse(data: Data<'_>) -> Result<Self, Code> {
        let last_message = data.last_message()?;
        Ok(Self { token: filled(data.token, "token")?, last_message })
    }

    pub fn run(self, socket: &mut Socket, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let groups = &socket.shared.groups;
        let pass = match socket.shared.access.get().check(&self.token, &groups.clock) {
            Ok(pass) => pass,
            Err(Denied(reason)) => {
                refuse(socket, request, reason.as_deref());
                return Ok(());
            }
        };
        let success = request.reply().auth_success(&pass.user, None);
        if let Some(identity) = &mut socket.identity {
            if identity.connection.user != pass.user {
                return Err(Code::OtherUser);
            }
            identity.expires = pass.expires;
            request.transport.send_frame(success);
            socket.wake_at_the_end(request.transport);
            return Ok(());
        }
        let (handle, connection) = (request.transport.handle(), request.transport.connection());
        let connection = groups.enter(&pass.user, handle, connection);
        let names = groups.groups_of(&pass.user);
        socket.identity = Some(Identity { connection, expires: pass.expires });
        socket.wake_at_the_end(request.transport);
        socket.is_tailored = self.last_message.is_some();
        let channels = names.iter().map(|group| group_channel(group));
        let channels: Vec<_> = channels.chain([user_channel(&pass.user)]).collect();
        for channel in &channels {
            if request.transport.subscribe(channel, socket.is_tailored, Bytes::new()).is_err() {
                // It would miss messages in silence.
                request.transport.close(NO_ROOM);
                return Ok(());
            }
        }
        match self.last_message {
            None => request.transport.send_frame(success),
            Some(last) => socket.resuming = Some(Resuming::new(request.id, last, channels)),
        }
        Ok(())
    }
}

/// `reason`: which claim of a token of ours is why.
fn refuse(socket: &mut Socket, request: &mut Request<'_, '_>, reason: Option<&str>) {
    request.transport.count_error();
    let why = || "group: the token of a connection is refused".to_owned();
    request.transport.worker().broker.refused(Reason::Token, Some(socket.address), why);
    socket.shared.note_failure(socket.address);
    let failed = request.reply().auth_failed(reason);
    request.transport.send_frame(failed);
    socket.attempts += 1;
    if socket.attempts >= limits::GROUP_AUTH_ATTEMPTS {
        request.transport.close(FIVE_ATTEMPTS);
    }
}
