//! ATTACH, DETACH and SYNC, and what channels answer to them (`docs/protocols/ably.md §5.3, §5.4, §7.4`).

use std::{
    rc::Rc,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        transport::context::{Attaching, TransportContext},
    },
    auth::base64_text,
    core::{
        capability::Operation,
        command::{Attached, Start},
        delta::DeltaStream,
        filter::{Expression, Filter},
        message::Entry,
        modes::Modes,
        serial::Serial,
        window::Gap,
    },
    error::{Fault, Found},
    ids::ChannelName,
    protocols::ably::{
        connection::AblyConnection,
        name::{Name, Qualifier},
        params::ChannelParams,
        rates::cost_of_attach,
        sync,
        wire::{self, ErrorInfo, Format, ProtocolMessage, ServerFrame, format_of},
    },
};

/// Flags of ATTACHED and ATTACH beside the modes (§2.3).
pub mod flags {
    pub const HAS_PRESENCE: u64 = 1;
    pub const HAS_BACKLOG: u64 = 1 << 1;
    pub const RESUMED: u64 = 1 << 2;
    pub const HAS_OBJECTS: u64 = 1 << 7;
    /// On ATTACH: the client was attached before, so nothing is rewound for it.
    pub const ATTACH_RESUME: u64 = 1 << 5;
}

/// Comes back with the answer to a detach for which the client has got an error already.
const SILENT: Bytes = Bytes::from_static(b"silent");

/// One attachment as its client asked for it.
pub struct Attachment {
    /// The name exactly as the client wrote it (T28).
    pub requested: ByteString,
    pub resource: String,
    pub params: ChannelParams,
    /// What was asked for, or the default: granted as far as the capability goes, which may change.
    wanted: Modes,
    pub modes: Modes,
    /// Why the position that was asked for is not readable; sent with the answer.
    unreadable: Option<Fault>,
    chosen_by: Option<Chosen>,
    /// How messages are sent to a client that wants differences.
    pub(super) deltas: Option<DeltaStream>,
}

/// The expression of `[filter=…]`, and what is paid for it.
pub(super) struct Chosen {
    pub(super) expression: Arc<Expression>,
    _charge: Option<Charge>,
}

impl Chosen {
    pub(super) fn new(
        name: &Name,
        channel: &ChannelName,
        transport: &TransportContext<'_>,
    ) -> Result<Option<Self>, Fault> {
        let Some(Qualifier::Filter(text)) = &name.qualifier else {
            return Ok(None);
        };
        let text = base64_text::decode(text.as_bytes()).and_then(|text| String::from_utf8(text).ok());
        let text = text.ok_or_else(|| Fault::InvalidFilter { why: "it is not UTF-8 in base64".into() })?;
        let expression = transport.expression(channel, &text)?;
        let charge = transport.charge(Kind::Connection, expression.cost()).map_err(Full::to_fault)?;
        Ok(Some(Self { expression, _charge: charge }))
    }
}

impl Attachment {
    pub fn occupancy_category(&self) -> Option<&str> {
        self.params.occupancy.as_ref()?.category()
    }

    /// Bytes of what is kept of it, its alias among that.
    pub(super) fn cost(&self) -> usize {
        let echoed = self.params.echo.iter();
        let echoed: usize = echoed.map(|(name, value)| 2 * size_of::<String>() + name.len() + value.len()).sum();
        // An entry that is kept no more leaves its place to whoever knows of it.
        let base = if self.params.delta { size_of::<Entry>() } else { 0 };
        2 * self.requested.len() + self.resource.len() + echoed + base
    }

    fn filter(&self, alias: u16, echo: bool) -> Filter {
        let mut filter = Filter::new(self.modes, echo);
        filter.occupancy = self.params.occupancy.is_some();
        filter.full_appends = self.params.full_appends;
        filter.expression = self.chosen_by.as_ref().map(|chosen| Arc::clone(&chosen.expression));
        filter.is_tailored = alias != 0 || self.params.delta || self.occupancy_category().is_some();
        filter
    }
}

/// The modes of an ATTACH that names none (§2.4).
fn default_modes() -> Modes {
    Modes::PRESENCE | Modes::PUBLISH | Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE | Modes::ANNOTATION_PUBLISH
}

impl AblyConnection {
    pub(super) fn attach(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let requested = message.channel.clone().unwrap_or_default();
        if let Err(fault) = self.try_attach(message, transport) {
            self.refuse_attach(&requested, &fault, transport);
        }
    }

