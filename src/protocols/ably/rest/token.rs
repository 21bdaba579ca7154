//! From a request for a token to a token (`docs/protocols/ably.md §11.3`).

use actix_web::web;

use crate::{
    auth::{ably::TokenRequest, json_body::Object},
    error::Fault,
    limits,
    protocols::ably::{
        rest::{answer::RestAnswer, call::Call},
        wire::{self, Format},
    },
};

/// POST `/keys/{keyName}/requestToken`: signed by the key, or together with the key itself.
pub async fn request(call: &Call<'_>, key_name: &str, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let (format, body) = call.body(payload, limits::TOKEN_REQUEST_BYTES).await?;
    let request = match format {
        Format::Json => TokenRequest::from_json(&body)?,
        Format::Msgpack => wire::decode_value::<Object<_>>(format, &body)?.0,
    };
    let credential = call.credential()?;
    let gate = &call.rest.shared.gate;
    let granted = gate.request_token(key_name, &request, credential.as_ref(), call.now(), call.is_tls())?;
    let details = match &call.rest.nonces {
        Some(nonces) => nonces.keep(gate, &call.rest.worker.broker, granted).await?,
        None => granted.details,
    };
    Ok(RestAnswer::created(call.encode(&details)).secret())
}
