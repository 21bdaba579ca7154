//! `/metrics`: JSON in the shape of the Go server by default, and the two text forms of Prometheus
//! when `Accept` asks for them, as scrapers do (docs/protocols/letshare.md §4, docs/architecture.md §9).

use std::{cmp::Reverse, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, Accept, Quality},
    mime::{self, Mime},
    web,
};
use serde_json::{Value, json};

use super::{
    OpsState,
    health::memory,
    metrics_text::{self, TextForm},
    process::ProcessFacts,
    show_time::go_duration,
};
use crate::{
    actors::metrics::{Counters, GroupFigures, Snapshot, StoreFigures},
    ids::Timestamp,
};

/// GET and HEAD `/metrics`.
pub async fn metrics(
    request: HttpRequest,
    state: web::Data<OpsState>,
    accept: Option<web::Header<Accept>>,
    body: web::Payload,
) -> HttpResponse {
    // Before the first await: actix-http stops reading a body that waits for its reader, and does not
    // notice when it is dropped later. The client would hang, and its connection stay for ever.
    drop(body);
    if let Err(why) = (state.may_see_metrics)(&request) {
        return HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(why);
    }
    let snapshot = (state.snapshot)().await;
    let process = ProcessFacts::read();
    let uptime = state.clock.uptime();

    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::VARY, "Accept"));
    match accept.and_then(|accept| preferred_form(&accept)) {
        None => answer.json(render_json(&snapshot, &process, uptime, state.clock.now())),
        Some(form) => {
            answer.content_type(form.content_type()).body(metrics_text::render(form, &snapshot, &process, uptime))
        }
    }
}

/// The text form the client prefers, or `None` for JSON: RFC 9110 §12.5.1, the most specific range
/// that names a form gives its weight. A client that accepts none of the three gets JSON.
fn preferred_form(accept: &Accept) -> Option<TextForm> {
    // JSON last: of equals the last wins, and `*/*` weighs all three the same.
    let offers = [Some(TextForm::Prometheus), Some(TextForm::OpenMetrics), None];
    let weigh = |offer: &Option<TextForm>| {
        let ranges = accept.iter().enumerate();
        let best = ranges
            .filter_map(|(position, range)| {
                let specificity = specificity(*offer, &range.item)?;
                Some((specificity, Reverse(position), range.quality))
            })
            .max()?;
        let (specificity, position, quality) = best;
        (quality > Quality::ZERO).then_some((quality, specificity, position))
    };
    offers.into_iter().max_by_key(weigh).flatten()
}

/// How precisely `range` names the form; `None` when it does not.
fn specificity(offer: Option<TextForm>, range: &Mime) -> Option<u8> {
    let (kind, subtype, versions): (_, _, &[&str]) = match offer {
        None => (mime::APPLICATION, "json", &[]),
        Some(TextForm::OpenMetrics) => (mime::APPLICATION, "openmetrics-text", &["1.0.0"]),
        Some(TextForm::Prometheus) => (mime::TEXT, "plain", &["0.0.4"]),
    };
    if range.type_() == mime::STAR {
        return Some(0);
    }
    if range.type_() != kind {
        return None;
    }
    if range.subtype() == mime::STAR {
        return Some(1);
    }
    let is_version_ours = match range.get_param("version") {
        None => true,
        Some(version) => versions.iter().any(|ours| version == *ours),
    };
    (range.subtype() == subtype && is_version_ours).then_some(2)
}

