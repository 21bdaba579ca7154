//! What back ends ask for over HTTP, one file each (`docs/protocols/relay.md §2, §4, §5`). The method and the key are checked
//! before ([`endpoint`](super::endpoint)).

mod cancel;
mod list;
mod push;
mod stats;

pub use cancel::cancel;
pub use list::list;
pub use push::{Push, ReadingRules, push};
pub use stats::stats;
