//! `GET {push_path}/scheduled`: what is delayed, the earliest first, and what was sent and reached nobody.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::{
    edge::http::query::Query,
    limits,
    older::relay::{
        endpoint::Relay,
        reply::{RelayError, done},
        schedule::{DelayedPush, Unreached},
    },
};

pub async fn list(relay: &Relay, request: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let query = Query::parse(request.query_string());
    let limit = query.get("limit").map_or(Ok(limits::PAGE_ITEMS), str::parse);
    let limit = limit.ok().filter(|limit| (1..=limits::PAGE_ITEMS_MAX).contains(limit));
    let limit = limit.ok_or(RelayError::BadLimit)?;
    let schedule = &relay.shared.schedule;
    let mut scheduled = schedule.list(limit + 1)?;
    let has_more = scheduled.len() > limit;
    scheduled.truncate(limit);
    let scheduled: Vec<Value> = scheduled.iter().map(shown).collect();
    let unreached = schedule.unreached().into_iter().map(|Unreached { push, is_kept }| {
        let mut shown = shown(&push);
        shown["kept"] = is_kept.into();
        shown
    });
    let unreached: Vec<Value> = unreached.collect();
    Ok(done(json!({"scheduled": scheduled, "has_more": has_more, "unreached": unreached})))
}

fn shown(DelayedPush { id, due, push }: &DelayedPush) -> Value {
    json!({
        "id": id,
        "due": due,
        "event_name": push.event_name,
        "target_user_id": push.user.as_deref().unwrap_or_default(),
        "broadcast": push.user.is_none(),
    })
}
