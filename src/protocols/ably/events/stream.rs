//! The protocol handler of a stream of events: it attaches to its channels, and writes what they have as events.

use std::{
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        broker::Settings,
        transport::context::{Attaching, ProtocolHandler, Terms, TransportContext},
    },
    auth::ably::Access,
    core::{
        command::{Answer, Attached, Start},
        delta::DeltaStream,
        filter::Filter,
        frame,
        message::Entry,
        modes::Modes,
        serial::Serial,
        window::Gap,
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::{ChannelName, ConnectionId, Timestamp},
    protocols::ably::{
        attach::{Chosen, gap_fault},
        endpoint::Shared,
        farewell,
        name::Name,
        params::OccupancyWanted,
        rates::cost_of_attach,
        reauth::end_of,
        wire::{EventForm, Format, format_of},
    },
};

/// A channel that a stream listens to. Its place in the list is its alias: one channel may be listed by several names.
pub struct Subscribed {
    pub name: Name,
    pub channel: ChannelName,
    pub modes: Modes,
    pub occupancy: Option<OccupancyWanted>,
    pub delta: bool,
    pub start: Start,
    /// Where the client is: what is before that has been sent.
    pub position: Option<Serial>,
    pub chosen_by: Option<Chosen>,
    pub deltas: Option<DeltaStream>,
}

pub struct EventStream {
    id: ConnectionId,
    access: Access,
    form: EventForm,
    channels: Vec<Subscribed>,
    shared: Arc<Shared>,
    /// Channels that have yet to answer.
    awaited: usize,
    /// When the token ends because it was revoked.
    revoked_at: Option<Timestamp>,
    has_ended: bool,
}

impl EventStream {
    pub fn new(
        id: ConnectionId,
        access: Access,
        form: EventForm,
        channels: Vec<Subscribed>,
        shared: Arc<Shared>,
    ) -> Self {
        let awaited = channels.len();
        Self { id, access, form, channels, shared, awaited, revoked_at: None, has_ended: false }
    }

    /// What a client comes back with.
    fn position(&self) -> Option<String> {
        let positions: Vec<_> = self.channels.iter().map(|channel| channel.position).collect();
        id_of(self.id, &positions)
    }

    fn attach(&mut self, place: usize, transport: &mut TransportContext<'_>) -> Result<(), Fault> {
        let Subscribed { name, channel, modes, occupancy, delta, start, chosen_by, deltas, .. } =
            &mut self.channels[place];
        *chosen_by = Chosen::new(name, channel, transport)?;
        *deltas = delta.then(|| DeltaStream::new(Rc::clone(&transport.worker().deltas)));
        let mut filter = Filter::new(*modes, true);
        filter.is_tailored = true;
        filter.occupancy = occupancy.is_some();
        filter.expression = chosen_by.as_ref().map(|chosen| Arc::clone(&chosen.expression));
        let rate = cost_of_attach(start);
        let (alias, cost) = (u16::try_from(place).unwrap_or(u16::MAX), name.whole.len());
        transport.attach(channel, Attaching { alias, start: start.clone(), cost, ..Attaching::new(filter) })?;
        transport.spend(rate);
        Ok(())
    }

    fn attached(&mut self, attached: Attached, transport: &mut TransportContext<'_>) {
        let place = usize::from(attached.subscription.id.alias);
        let (id, form) = (self.id, self.form);
        let mut positions: Vec<_> = self.channels.iter().map(|channel| channel.position).collect();
        let (Some(channel), Some(position)) = (self.channels.get_mut(place), positions.get_mut(place)) else { return };
        channel.position = Some(attached.position);
        *position = channel.position;
        if let Some(gap) = attached.gap {
            // The id of the error is where the client may go on, so that it does not ask for what is missing again.
            return self.fail(&gap_fault(gap), transport);
        }
        self.awaited = self.awaited.saturating_sub(1);
        if let Some(backlog) = attached.backlog {
            // What is sent from now on waits behind the backlog, and is behind it for whoever comes back.
            channel.position = Some(backlog.upto);
            let requested = channel.name.whole.clone();
            let mut deltas = channel.deltas.as_mut().map(|deltas| {
                deltas.go_on_from(Weak::clone(&backlog.last));
                deltas.anew()
            });
            let broken = form.error(&(&gap_fault(Gap::Expired)).into(), None);
            let broken = [broken, frame::close(CloseReason::Done)].concat().into();
            transport.send_backlog(backlog, broken, move |entry| {
                let mut positions = positions.clone();
                positions[place] = Some(entry.serial);
                let difference = deltas.as_mut().map(|deltas| deltas.next(entry));
                let entry = difference.as_ref().unwrap_or(entry);
                form.entry(entry, &requested, id_of(id, &positions).as_deref(), None).unwrap_or_default()
            });
        }
        if let (0, Some(id)) = (self.awaited, self.position()) {
            transport.send_frame(form.position(&id));
        }
    }

