//! What frames cost that make work for a channel, and how a frame over the rate is answered
//! (`docs/protocols/ably.md §4.8`).

use bytes::Bytes;

use crate::{
    actors::transport::context::TransportContext,
    core::command::Start,
    error::Fault,
    limits,
    protocols::ably::{
        connection::AblyConnection,
        wire::{self, Action},
    },
};

/// What an ATTACH costs beside the frame itself.
pub fn cost_of_attach(start: &Start) -> u32 {
    match start {
        Start::Rewind(_) => limits::ATTACH_COST + limits::REWIND_COST,
        _ => limits::ATTACH_COST,
    }
}

impl AblyConnection {
    /// Only as much of the frame is read as the answer needs.
    pub(super) fn answer_over_rate(&mut self, frame: &Bytes, transport: &mut TransportContext<'_>) {
        if self.has_ended {
            return;
        }
        let Some(head) = wire::head(self.format, frame) else {
            return transport.count_error();
        };
        let fault = Fault::RateLimited;
        match head.action {
            action if action.is_acknowledged() => self.answer_publish(Some(head.msg_serial), fault, transport),
            Action::ATTACH => self.refuse_attach(&head.channel.unwrap_or_default(), &fault, transport),
            // The client waits for the outcome without end, and has its new token for the next transport.
            Action::AUTH => self.disconnect(&fault, transport),
            // Whoever wants to go is not held.
            Action::DISCONNECT => self.end(transport),
            Action::CLOSE => self.close(transport),
            // Clients ask again for what is not answered: HEARTBEAT, DETACH, SYNC.
            _ => transport.count_error(),
        }
    }
}
