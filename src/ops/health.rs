//! `/health`: the process answers; `/ready`: it should get new connections (docs/protocols/letshare.md §4).
//!
//! `/health` stays 200 while the server drains: whoever restarts it because of a failing health check would cut the
//! clients that it is just closing in order.

use std::{sync::atomic::Ordering, time::Duration};

use actix_web::{HttpResponse, Responder, web};
use serde_json::{Value, json};

use super::{OpsState, Unready, process::ProcessFacts, show_time::go_duration};
use crate::ids::Timestamp;

/// GET and HEAD `/health`.
pub async fn health(state: web::Data<OpsState>) -> impl Responder {
    let clock = &state.clock;
    web::Json(render(&ProcessFacts::read(), clock.uptime(), clock.now()))
}

/// GET and HEAD `/ready`: 200, or 503 once the server is to stop, or while it cannot serve, with the reason, which also stands
/// beside a 200 that the operator wants all the same.
pub async fn ready(state: web::Data<OpsState>) -> impl Responder {
    // Relaxed: a probe that reads the older value is the probe before.
    if !state.ready.load(Ordering::Relaxed) {
        return HttpResponse::ServiceUnavailable().json(json!({ "status": "draining" }));
    }
    match (state.why_not_ready)() {
        None => HttpResponse::Ok().json(json!({ "status": "ready" })),
        Some(Unready { why, is_ready: true }) => HttpResponse::Ok().json(json!({ "status": "ready", "reason": why })),
        Some(Unready { why, .. }) => {
            HttpResponse::ServiceUnavailable().json(json!({ "status": "not_ready", "reason": why }))
        }
    }
}

/// The documented shape.
fn render(process: &ProcessFacts, uptime: Duration, now: Timestamp) -> Value {
    json!({
        "status": "healthy",
        "timestamp": now.rfc3339(),
        "uptime": go_duration(uptime),
        "memory": memory(process),
        "goroutines": process.threads,
    })
}

/// The memory figures of a Go process, in whole MiB as the Go server gave them: resident memory
/// stands for what is allocated; what only a garbage collector has is 0.
pub(super) fn memory(process: &ProcessFacts) -> Value {
    let resident_mb = process.resident_bytes / 1024 / 1024;
    json!({
        "alloc_mb": resident_mb,
        "total_alloc_mb": 0,
        "sys_mb": resident_mb,
        "num_gc": 0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn health_has_the_documented_shape() {
        let process = ProcessFacts { resident_bytes: 12 * 1024 * 1024 + 5, threads: 3, ..ProcessFacts::default() };
        let page = render(&process, Duration::from_millis(1500), Timestamp::from_millis(1_704_067_200_000));
        assert_eq!(
            page,
            json!({
                "status": "healthy",
                "timestamp": "2024-01-01T00:00:00Z",
                "uptime": "1.5s",
                "memory": { "alloc_mb": 12, "total_alloc_mb": 0, "sys_mb": 12, "num_gc": 0 },
                "goroutines": 3,
            })
        );
    }
}
