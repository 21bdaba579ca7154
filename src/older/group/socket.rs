//! The protocol handler of one connection (`docs/protocols/group.md §4, §5, §6, §9`).
//!
//! Messages come by the channels of the groups, each written once for all who are there. Acks come when a message
//! or a marker is on disk, by the connection's peer. Whoever asks for what it missed is attached first; what comes
//! meanwhile waits until the missed messages are sent, and none of those is sent twice: `resume`.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        broker::{self, FrameLimiter},
        transport::context::{ProtocolHandler, Terms, TransportContext},
    },
    core::{command::Answer, keepalive::Timeouts, message::Entry, wire::WireFormat},
    error::{CloseReason, Fault},
    ids::{ChannelName, Timestamp},
    limits,
    older::group::{
        code::Code,
        courier::REMOVED,
        door::{Place, Shared},
        forum::{self, Sent},
        frame::{Draft, Frame, Request},
        post::{GROUP, USER, group_channel},
        rates::{Refusals, bucket},
        reply::{GroupJson, Reply, number_of},
        roll::Visitor,
    },
};

mod identity;
mod resume;

use resume::Resuming;

/// It did not say who it is in time, or wrongly too often, or its token has ended.
const UNAUTHORIZED: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "no auth with a good token within group.auth_timeout and five attempts, or it has expired",
};
/// It goes on sending although it is refused.
const PERSISTENT: CloseReason =
    CloseReason::Refused { code: 1008, text: "went on above group.messages_per_second although it was told" };
/// The server has no room for what the connection needs.
const NO_ROOM: CloseReason =
    CloseReason::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };

/// See the module.
pub struct Socket {
    shared: Arc<Shared>,
    address: IpAddr,
    bucket: Option<FrameLimiter>,
    refusals: Refusals,
    attempts: u32,
    identity: Option<Identity>,
    resuming: Option<Resuming>,
    /// It has asked for what it missed: its entries are looked at one by one.
    is_tailored: bool,
    /// Numbers of the missed messages that were sent, until they come by the channel as well.
    sent: HashSet<u64>,
    _place: Place,
}

/// Whose the connection is.
struct Identity {
    user: Arc<str>,
    expires: Option<Timestamp>,
    visitor: Arc<Visitor>,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, address: IpAddr, place: Place) -> Self {
        Self {
            bucket: bucket(&shared.forum.settings, &shared.forum.clock),
            shared,
            address,
            refusals: Refusals::default(),
            attempts: 0,
            identity: None,
            resuming: None,
            is_tailored: false,
            sent: HashSet::new(),
            _place: place,
        }
    }

    fn user(&self) -> Option<Arc<str>> {
        self.identity.as_ref().map(|identity| Arc::clone(&identity.user))
    }

    fn refuse(&mut self, code: Code, id: &str, transport: &mut TransportContext<'_>) {
        transport.count_error();
        let forum = &self.shared.forum;
        forum.figures.refused(code);
        let reply = Reply { id, now: transport.now() };
        if code == Code::Internal {
            // What the log says stands by this name (§5).
            let name = super::post::uuid();
            tracing::error!(name, "a request of a group client failed");
            let text = format!("{} ({name})", code.text());
            return transport.send_frame(reply.error_text(code, &text));
        }
        if code == Code::NoGroupToJoin {
            let path = forum.settings.api_path.trim_end_matches('/');
            let text = format!(
                "{}：群聊由服务端以 X-Service-Key 调用 POST {path}/groups 创建，或由 group.open_groups 允许用户加入时创建 (a \
                 service makes groups by POST {path}/groups; with group.open_groups a join does)",
                code.text()
            );
            return transport.send_frame(reply.error_text(code, &text));
        }
        transport.send_frame(reply.error(code));
        if code == Code::TooFrequent && self.refusals.note(forum.clock.uptime()) {
            transport.close(PERSISTENT);
        }
    }

    fn hear(&mut self, text: &str, transport: &mut TransportContext<'_>) {
        let frame = Frame::parse(text);
        let id = match &frame {
            Ok(frame) => frame.id.clone(),
            Err(unreadable) => unreadable.id.clone(),
        };
        if text.len() > limits::GROUP_MESSAGE_BYTES {
            return self.refuse(Code::TooLarge, &id, transport);
        }
        if !transport.may_send() {
            return self.refuse(Code::TooFrequent, &id, transport);
        }
        let Ok(frame) = frame else {
            return self.refuse(Code::BadFormat, &id, transport);
        };
        self.shared.forum.figures.received(frame.kind);
        if self.identity.is_none() && !frame.kind.needs_no_user() {
            return self.refuse(Code::Unauthorized, &id, transport);
        }
        let done = frame.request().and_then(|request| self.act(request, &frame, transport));
        if let Err(code) = done {
            self.refuse(code, &id, transport);
            if matches!(code, Code::NotStored | Code::Busy) {
                let reply = Reply { id: &id, now: transport.now() };
                transport.send_frame(reply.ack(&id, false));
            }
        }
    }

    fn act(&mut self, request: Request, frame: &Frame<'_>, transport: &mut TransportContext<'_>) -> Result<(), Code> {
        let id = &*frame.id;
        let reply = Reply { id, now: transport.now() };
        let user = self.user().unwrap_or_default();
        let forum = Arc::clone(&self.shared.forum);
        let answer = |transport: &TransportContext<'_>| forum::Answer { handle: transport.handle(), id: id.to_owned() };
        match request {
            Request::Ping => transport.send_frame(reply.pong()),
            Request::Auth(credentials) => self.authenticate(&credentials, id, transport)?,
            Request::Send(draft) => self.send(draft, frame, transport)?,
            Request::Join { group } => {
                forum.admit(&group, &user).map_err(|code| match code {
                    Code::NoGroup => Code::NoGroupToJoin,
                    code => code,
                })?;
                self.join(&group, reply.ack(id, true), transport)?;
            }
            Request::Leave { group } => {
                let ack = reply.ack(id, true);
                if transport.detach(&group_channel(&group), 0, ack.clone()).is_err() {
                    transport.send_frame(ack);
                }
            }
            Request::MarkRead { group, message } => {
                forum.mark_read(&group, &user, &message, answer(transport))?;
            }
        }
        Ok(())
    }

    fn send(&mut self, draft: Draft, frame: &Frame<'_>, transport: &mut TransportContext<'_>) -> Result<(), Code> {
        let user = self.user().unwrap_or_default();
        let is_free = self.bucket.as_ref().is_none_or(|bucket| bucket.check().is_ok());
        if !is_free || !self.shared.rates.allow(&user) {
            return Err(Code::TooFrequent);
        }
        let forum = Arc::clone(&self.shared.forum);
        if forum.admit(&draft.group, &user)? {
            self.join(&draft.group, Bytes::new(), transport)?;
        }
        let answer = forum::Answer { handle: transport.handle(), id: frame.id.clone() };
        if let Sent::Now(message) = forum.send(draft, &user, frame.data(), answer)? {
            let reply = Reply { id: &frame.id, now: transport.now() };
            transport.send_frame(reply.ack(&message, true));
        }
        Ok(())
    }

    /// Subscribes, and sends `ack` when that is done.
    fn join(&mut self, group: &str, ack: Bytes, transport: &mut TransportContext<'_>) -> Result<(), Code> {
        let channel = group_channel(group);
        if transport.filter(&channel, 0).is_some() {
            if !ack.is_empty() {
                transport.send_frame(ack);
            }
            return Ok(());
        }
        let attached = self.attach(&channel, ack, transport);
        attached.map_err(|fault| Code::from(&fault))
    }

    fn attach(&self, channel: &ChannelName, context: Bytes, transport: &mut TransportContext<'_>) -> Result<(), Fault> {
        transport.subscribe(channel, self.is_tailored, context)
    }

    /// Whether the user may get what comes by a channel.
    fn may_hear(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        if name.starts_with(USER) {
            return true;
        }
        let (Some(group), Some(user)) = (name.strip_prefix(GROUP), self.user()) else {
            return false;
        };
        self.shared.forum.check_member(group, &user).is_ok()
    }
}

