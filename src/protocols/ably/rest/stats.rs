//! Statistics (`docs/protocols/ably.md §11.8`). This server keeps none yet, so a page of them is empty; but it is
//! asked for, and clients try their credentials on it.

use crate::{
    core::capability::Operation,
    error::Fault,
    protocols::ably::rest::{answer::Answer, asked::Asked},
};

/// GET `/stats`.
pub fn page(asked: &Asked<'_>) -> Result<Answer, Fault> {
    let access = asked.caller()?.access;
    if !access.capability.allows("*", Operation::Stats) {
        return Err(access.not_permitted("stats", "*"));
    }
    let none: [(); 0] = [];
    Ok(Answer::ok(asked.encode(&none)))
}
