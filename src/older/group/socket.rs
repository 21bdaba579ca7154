//! The protocol handler of one connection (`docs/protocols/group.md §4, §5, §6, §9`).
//!
//! Messages come by the channels of the groups, each written once for all who are there. Acks come when a message
//! or a marker is on disk, past the channels. Whoever asks for what it missed is attached first; what comes
//! meanwhile waits until the missed messages are sent, and none of those is sent twice: `resume`.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        broker,
        transport::context::{ProtocolHandler, Terms, TransportContext},
    },
    core::{command::Answer, keepalive::Timeouts, message::Entry, wire::WireFormat},
    error::CloseReason,
    ids::{ChannelName, Timestamp},
    limits,
    older::group::{
        code::Code,
        commands::Request,
        endpoint::{ConnectionPlace, Shared},
        frame::Frame,
        groups::{REMOVED, UserConnection},
        message::{GROUP, USER, group_channel, uuid},
        rates::Tally,
        reply::{GroupJson, ReplyTo, number_of},
        resume::Resuming,
    },
};

const NO_AUTH: CloseReason =
    CloseReason::Refused { code: 4401, text: "no auth with a good token within group.auth_timeout" };
const TOKEN_ENDED: CloseReason =
    CloseReason::Refused { code: 4401, text: "the token has expired; connect again with another one" };
/// As many as [`limits::GROUP_AUTH_ATTEMPTS`].
pub const FIVE_ATTEMPTS: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "five attempts to authenticate have failed; connect again with a good token",
};
/// It goes on sending although it is refused.
const PERSISTENT: CloseReason = CloseReason::Refused {
    code: 1008,
    text: "100 requests within a minute were refused as too frequent: send more slowly",
};
/// The server has no room for what the connection needs.
pub const NO_ROOM: CloseReason =
    CloseReason::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };

/// See the module.
pub struct Socket {
    pub(super) shared: Arc<Shared>,
    pub(super) address: IpAddr,
    refusals: Tally,
    /// To authenticate, and failed.
    pub(super) attempts: u32,
    pub(super) identity: Option<Identity>,
    pub(super) resuming: Option<Resuming>,
    /// It has asked for what it missed: its entries are looked at one by one.
    pub(super) is_tailored: bool,
    /// Numbers of the missed messages that were sent, until they come by the channel as well.
    pub(super) sent: HashSet<u64>,
    _place: ConnectionPlace,
}

