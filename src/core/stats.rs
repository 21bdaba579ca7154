//! What the use of an app adds up to (`docs/protocols/ably.md §11.8`): counted as [`Traffic`] while it happens, kept as a
//! [`Record`] per [`Interval`], shown with the sums over kinds and sources that follow from it.

mod interval;
mod record;
mod traffic;

pub use interval::{Interval, Unit};
pub use record::{Level, Record, Sample};
pub use traffic::{Outcomes, Source, Traffic, Weighed};