    fn try_attach(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) -> Result<(), Fault> {
        let name = Name::parse(message.channel.clone().unwrap_or_default())?;
        let in_name = name.params.iter().map(|(key, value)| (&**key, &**value));
        let in_frame = message.params.iter();
        let in_frame = in_frame.map(|(key, value)| (key.as_str(), value.as_str()));
        let params = ChannelParams::parse(in_name.chain(in_frame))?;

        let flags = message.flags;
        let by_flags = Some(Modes::from_flags(flags)).filter(|modes| !modes.is_empty());
        let wanted = params.modes.or(by_flags).unwrap_or_else(default_modes);
        let resource = name.resource().into_owned();
        let operations = self.access.operations_on(&resource);
        // Only the server publishes to a metachannel.
        let wanted = if name.is_meta() { wanted & Modes::SUBSCRIBE } else { wanted };
        let modes = wanted & operations.modes();
        if modes.is_empty() {
            return Err(self.access.not_permitted("attach", &resource));
        }
        if params.occupancy.is_some() && !operations.has(Operation::ChannelMetadata) {
            return Err(self.access.not_permitted("channel-metadata (for the param occupancy)", &resource));
        }
        let channel = name.channel(self.access.app.id);
        self.check_identified(&channel)?;

        let position = message.channel_serial.filter(|serial| !serial.is_empty());
        let is_again = flags & flags::ATTACH_RESUME != 0;
        let unreadable = position.as_deref().filter(|position| Serial::parse(position).is_none()).map(Found::text);
        let start = match (position, params.rewind) {
            (Some(position), _) => Start::After(Serial::parse(&position)),
            (None, Some(rewind)) if !is_again => Start::Rewind(rewind),
            (None, _) => Start::Head,
        };
        let unreadable = unreadable.map(|found| Fault::PositionUnreadable { found });
        let chosen_by = Chosen::new(&name, &channel, transport)?;
        let requested = name.whole.clone();
        let deltas = params.delta.then(|| DeltaStream::new(Rc::clone(&transport.worker().deltas)));
        let attachment = Attachment { requested, resource, params, wanted, modes, unreadable, chosen_by, deltas };
        let alias = self.aliases.number_for(&name)?;
        let rate = cost_of_attach(&start);
        let cost = attachment.cost();
        let attaching = Attaching { alias, start, cost, ..Attaching::new(attachment.filter(alias, self.echo)) };
        transport.attach(&channel, attaching)?;
        transport.spend(rate);
        self.aliases.keep(&name.whole, alias);
        self.attachments.insert((channel, alias), attachment);
        Ok(())
    }

    pub(super) fn attached(&mut self, channel: &ChannelName, attached: Attached, transport: &mut TransportContext<'_>) {
        let alias = attached.subscription.id.alias;
        let key = (channel.clone(), alias);
        if let Some(deltas) = self.attachments.get_mut(&key).and_then(|attachment| attachment.deltas.as_mut())
            && attached.context != sync::ASKED
        {
            // Whatever the client had before, it may have dropped.
            let last = attached.backlog.as_ref().map(|backlog| Weak::clone(&backlog.last));
            deltas.go_on_from(last.unwrap_or_default());
        }
        let Some(attachment) = self.attachments.get(&key) else {
            return;
        };
        let modes = attached.subscription.filter.modes;
        let sees_members = modes.has(Modes::PRESENCE_SUBSCRIBE);
        if attached.context == sync::ASKED {
            self.send_members(channel, &attachment.requested, &attached.members, transport);
            return;
        }
        let has_presence = sees_members && !attached.members.is_empty();
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let fault = |gap| attachment.unreadable.clone().unwrap_or(gap_fault(gap));
        let error: Option<ErrorInfo> = attached.gap.map(|gap| (&fault(gap)).into());
        let frame = ServerFrame::Attached {
            channel: &attachment.requested,
            channel_serial: &attached.position.to_string(),
            flags: modes.flags()
                | flag(has_presence, flags::HAS_PRESENCE)
                | flag(attached.backlog.is_some(), flags::HAS_BACKLOG)
                | flag(attached.objects.is_some(), flags::HAS_OBJECTS)
                | flag(attached.resumed, flags::RESUMED),
            params: &attachment.params.echo,
            error: error.as_ref(),
        };
        self.say(&frame, transport);
        // All of it before anything else: clients judge leaves by whether they come before, between or
        // after the pages.
        if has_presence {
            self.send_members(channel, &attachment.requested, &attached.members, transport);
        }
        if let Some(objects) = &attached.objects {
            self.send_objects(channel, &attachment.requested, objects, transport);
        }
        if let Some(backlog) = attached.backlog {
            let (format, requested) = (self.format, attachment.requested.clone());
            // A client that is attached attaches again, from what it got last (RTL13a), and is told of the gap then.
            let error = Some(&(&gap_fault(Gap::Expired)).into());
            let broken = ServerFrame::Detached { channel: &requested, error }.encode(format);
            let mut deltas = attachment.deltas.as_ref().map(DeltaStream::anew);
            transport.send_backlog(backlog, broken, move |entry| {
                let difference = deltas.as_mut().map(|deltas| deltas.next(entry));
                frame_for(alias, &requested, difference.as_ref().unwrap_or(entry), format, None)
            });
        }
    }

