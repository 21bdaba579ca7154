//! Taking tokens back (`docs/protocols/ably.md §11.4`).

use actix_web::web;
use serde::Serialize;

use crate::{
    auth::ably::{self, RevocationRequest, Revoked},
    error::Fault,
    ids::Timestamp,
    limits,
    protocols::ably::{
        rest::{
            answer::RestAnswer,
            batch::{COUNTS_SINCE, Outcomes},
            call::Call,
        },
        revocations::StoredRevocations,
        wire::{self, ErrorInfo},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applies_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorInfo>,
}

impl<'a> Outcome<'a> {
    fn new(target: &'a str, decided: &Result<Revoked, Fault>) -> Self {
        let revoked = decided.as_ref().ok();
        Self {
            target,
            issued_before: revoked.map(|revoked| revoked.issued_before),
            applies_at: revoked.map(|revoked| revoked.applies_at),
            error: decided.as_ref().err().map(Into::into),
        }
    }
}

/// POST `/keys/{keyName}/revokeTokens`.
pub async fn revoke(call: &Call<'_>, key_name: &str, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let (format, body) = call.body(payload, limits::TOKEN_REQUEST_BYTES).await?;
    let request: RevocationRequest = wire::decode_value(format, &body)?;
    let credential = call.credential()?;
    let gate = &call.rest.shared.gate;
    let outcome = gate.revoke(key_name, &request, credential.as_ref(), call.now(), call.is_tls())?;
    let ably::Outcome { decided, kept, .. } = &outcome;
    let mut full = decided.iter().filter_map(|decided| decided.as_ref().err());
    if let Some(fault) = full.find(|fault| matches!(fault, Fault::TooManyRevocations { .. } | Fault::MemoryFull { .. }))
    {
        gate.warn_of_full(&call.rest.worker.broker.clock, key_name, fault);
    }
    // Connections that are open by such a token look whether it is theirs.
    if !kept.is_empty() {
        call.rest.worker.broker.credentials_changed();
    }
    if let Some(revocations) = &call.rest.revocations {
        revocations.keep(&outcome).await?;
        if !outcome.kept.is_empty() {
            call.rest.worker.broker.share(&StoredRevocations::change(&outcome)).await?;
        }
    }
    let outcomes = request.targets.iter().zip(decided);
    let results: Vec<Outcome<'_>> = outcomes.map(|(target, decided)| Outcome::new(target, decided)).collect();
    if call.version < COUNTS_SINCE {
        return Ok(RestAnswer::created(call.encode(&results)));
    }
    let failed = decided.iter().filter(|decided| decided.is_err()).count();
    Ok(RestAnswer::created(call.encode(&Outcomes::new(results, failed))))
}