    /// The events of an entry, and that the client has it.
    fn events(&mut self, alias: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        let channel = self.channels.get_mut(usize::from(alias))?;
        channel.position = Some(entry.serial);
        let difference = channel.deltas.as_mut().map(|deltas| deltas.next(entry));
        let id = self.position();
        let channel = self.channels.get(usize::from(alias))?;
        let category = channel.occupancy.as_ref().and_then(OccupancyWanted::category);
        self.form.entry(difference.as_ref().unwrap_or(entry), &channel.name.whole, id.as_deref(), category)
    }

    /// Says why, and ends.
    fn fail(&mut self, fault: &Fault, transport: &mut TransportContext<'_>) {
        if self.has_ended {
            return;
        }
        self.has_ended = true;
        transport.count_error();
        transport.send_frame(self.form.error(&fault.into(), self.position().as_deref()));
        transport.close(CloseReason::Done);
    }

    /// Ends the stream with its credentials, to the millisecond (T22).
    fn watch(&mut self, transport: &mut TransportContext<'_>) {
        let Some((end, why)) = end_of(&self.access, self.revoked_at) else { return };
        match end.millis().checked_sub(transport.now().millis()) {
            None | Some(0) => self.fail(&why, transport),
            Some(wait) => transport.wake_in(Duration::from_millis(wait)),
        }
    }
}

impl ProtocolHandler for EventStream {
    /// Never used: each entry is written for one stream, with its own id.
    fn format(&self) -> &'static dyn WireFormat {
        format_of(Format::Json)
    }

    fn client_id(&self) -> Option<&str> {
        self.access.client_id.as_str()
    }

    fn terms(&self, settings: &Settings) -> Terms {
        Terms {
            connection: self.id,
            ping: self.form.keepalive(),
            timeouts: self.shared.settings.timeouts(settings),
            farewell: if self.form.is_sse {
                |reason| farewell_of(reason, true)
            } else {
                |reason| farewell_of(reason, false)
            },
            app: self.access.app.id,
            ..Terms::new(settings)
        }
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        for alias in 0..self.channels.len() {
            if let Err(fault) = self.attach(alias, transport) {
                return self.fail(&fault, transport);
            }
        }
        self.revoked_at = self.shared.gate.revoked_at(&self.access);
        self.watch(transport);
    }

    fn text(&mut self, _: ByteString, _: &mut TransportContext<'_>) {}

    fn binary(&mut self, _: Bytes, _: &mut TransportContext<'_>) {}

    fn answered(&mut self, _: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            _ if self.has_ended => {}
            Answer::Attached(attached) | Answer::Broken(attached) => self.attached(*attached, transport),
            Answer::AttachRefused { fault, .. } => self.fail(&fault, transport),
            Answer::Detached { .. } | Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    fn tailored(&mut self, alias: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        if self.has_ended { None } else { self.events(alias, entry) }
    }

    fn woken(&mut self, transport: &mut TransportContext<'_>) {
        self.watch(transport);
    }

    fn credentials_changed(&mut self, transport: &mut TransportContext<'_>) {
        if let Err(fault) = self.shared.gate.check_app(&self.access.app) {
            return self.fail(&fault, transport);
        }
        self.revoked_at = self.shared.gate.revoked_at(&self.access);
        self.watch(transport);
    }
}

/// Where each channel is. None while that is not known of all: an id with a hole in it would be resumed with one.
fn id_of(connection: ConnectionId, positions: &[Option<Serial>]) -> Option<String> {
    let positions = positions.iter().map(|position| position.map(|serial| serial.to_string()));
    Some(format!("{connection}:{}", positions.collect::<Option<Vec<_>>>()?.join(",")))
}

fn farewell_of(reason: CloseReason, is_sse: bool) -> Option<Bytes> {
    let (fault, _) = farewell::fault(reason)?;
    Some(EventForm { is_sse, is_enveloped: true, has_heartbeats: false }.error(&(&fault).into(), None))
}