    pub(super) fn attach_refused(
        &mut self,
        channel: &ChannelName,
        alias: u16,
        fault: &Fault,
        transport: &mut TransportContext<'_>,
    ) {
        if let Some(requested) = self.concluded(channel, alias, transport) {
            self.refuse_attach(&requested, fault, transport);
        }
    }

    /// What will never succeed fails the channel; what may succeed later lets the client try again
    /// (T32).
    pub(super) fn refuse_attach(&self, channel: &str, fault: &Fault, transport: &mut TransportContext<'_>) {
        transport.count_error();
        let error = &fault.into();
        let frame = if fault.http_status() >= 500 || *fault == Fault::RateLimited {
            let error = Some(error);
            ServerFrame::Detached { channel, error }
        } else {
            let channel = Some(channel);
            ServerFrame::Error { channel, error }
        };
        self.say(&frame, transport);
    }

    pub(super) fn detach(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let requested = message.channel.unwrap_or_default();
        let detached = Name::parse(requested.clone()).and_then(|name| {
            let alias = self.aliases.known(&name).ok_or(Fault::NotAttached)?;
            transport.detach(&name.channel(self.access.app.id), alias, Bytes::new())
        });
        match detached {
            Ok(()) => {}
            // Then there is nothing to detach from.
            Err(fault) if fault.http_status() < 500 => {
                let frame = ServerFrame::Detached { channel: &requested, error: None };
                self.say(&frame, transport);
            }
            // Not answered: the client asks again.
            Err(_) => {}
        }
    }

    pub(super) fn detached(
        &mut self,
        channel: &ChannelName,
        alias: u16,
        context: &Bytes,
        transport: &mut TransportContext<'_>,
    ) {
        let Some(requested) = self.concluded(channel, alias, transport) else {
            return;
        };
        if *context != SILENT {
            let frame = ServerFrame::Detached { channel: &requested, error: None };
            self.say(&frame, transport);
        }
    }

    /// The name of an attachment of which one request has ended. It is forgotten unless there are more, whose answers need
    /// it as well: every DETACH is answered (§5.4).
    fn concluded(&mut self, channel: &ChannelName, alias: u16, transport: &TransportContext<'_>) -> Option<ByteString> {
        let key = (channel.clone(), alias);
        let requested = self.attachments.get(&key)?.requested.clone();
        if !transport.awaits(channel, alias) {
            self.attachments.remove(&key);
            self.aliases.release(&requested);
        }
        Some(requested)
    }

    /// The capability has changed: attachments get the modes that it grants now, or end.
    pub(super) fn regrant(&mut self, transport: &mut TransportContext<'_>) {
        let mut ended = Vec::new();
        for ((channel, alias), attachment) in &mut self.attachments {
            let operations = self.access.operations_on(&attachment.resource);
            let modes = attachment.wanted & operations.modes();
            if modes == attachment.modes {
                continue;
            }
            if modes.is_empty() {
                ended.push((channel.clone(), *alias));
                continue;
            }
            attachment.modes = modes;
            let filter = attachment.filter(*alias, self.echo);
            let cost = attachment.cost();
            let attaching = Attaching { alias: *alias, evicts: true, cost, ..Attaching::new(filter) };
            if let Err(fault) = transport.attach(channel, attaching) {
                tracing::warn!(%fault, "an attachment keeps the modes that it had");
            }
        }
        for (channel, alias) in ended {
            if let Some(attachment) = self.attachments.get(&(channel.clone(), alias)) {
                let fault = self.access.not_permitted("attach", &attachment.resource);
                self.refuse_attach(&attachment.requested, &fault, transport);
            }
            // It fails only when there is no attachment.
            let _ = transport.detach(&channel, alias, SILENT);
        }
    }
}

/// The frame of an entry for an attachment: shared with all others that know the channel by its plain name.
pub(super) fn frame_for(
    alias: u16,
    channel: &str,
    entry: &Entry,
    format: Format,
    occupancy_category: Option<&str>,
) -> Bytes {
    if alias == 0 && occupancy_category.is_none() {
        entry.frame(format_of(format)).clone()
    } else {
        wire::encode_as(entry, format, channel, occupancy_category)
    }
}

pub(super) const fn gap_fault(gap: Gap) -> Fault {
    match gap {
        Gap::Expired | Gap::OtherLog => Fault::PositionExpired,
        Gap::TooLong => Fault::BacklogTooLong,
    }
}
