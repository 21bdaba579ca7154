//! The file relay over real sockets: `docs/protocols/letshare.md §3`, point by point.
//!
//! `page` behaves as the app does and moves whole files; `raw` says exactly what the test tells it to.
//! Not here: PRO tokens (`letshare_pro`), the transfer as a pure state (beside it).

mod bounds;
mod endings;
mod files;
mod frames;
mod lost;
pub mod page;
pub mod raw;
mod requests;
mod resend;
mod strangers;