/// Whose the connection is.
pub(super) struct Identity {
    pub connection: UserConnection,
    pub expires: Option<Timestamp>,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, address: IpAddr, place: ConnectionPlace) -> Self {
        Self {
            shared,
            address,
            refusals: Tally::default(),
            attempts: 0,
            identity: None,
            resuming: None,
            is_tailored: false,
            sent: HashSet::new(),
            _place: place,
        }
    }

    /// # Errors
    /// [`Code::Unauthorized`] before it has said who it is.
    pub(super) fn user(&self) -> Result<Arc<str>, Code> {
        self.identity.as_ref().map(|identity| Arc::clone(&identity.connection.user)).ok_or(Code::Unauthorized)
    }

    pub(super) fn refuse(&mut self, code: &Code, id: &str, transport: &mut TransportContext<'_>) {
        transport.count_error();
        let groups = &self.shared.groups;
        groups.counters.refused(code);
        // The client and the log have this name for what went wrong (§5).
        let name = (*code == Code::Internal).then(uuid);
        if let Some(name) = &name {
            tracing::error!(name, "a request of a group client failed");
        }
        transport.send_frame(ReplyTo { id, now: transport.now() }.error(code, name.as_deref()));
        if *code == Code::TooFrequent
            && self.refusals.note(groups.clock.uptime(), limits::GROUP_REFUSALS_WITHIN) >= limits::GROUP_REFUSALS
        {
            transport.close(PERSISTENT);
        }
    }

    fn receive(&mut self, text: &str, transport: &mut TransportContext<'_>) {
        let (id, frame) = Frame::parse(text);
        let outcome = match frame {
            _ if text.len() > limits::GROUP_MESSAGE_BYTES => Err(Code::TooLarge),
            Ok(frame) => self.carry_out(&frame, Request { id: &id, transport: &mut *transport }),
            Err(code) => Err(code),
        };
        if let Err(code) = outcome {
            self.refuse(&code, &id, transport);
            if code.is_failure() {
                transport.send_frame(ReplyTo { id: &id, now: transport.now() }.ack(&id, false));
            }
        }
    }

    /// Subscribes, and sends `ack` when that is done.
    pub(super) fn join(&self, group: &str, ack: Bytes, transport: &mut TransportContext<'_>) -> Result<(), Code> {
        let channel = group_channel(group);
        if transport.filter(&channel, 0).is_none() {
            return transport.subscribe(&channel, self.is_tailored, ack).map_err(|fault| Code::from(&fault));
        }
        if !ack.is_empty() {
            transport.send_frame(ack);
        }
        Ok(())
    }

    pub(super) fn wake_at_the_end(&self, transport: &mut TransportContext<'_>) {
        if let Some(expires) = self.identity.as_ref().and_then(|identity| identity.expires) {
            let left = expires.millis().saturating_sub(transport.now().millis());
            transport.wake_in(Duration::from_millis(left));
        }
    }

    /// Whether the user may get what comes by a channel.
    fn may_hear(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        if name.starts_with(USER) {
            return true;
        }
        let (Some(group), Ok(user)) = (name.strip_prefix(GROUP), self.user()) else {
            return false;
        };
        self.shared.groups.check_member(group, &user).is_ok()
    }
}

impl ProtocolHandler for Socket {
    fn format(&self) -> &'static dyn WireFormat {
        &GroupJson
    }

    fn client_id(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| &*identity.connection.user)
    }

    fn terms(&self, settings: &broker::Settings) -> Terms {
        let group = &self.shared.groups.settings;
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
        transport.wake_in(self.shared.groups.settings.auth_timeout);
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        self.receive(&text, transport);
    }

    /// The older server reads both kinds of frames as JSON.
    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        match ByteString::try_from(data) {
            Ok(text) => self.receive(&text, transport),
            Err(_) => self.refuse(&Code::BadFormat, "", transport),
        }
    }

    fn over_rate(&mut self, frame: &Bytes, transport: &mut TransportContext<'_>) {
        let id = str::from_utf8(frame).map(|text| Frame::parse(text).0).unwrap_or_default();
        self.refuse(&Code::TooFrequent, &id, transport);
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
                self.note_attached(channel, transport);
            }
            Answer::Detached { context, .. } => {
                if context == REMOVED {
                    // By the server: the attachment is not wanted any more here, either.
                    let _ = transport.detach(channel, 0, Bytes::new());
                } else if !context.is_empty() {
                    transport.send_frame(context);
                }
            }
            Answer::AttachRefused { .. } => transport.close(NO_ROOM),
            // It publishes nothing itself.
            Answer::Broken(_) | Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Arc<Entry>) -> Option<Bytes> {
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
        let notices = self.identity.iter().flat_map(|identity| identity.connection.take_notices());
        for channel in notices {
            if self.may_hear(&channel)
                && transport.filter(&channel, 0).is_none()
                && transport.subscribe(&channel, self.is_tailored, Bytes::new()).is_err()
            {
                return transport.close(NO_ROOM);
            }
        }
    }

    fn woken(&mut self, transport: &mut TransportContext<'_>) {
        let now = transport.now();
        match &self.identity {
            None => transport.close(NO_AUTH),
            Some(Identity { expires: Some(expires), .. }) if now >= *expires => {
                self.refuse(&Code::Expired, "", transport);
                transport.close(TOKEN_ENDED);
            }
            Some(_) => self.wake_at_the_end(transport),
        }
    }

    fn closed(&mut self, _: &mut TransportContext<'_>) {
        if let Some(identity) = self.identity.take() {
            self.shared.groups.leave(&identity.connection);
        }
    }
}
