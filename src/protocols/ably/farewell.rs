//! The last frame of a transport that the server ends: clients have to know whether to come back
//! (`docs/protocols/ably.md §4.6`).

use bytes::Bytes;

use crate::{
    error::{CloseReason, Fault},
    limits,
    protocols::ably::wire::{Format, ServerFrame},
};

/// The last frame in this format, by the reason.
pub fn of(format: Format) -> fn(CloseReason) -> Option<Bytes> {
    match format {
        Format::Json => |reason| frame(reason, Format::Json),
        Format::Msgpack => |reason| frame(reason, Format::Msgpack),
    }
}

fn frame(reason: CloseReason, format: Format) -> Option<Bytes> {
    let (fault, may_come_back) = fault(reason)?;
    let error = &(&fault).into();
    let frame =
        if may_come_back { ServerFrame::Disconnected { error } } else { ServerFrame::Error { channel: None, error } };
    Some(frame.encode(format))
}

/// Why the transport ends, and whether its client may come back; none: it has closed, or has got its last frame.
pub fn fault(reason: CloseReason) -> Option<(Fault, bool)> {
    Some(match reason {
        CloseReason::Answer(_) | CloseReason::Refused { .. } | CloseReason::Done => return None,
        CloseReason::GoingAway => (Fault::ShuttingDown, true),
        CloseReason::TooSlow => (Fault::ReaderTooSlow, true),
        CloseReason::NoMemory { whose, kind, limit, setting } => {
            (Fault::MemoryFull { whose, kind, limit, setting }, true)
        }
        CloseReason::Disconnected => (Fault::DisconnectedByOperator, true),
        CloseReason::Idle => (Fault::Silent, true),
        // Coming back would only repeat it.
        CloseReason::Flood => (Fault::Flooded, false),
        CloseReason::TooBig { .. } | CloseReason::TooManyFragments { .. } => {
            let limit = limits::ABLY_FRAME_BYTES;
            (Fault::FrameTooLarge { limit }, false)
        }
        CloseReason::Replaced | CloseReason::TakenOver => (Fault::TransportSuperseded, false),
        CloseReason::TokenEnded => (Fault::TokenExpired, false),
        CloseReason::ProtocolError | CloseReason::InvalidText => (Fault::ProtocolBroken, false),
    })
}