impl ProtocolHandler for Socket {
    fn format(&self) -> &'static dyn WireFormat {
        &GroupJson
    }

    fn terms(&self, settings: &broker::Settings) -> Terms {
        let group = &self.shared.forum.settings;
        let mut terms = Terms::new(settings);
        terms.timeouts = Timeouts {
            ping_interval: group.ping_interval,
            idle_timeout: group.idle_timeout,
            stall_timeout: group.stall_timeout,
        };
        terms.channels = limits::GROUPS_OF_USER + 1;
        terms
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        transport.wake_in(self.shared.forum.settings.auth_timeout);
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        self.hear(&text, transport);
    }

    /// The older server reads both kinds of frames as JSON.
    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        match ByteString::try_from(data) {
            Ok(text) => self.hear(&text, transport),
            Err(_) => self.refuse(Code::BadFormat, "", transport),
        }
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(attached) => {
                if !self.may_hear(channel) {
                    // Removed while it was attaching.
                    let _ = transport.detach(channel, 0, Bytes::new());
                }
                if !attached.context.is_empty() {
                    transport.send_frame(attached.context);
                }
                self.note_answer(channel, transport);
            }
            Answer::Detached { context, .. } => {
                if context == REMOVED {
                    // By the server: this says that it is not wanted any more.
                    let _ = transport.detach(channel, 0, Bytes::new());
                } else if !context.is_empty() {
                    transport.send_frame(context);
                }
            }
            Answer::AttachRefused { .. } => transport.close(NO_ROOM),
            // It publishes nothing itself.
            Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Entry) -> Option<Bytes> {
        let frame = entry.frame(self.format()).clone();
        if frame.is_empty() {
            return None;
        }
        let number = number_of(entry);
        match &mut self.resuming {
            Some(resuming) => {
                resuming.hold(number, frame);
                None
            }
            None if number.is_some_and(|number| self.sent.remove(&number)) => None,
            None => Some(frame),
        }
    }

    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        self.catch_up(transport);
        let Some(identity) = &self.identity else {
            return;
        };
        for group in identity.visitor.take_invitations() {
            let is_member = self.shared.forum.check_member(&group, &identity.user).is_ok();
            let channel = group_channel(&group);
            if is_member
                && transport.filter(&channel, 0).is_none()
                && self.attach(&channel, Bytes::new(), transport).is_err()
            {
                return transport.close(NO_ROOM);
            }
        }
    }

    fn woken(&mut self, transport: &mut TransportContext<'_>) {
        let now = transport.now();
        match &self.identity {
            None => transport.close(UNAUTHORIZED),
            Some(Identity { expires: Some(expires), .. }) if now >= *expires => {
                self.refuse(Code::Expired, "", transport);
                transport.close(UNAUTHORIZED);
            }
            Some(_) => self.wake_at_the_end(transport),
        }
    }

    fn closed(&mut self, _: &mut TransportContext<'_>) {
        if let Some(identity) = self.identity.take() {
            self.shared.forum.leave(&identity.user, &identity.visitor);
        }
    }
}
