//! Pieces of HTTP that several protocols need and that know none of them.

pub mod accept;
pub mod amend;
pub mod answer;
pub mod body;
pub mod cors;
pub mod long;
pub mod query;
pub mod to_the_end;
