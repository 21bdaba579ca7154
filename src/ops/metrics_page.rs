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
    actors::{
        figures::Figures as _,
        metrics::{RENAMED_IN_JSON, Snapshot},
    },
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

/// The documented shape, and the figures of this server beside it. What only a Go process has is 0 or empty; threads
/// stand for goroutines.
fn render_json(snapshot: &Snapshot, process: &ProcessFacts, uptime: Duration, now: Timestamp) -> Value {
    let mut memory = memory(process);
    for more in ["heap_alloc_mb", "heap_sys_mb"] {
        memory[more] = memory["alloc_mb"].clone();
    }
    let mut page = json!({
        "server": {
            "uptime": go_duration(uptime),
            "uptime_seconds": uptime.as_secs(),
            "timestamp": now.rfc3339(),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "system": { "memory": memory, "go_version": "" },
    });
    for figure in [snapshot.figures(), process.figures()].into_iter().flatten() {
        let former = RENAMED_IN_JSON.iter().filter(|(_, now)| *now == figure.json).map(|(before, _)| *before);
        for path in former.chain([figure.json]).filter(|path| !path.is_empty() && !figure.samples.is_empty()) {
            let mut place = &mut page;
            for name in path.split('.') {
                place = &mut place[name];
            }
            *place = figure.value();
        }
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::{http::header::Header as _, test::TestRequest};

    use super::*;
    use crate::actors::{
        accounts::KeptFigures,
        metrics::{Counters, LogFigures, StoreFigures},
        refusals::Refusals,
    };

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
            totals: Counters { messages_in: 7, messages_out: 49, errors_sent: 6, ..Counters::default() },
            connections: 50,
            channels: 2,
            history_bytes: 4096,
            cluster: None,
            round_trip: Duration::from_micros(250),
            kept: KeptFigures::default(),
            store: StoreFigures { reads: 3, commits: 4, stored_bytes: 5, file_bytes: 6, ..StoreFigures::default() },
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
        for name in ["errors_sent", "errors_told"] {
            assert_eq!(page["websocket"][name], 6, "under its new name and under the one of the version before");
        }
        assert_eq!(page["log"], json!({"stdout_dropped": 8, "errors_dropped": 9}));
        assert_eq!(page["tls"], json!({"certificate_days": -1.0}));
        assert_eq!(page["refusals"]["origin"], 0);
        let store: Vec<_> = ["reads", "commits", "stored_bytes", "file_bytes"].map(|name| &page["store"][name]).into();
        assert_eq!(store, [3, 4, 5, 6]);
        assert_eq!(page["store"]["bytes"]["chat_messages"], 0);
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