/// The documented shape, and the counters of this server beside it. What only a Go process has is 0
/// or empty; threads stand for goroutines.
fn render_json(snapshot: &Snapshot, process: &ProcessFacts, uptime: Duration, now: Timestamp) -> Value {
    let resident_mb = process.resident_bytes / 1024 / 1024;
    let mut memory = memory(process);
    memory["heap_alloc_mb"] = resident_mb.into();
    memory["heap_sys_mb"] = resident_mb.into();
    let (websocket, relay, store) = counts(snapshot);
    let mut page = json!({
        "server": {
            "uptime": go_duration(uptime),
            "uptime_seconds": uptime.as_secs(),
            "timestamp": now.rfc3339(),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "websocket": websocket,
        "relay": relay,
        "store": store,
        "refusals": by_name(&snapshot.refusals),
        "log": {
            "stdout_dropped": snapshot.log.stdout_dropped,
            "errors_dropped": snapshot.log.errors_dropped,
        },
        "system": {
            "memory": memory,
            "descriptors": { "open": process.open_descriptors, "allowed": process.allowed_descriptors },
            "goroutines": process.threads,
            "cpu_count": process.processors,
            "go_version": "",
        },
    });
    if let Some(seconds) = snapshot.certificate_seconds {
        page["tls"] = json!({ "certificate_days": days(seconds) });
    }
    if let Some(group) = &snapshot.group {
        page["group"] = of_groups(group);
    }
    page
}

fn by_name(counts: &[(&'static str, u64)]) -> Value {
    let counts = counts.iter();
    counts.map(|(name, count)| ((*name).to_owned(), json!(count))).collect()
}

/// With one digit behind the point; less than none when it is over.
pub(super) fn days(seconds: i64) -> f64 {
    (seconds as f64 / 8_640.0).floor() / 10.0
}

/// The part `group`.
fn of_groups(figures: &GroupFigures) -> Value {
    json!({
        "connections": figures.connections,
        "users_online": figures.users,
        "frames": by_name(&figures.frames),
        "errors": by_name(&figures.errors),
        "stored": figures.stored,
        "storing_seconds": figures.storing.as_secs_f64(),
        "undelivered": figures.undelivered,
        "failed_auth": figures.failed_auth,
        "barred": figures.barred,
        "redis": {
            "up": figures.redis_up,
            "waiting": figures.redis_waiting,
            "published": figures.redis_published,
            "received": figures.redis_received,
            "malformed": figures.redis_malformed,
        },
    })
}

/// The parts `websocket`, `relay` and `store`.
fn counts(snapshot: &Snapshot) -> (Value, Value, Value) {
    // Taken apart without `..`, so that a new counter cannot be forgotten here.
    let Snapshot {
        totals,
        connections,
        channels,
        history_bytes,
        store,
        refusals: _,
        log: _,
        certificate_seconds: _,
        group: _,
    } = snapshot;
    let StoreFigures { reads, commits, stored_bytes, file_bytes } = store;
    let Counters {
        connections_opened,
        connections_closed,
        connections_refused,
        messages_in,
        messages_out,
        bytes_in,
        bytes_out,
        published,
        errors_told,
        closed_slow,
        closed_idle,
        closed_protocol_error,
        rate_limited,
        transfers_started,
        transfers_completed,
        transfers_cancelled,
        transfers_refused,
        transfers_timed_out,
        transfers_lost_sender,
        transfers_lost_receiver,
        transfers_broken,
        transfer_bytes,
        channels_restarted,
    } = totals;
    let websocket = json!({
        "active_connections": connections,
        "total_rooms": channels,
        "history_bytes": history_bytes,
        "connections_opened": connections_opened,
        "connections_closed": connections_closed,
        "connections_refused": connections_refused,
        "messages_in": messages_in,
        "messages_out": messages_out,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "published": published,
        "errors_told": errors_told,
        "closed_slow": closed_slow,
        "closed_idle": closed_idle,
        "closed_protocol_error": closed_protocol_error,
        "rate_limited": rate_limited,
        "channels_restarted": channels_restarted,
    });
    let relay = json!({
        "bytes": transfer_bytes,
        "started": transfers_started,
        "completed": transfers_completed,
        "cancelled": transfers_cancelled,
        "refused": transfers_refused,
        "timed_out": transfers_timed_out,
        "lost_sender": transfers_lost_sender,
        "lost_receiver": transfers_lost_receiver,
        "broken": transfers_broken,
    });
    let store = json!({
        "reads": reads,
        "commits": commits,
        "stored_bytes": stored_bytes,
        "file_bytes": file_bytes,
    });
    (websocket, relay, store)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::{http::header::Header as _, test::TestRequest};

    use super::*;
    use crate::actors::{metrics::LogFigures, refusals::Refusals};

    #[test]
    fn accept_picks_the_form() {
        use TextForm::{OpenMetrics, Prometheus};
        let table = [
            ("", None),
            ("*/*", None),
            ("application/json", None),
            ("application/*", None),
            ("image/png", None),
            ("text/html,application/xhtml+xml,*/*;q=0.8", None),
            ("application/json, text/plain;q=0.9", None),
            ("*/*, text/plain;q=0.5", None),
            ("text/plain;q=0", None),
            ("text/plain;q=0, */*;q=0.1", None),
            ("text/plain;version=1.0.0", None),
            ("text/plain", Some(Prometheus)),
            ("text/*", Some(Prometheus)),
            ("TEXT/PLAIN; version=0.0.4; charset=utf-8", Some(Prometheus)),
            ("text/plain, */*", Some(Prometheus)),
            ("application/json;q=0.5, text/plain;q=0.6", Some(Prometheus)),
            ("application/openmetrics-text", Some(OpenMetrics)),
            ("text/plain;q=0.4, application/openmetrics-text;version=1.0.0;q=0.5", Some(OpenMetrics)),
            ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Some(Prometheus)),
            // What Prometheus 2.45 sends, then Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Some(OpenMetrics),
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Some(OpenMetrics),
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Some(Prometheus),
            ),
        ];
        for (accept, expected) in table {
            let request = TestRequest::get().insert_header((header::ACCEPT, accept)).to_request();
            let parsed = Accept::parse(&request).unwrap();
            assert_eq!(preferred_form(&parsed), expected, "Accept: {accept}");
        }
    }

    #[test]
    fn json_has_the_documented_keys_and_the_counters() {
        let snapshot = Snapshot {
            totals: Counters { messages_in: 7, messages_out: 49, ..Counters::default() },
            connections: 50,
            channels: 2,
            history_bytes: 4096,
            store: StoreFigures { reads: 3, commits: 4, stored_bytes: 5, file_bytes: 6 },
            refusals: Refusals::default().read(),
            log: LogFigures { stdout_dropped: 8, errors_dropped: 9 },
            certificate_seconds: Some(-86_400),
            group: None,
        };
        let process = ProcessFacts {
            resident_bytes: 30 << 20,
            threads: 4,
            cpu: Duration::from_secs(1),
            processors: 2,
            open_descriptors: 10,
            allowed_descriptors: 11,
        };

        let page = render_json(&snapshot, &process, Duration::from_millis(3_661_500), Timestamp::from_millis(0));

        assert_eq!(page["server"]["uptime"], "1h1m1.5s");
        assert_eq!(page["server"]["uptime_seconds"], 3661);
        assert_eq!(page["server"]["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(page["websocket"]["active_connections"], 50);
        assert_eq!(page["websocket"]["total_rooms"], 2);
        assert_eq!(page["websocket"]["messages_in"], 7);
        assert_eq!(page["websocket"]["messages_out"], 49);
        assert_eq!(page["log"], json!({"stdout_dropped": 8, "errors_dropped": 9}));
        assert_eq!(page["tls"], json!({"certificate_days": -1.0}));
        assert_eq!(page["refusals"]["origin"], 0);
        assert_eq!(page["store"], json!({"reads": 3, "commits": 4, "stored_bytes": 5, "file_bytes": 6}));
        assert_eq!(
            page["system"],
            json!({
                "memory": {
                    "alloc_mb": 30, "total_alloc_mb": 0, "sys_mb": 30, "num_gc": 0,
                    "heap_alloc_mb": 30, "heap_sys_mb": 30,
                },
                "descriptors": { "open": 10, "allowed": 11 },
                "goroutines": 4,
                "cpu_count": 2,
                "go_version": "",
            })
        );
    }
}
