//! Ably's frames and bodies, in both of its formats (`docs/protocols/ably.md §1.4, §2, §3`).
//!
//! In: [`ProtocolMessage`] is a frame as a client sent it, [`decode_body`] the body of a REST publish; their
//! items become the core's by `into_message` and `into_event`, which judge data and extras (§3.5, §3.6).
//! Out: [`AblyJson`] and [`AblyMsgpack`] write the entries of a log, [`ServerFrame`] everything else that a
//! socket gets, [`EventForm`] what a stream of events holds, [`items`] what REST answers with.
//!
//! Not here: who may do what. Client ids, connection ids, modes and capabilities are judged by the callers.

mod annotation;
mod body;
mod codec;
mod collection;
mod data;
mod entry;
mod error_info;
mod event;
mod extras;
mod item;
pub mod items;
mod json;
mod json_frame;
mod object;
mod object_item;
mod object_view;
mod protocol_message;
mod scalar;
mod server_frame;
mod shown;
mod surrogates;

#[cfg(test)]
mod tests;

pub use annotation::{WireAnnotation, annotations};
pub use body::{Batch, BatchSpec, decode_annotations, decode_batch, decode_body, decode_objects};
pub use codec::{Format, begin_list, decode_value, encode_value, piece_of_list};
pub use data::WireData;
pub use entry::{AblyJson, AblyMsgpack, encode_as, format_of};
pub use error_info::{ErrorBody, ErrorInfo};
pub use event::EventForm;
pub use extras::{WireExtras, is_ephemeral};
pub use item::{WireMessage, WirePresence};
pub use object::{WireObject, WireObjectOperation};
pub use object_item::object_page;
pub use object_view::ObjectView;
pub use protocol_message::{Action, Params, ProtocolMessage, decode, head, serial_of_unreadable};
pub use server_frame::{ConnectionDetails, ServerFrame};
