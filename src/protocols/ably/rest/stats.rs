//! Statistics (`docs/protocols/ably.md §11.8`). This server keeps none yet, so a page of them is empty; clients ask for it to try
//! their credentials.

use crate::{
    core::capability::Operation,
    error::Fault,
    protocols::ably::rest::{answer::RestAnswer, call::Call},
};

/// GET `/stats`.
pub fn page(call: &Call<'_>) -> Result<RestAnswer, Fault> {
    let access = call.caller()?.access;
    if !access.capability.allows("*", Operation::Stats) {
        return Err(access.not_permitted(Operation::Stats.name(), "*"));
    }
    let none: [(); 0] = [];
    Ok(RestAnswer::ok(call.encode(&none)))
}
