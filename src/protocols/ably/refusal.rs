//! What clients are told that get no connection, and the protocol handler of one that is refused: it gets an error frame,
//! because browsers cannot read the answer to a failed upgrade (`docs/protocols/ably.md §1.2`, T16).

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        refusals::Reason,
        transport::context::{ProtocolHandler, TransportContext},
    },
    core::{command::Answer, wire::WireFormat},
    edge::{Refusal, Refused, admission::NotAdmitted},
    error::{CloseReason, Fault},
    ids::ChannelName,
    protocols::ably::{
        endpoint::reason_of,
        wire::{Format, ServerFrame, format_of},
    },
};

/// A connection that is refused for an unknown key gets 404, as for an unknown app (§4.2); HTTP gives 401.
pub fn of_connection(fault: Fault) -> Fault {
    match fault {
        Fault::KeyUnknown => Fault::NotFound { what: "key" },
        fault => fault,
    }
}

/// What a client is told for which there is no place, where HTTP has an answer of its own for it.
pub fn of_admission<R: Refused>(refusal: &Refusal<R>) -> Fault {
    let why = refusal.to_string().into();
    match refusal {
        Refusal::Method => Fault::MethodNotAllowed { allowed: "GET" },
        Refusal::NotAdmitted(NotAdmitted::Draining) => Fault::ShuttingDown,
        // Clients come back later.
        Refusal::NotAdmitted(NotAdmitted::AddressFull { .. } | NotAdmitted::TooOften(_)) => {
            Fault::TooManyConnects { why }
        }
        Refusal::NotAdmitted(_) | Refusal::NoHandshake(_) | Refusal::Own(_) => Fault::NoRoom { why },
    }
}

impl Refused for Fault {
    fn reason(&self) -> Reason {
        reason_of(self)
    }
}

pub struct RefusedConnection {
    pub format: Format,
    pub fault: Fault,
}

impl ProtocolHandler for RefusedConnection {
    fn format(&self) -> &'static dyn WireFormat {
        format_of(self.format)
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        let error = ServerFrame::Error { channel: None, error: &(&self.fault).into() };
        transport.count_error();
        transport.send_frame(error.encode(self.format));
        transport.close(CloseReason::Done);
    }

    fn text(&mut self, _: ByteString, _: &mut TransportContext<'_>) {}

    fn binary(&mut self, _: Bytes, _: &mut TransportContext<'_>) {}

    fn answered(&mut self, _: &ChannelName, _: Answer, _: &mut TransportContext<'_>) {}
}
