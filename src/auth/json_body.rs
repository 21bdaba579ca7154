//! Bodies of requests that are one JSON object, with errors that name the field.

use serde::de::DeserializeOwned;

use crate::error::{Fault, reason_at};

/// Reads `body`.
///
/// # Errors
/// [`Fault::BodyUnreadable`] for what is not JSON; [`Fault::Malformed`], which begins with `what`, for JSON of
/// another shape: the field, what was found and what is allowed there.
pub fn json_body<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let is_data = error.inner().is_data();
        let why = reason_at(error);
        if is_data {
            Fault::Malformed { what: format!("{what}: {why}").into() }
        } else {
            Fault::BodyUnreadable { format: "JSON", why }
        }
    })?;
    let end = reader.end().map_err(|error| error.to_string().into());
    end.map_err(|why| Fault::BodyUnreadable { format: "JSON", why })?;
    Ok(read)
}
