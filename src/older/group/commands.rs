//! What clients ask for (`docs/protocols/group.md §4, §5, §6, §9`).

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    actors::{accounts, refusals::Reason, transport::context::TransportContext},
    limits,
    older::group::{
        code::Code,
        frame::{Data, Frame, Kind},
        groups::{AnswerTo, Sent},
        message::{GroupMessage, group_channel, user_channel},
        reply::ReplyTo,
        resume::Resuming,
        socket::{FIVE_ATTEMPTS, Identity, NO_ROOM, Socket},
    },
};

/// A request, by the name that the client has for it.
pub struct Request<'a, 'b> {
    pub id: &'a str,
    pub transport: &'a mut TransportContext<'b>,
}

impl Request<'_, '_> {
    fn reply(&self) -> ReplyTo<'_> {
        ReplyTo { id: self.id, now: self.transport.now() }
    }

    fn ack(&self) -> Bytes {
        self.reply().ack(self.id, true)
    }

    /// Paid for, with so many bytes that are kept until it comes.
    fn answer_to(&self, bytes: usize) -> Result<AnswerTo, Code> {
        let bytes = limits::GROUP_ANSWER_COST + self.id.len() + bytes;
        let charge = self.transport.charge(accounts::Kind::Inbound, bytes);
        let charge = charge.map_err(|full| Code::NoMemory(full.to_string()))?;
        Ok(AnswerTo { handle: self.transport.handle(), id: self.id.to_owned(), charge })
    }
}

impl Socket {
    /// # Errors
    /// The first rule that the frame breaks, or why it is not carried out.
    pub(super) fn carry_out(&mut self, frame: &Frame<'_>, mut request: Request<'_, '_>) -> Result<(), Code> {
        self.shared.groups.counters.received(frame.kind);
        match frame.kind {
            Kind::Ping => {
                let pong = request.reply().pong();
                request.transport.send_frame(pong);
                return Ok(());
            }
            Kind::Auth => return self.authenticate(frame.data()?, &mut request),
            _ => {}
        }
        let user = self.user()?;
        match frame.kind {
            Kind::SendMessage => self.send(frame.data()?.message()?, frame.raw_data, &user, &mut request),
            Kind::JoinGroup => self.join_group(&frame.data()?.group()?, &user, &mut request),
            Kind::LeaveGroup => {
                let (group, ack) = (frame.data()?.group()?, request.ack());
                // Also where it never was. Its user stays a member.
                if request.transport.detach(&group_channel(&group), 0, ack.clone()).is_err() {
                    request.transport.send_frame(ack);
                }
                Ok(())
            }
            Kind::MarkRead => {
                let (group, message) = frame.data()?.marked()?;
                let answer = request.answer_to(group.len() + message.len())?;
                self.shared.groups.mark_read(group, &user, message, answer)
            }
            Kind::Ping | Kind::Auth | Kind::Unknown => Err(Code::UnknownType),
        }
    }

    fn authenticate(&mut self, data: Data<'_>, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let (token, last_message) = data.credentials()?;
        let groups = Arc::clone(&self.shared.groups);
        let pass = match self.shared.access.get().check(&token, &groups.clock) {
            Ok(pass) => pass,
            Err(reason) => {
                self.refuse_token(reason.as_deref(), request);
                return Ok(());
            }
        };
        let success = request.reply().auth_success(&pass.user, None);
        if let Some(identity) = &mut self.identity {
            if identity.connection.user != pass.user {
                return Err(Code::OtherUser);
            }
            identity.expires = pass.expires;
            request.transport.send_frame(success);
            self.wake_at_the_end(request.transport);
            return Ok(());
        }
        let names = groups.groups_of(&pass.user)?;
        let connection = groups.enter(&pass.user, request.transport.handle(), request.transport.connection());
        self.identity = Some(Identity { connection, expires: pass.expires });
        self.wake_at_the_end(request.transport);
        self.is_tailored = last_message.is_some();
        let channels = names.iter().map(|group| group_channel(group));
        let channels: Vec<_> = channels.chain([user_channel(&pass.user)]).collect();
        for channel in &channels {
            if request.transport.subscribe(channel, self.is_tailored, Bytes::new()).is_err() {
                // It would miss messages in silence.
                request.transport.close(NO_ROOM);
                return Ok(());
            }
        }
        match last_message {
            None => request.transport.send_frame(success),
            Some(last) => match request.transport.charge(accounts::Kind::Outbox, 0) {
                Ok(charge) => self.resuming = Some(Resuming::new(request.id, last, channels, charge)),
                Err(full) => request.transport.close(full.to_close_reason()),
            },
        }
        Ok(())
    }

    /// `reason`: which claim of a token of ours is why.
    fn refuse_token(&mut self, reason: Option<&str>, request: &mut Request<'_, '_>) {
        request.transport.count_error();
        let why = || "group: the token of a connection is refused".to_owned();
        request.transport.worker().broker.refused(Reason::Token, Some(self.address), why);
        self.shared.note_failure(self.address);
        let failed = request.reply().auth_failed(reason);
        request.transport.send_frame(failed);
        self.attempts += 1;
        if self.attempts >= limits::GROUP_AUTH_ATTEMPTS {
            request.transport.close(FIVE_ATTEMPTS);
        }
    }

    /// This connection gets the messages of a group from now on.
    fn join_group(&self, group: &str, user: &str, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let groups = &self.shared.groups;
        groups.admit(group, user).map_err(|code| match code {
            Code::NoGroup => Code::NoGroupToJoin(groups.settings.api_path.trim_end_matches('/').to_owned()),
            code => code,
        })?;
        let ack = request.ack();
        self.join(group, ack, request.transport)
    }

    /// Stored, acknowledged, and sent to all members; `data` is how the client wrote it.
    fn send(&self, message: GroupMessage, data: &str, user: &Arc<str>, to: &mut Request<'_, '_>) -> Result<(), Code> {
        if !self.shared.rates.allow(user) {
            return Err(Code::TooFrequent);
        }
        let groups = &self.shared.groups;
        if groups.admit(&message.group_id, user)? {
            self.join(&message.group_id, Bytes::new(), to.transport)?;
        }
        let message = GroupMessage { sender_id: user.to_string(), ..message };
        // As it was read, as it is written, and on its way to the store.
        if let Sent::Now(id) = groups.send(message, data, to.answer_to(3 * data.len())?)? {
            let ack = to.reply().ack(&id, true);
            to.transport.send_frame(ack);
        }
        Ok(())
    }
}
