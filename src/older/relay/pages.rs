//! What back ends ask for beside pushes (`docs/protocols/relay.md §2, §5`). The method and the key are checked before
//! ([`endpoint`](super::endpoint)).

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::{
    edge::http::query::Query,
    older::relay::{
        endpoint::Relay,
        reply::{RelayError, done},
        schedule::DelayedPush,
    },
};

/// `GET {push_path}/scheduled`: what is delayed, the earliest first, and what was sent and reached nobody.
pub async fn list(relay: &Relay, request: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let limit = Query::of(request).page_items().ok_or(RelayError::BadLimit)?;
    let schedule = &relay.shared.schedule;
    let mut scheduled = schedule.list(limit + 1).await?;
    let has_more = scheduled.len() > limit;
    scheduled.truncate(limit);
    let scheduled: Vec<Value> = scheduled.iter().map(shown).collect();
    let unreached = schedule.unreached.lock();
    let unreached = unreached.iter().rev().map(|(push, is_kept)| {
        let mut shown = shown(push);
        shown["kept"] = (*is_kept).into();
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

/// `DELETE {push_path}/scheduled/{id}`: a delayed push is not sent.
pub async fn cancel(relay: &Relay, request: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let id = request.match_info().query("id");
    if relay.shared.schedule.cancel(id).await? { Ok(done(json!({"id": id}))) } else { Err(RelayError::UnknownPush) }
}

/// `GET {stats_path}`: how many are connected, and how many pushes wait for users who are not.
pub async fn stats(relay: &Relay, _: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let delivery = &relay.shared.delivery;
    let counts = delivery.counts(&relay.ingress.worker.broker).await;
    Ok(done(json!({
        "connections": counts.connections,
        "identified": counts.identified,
        "users": counts.users,
        "kept": delivery.kept().await?,
    })))
}
