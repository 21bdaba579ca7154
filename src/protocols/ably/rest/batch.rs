//! Several requests in one (`docs/protocols/ably.md §11.9`): publishing to several channels, and who is present on them.
//!
//! One that fails says so in its place; the others are carried out all the same.

use actix_web::web;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::{
    core::{capability::Operation, presence::MembersQuery},
    error::{Fault, Found},
    limits,
    protocols::ably::{
        rest::{
            answer::RestAnswer,
            call::{Call, Caller},
            publish::{Published, Target},
        },
        wire::{self, Batch, BatchSpec, ErrorInfo, items::MembersItem},
    },
};

/// The first version that counts successes and failures.
pub const COUNTS_SINCE: u32 = 3;

/// The outcomes of several requests, in their order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes<T> {
    success_count: usize,
    failure_count: usize,
    results: Vec<T>,
}

impl<T> Outcomes<T> {
    pub const fn new(results: Vec<T>, failed: usize) -> Self {
        Self { success_count: results.len() - failed, failure_count: failed, results }
    }
}

/// What came of the request for one channel.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a, T> {
    Done(T),
    Failed { channel: &'a str, error: ErrorInfo },
}

impl<'a, T> Outcome<'a, T> {
    fn new(channel: &'a str, outcome: Result<T, Fault>) -> Self {
        match outcome {
            Ok(done) => Self::Done(done),
            Err(fault) => Self::Failed { channel, error: (&fault).into() },
        }
    }
}

/// What version 2 says when something failed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartlyFailed<'a, T> {
    error: ErrorInfo,
    batch_response: &'a [T],
}

/// POST `/messages`.
pub async fn publish(call: &Call<'_>, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let (format, body) = call.body(payload, limits::REQUEST_BODY_BYTES).await?;
    let Batch { specs, is_list } = wire::decode_batch(format, &body)?;
    let requests = specs.iter().flat_map(|spec| spec.channels.iter().map(move |channel| (spec, &**channel)));
    let outcomes = requests.map(|(spec, channel)| publish_one(call, &caller, spec, channel));
    // Each is sent on when its turn to be asked comes, so two for one channel keep their order.
    let mut outcomes: Vec<_> = stream::iter(outcomes).buffered(limits::BATCH_AT_ONCE).collect().await;
    if call.version < COUNTS_SINCE {
        return Ok(flat(call, &outcomes, RestAnswer::created));
    }
    let mut parts: Vec<_> = specs.iter().map(|spec| counted(outcomes.drain(..spec.channels.len()).collect())).collect();
    let body = match parts.pop() {
        Some(only) if !is_list => call.encode(&only),
        last => call.encode(&parts.into_iter().chain(last).collect::<Vec<_>>()),
    };
    Ok(RestAnswer::created(body))
}

async fn publish_one<'s>(
    call: &Call<'_>,
    caller: &Caller,
    spec: &BatchSpec,
    channel: &'s str,
) -> Outcome<'s, Published<'s>> {
    let outcome = async { Target::new(caller, channel)?.publish(call, spec.messages.clone(), channel).await };
    Outcome::new(channel, outcome.await)
}

/// GET `/presence`.
pub async fn presence(call: &Call<'_>) -> Result<RestAnswer, Fault> {
    let caller = call.caller()?;
    let channels = call.query.get("channels").unwrap_or_default();
    let separator = call.query.get("separator").filter(|separator| !separator.is_empty()).unwrap_or(",");
    if channels.is_empty() {
        let rule = "the names of channels, with commas or the separator between them";
        return Err(Fault::BadParameter { name: "channels", found: Found::nothing(), rule });
    }
    let channels: Vec<&str> = channels.split(separator).take(limits::BATCH_CHANNELS + 1).collect();
    if channels.len() > limits::BATCH_CHANNELS {
        return Err(Fault::TooManyInBatch { limit: limits::BATCH_CHANNELS });
    }
    let outcomes = channels.iter().map(|channel| present(call, &caller, channel));
    let outcomes: Vec<_> = stream::iter(outcomes).buffered(limits::BATCH_AT_ONCE).collect().await;
    if call.version < COUNTS_SINCE {
        return Ok(flat(call, &outcomes, RestAnswer::ok));
    }
    call.long_answer(caller.access.app.id, call.encode(&counted(outcomes)))
}

/// Who is present on one channel.
#[derive(Serialize)]
struct Present<'a> {
    channel: &'a str,
    presence: MembersItem,
}

async fn present<'s>(call: &Call<'_>, caller: &Caller, channel: &'s str) -> Outcome<'s, Present<'s>> {
    let members = async {
        let (_, channel) = caller.channel(channel, &[Operation::Presence, Operation::Subscribe])?;
        let query = MembersQuery { limit: usize::MAX, ..MembersQuery::default() };
        call.broker().members(&channel, query).await
    };
    let present = members
        .await
        .map(|page| Present { channel, presence: MembersItem { members: page.members, format: call.form.body } });
    Outcome::new(channel, present)
}

fn counted<'a, T>(results: Vec<Outcome<'a, T>>) -> Outcomes<Outcome<'a, T>> {
    let failed = failed(&results);
    Outcomes::new(results, failed)
}

fn failed<T>(results: &[Outcome<'_, T>]) -> usize {
    results.iter().filter(|outcome| matches!(outcome, Outcome::Failed { .. })).count()
}

/// As version 2 has it: one list for all, and a refusal around it when something failed.
fn flat<T: Serialize>(
    call: &Call<'_>,
    results: &[Outcome<'_, T>],
    done: impl FnOnce(Bytes) -> RestAnswer,
) -> RestAnswer {
    let failed = failed(results);
    if failed == 0 {
        return done(call.encode(&results));
    }
    let fault = Fault::BatchPartlyFailed { failed, all: results.len() };
    let body = PartlyFailed { error: (&fault).into(), batch_response: results };
    RestAnswer::refused(&fault, call.encode(&body))
}
