//! `GET {stats_path}`: how many are connected, and how many pushes wait for users who are not.

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::older::relay::{
    endpoint::Relay,
    reply::{RelayError, done},
};

pub async fn stats(relay: &Relay, _: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let delivery = &relay.shared.delivery;
    Ok(done(json!({
        "connections": delivery.connections.load(Ordering::Relaxed),
        "identified": delivery.online.transports(),
        "users": delivery.online.users(),
        "kept": delivery.away.count(),
    })))
}
