#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};

use super::*;
use crate::actors::{
    accounts::Kind,
    metrics::{Counters, GroupFigures, LogFigures, StoreFigures, TableFigures},
    refusals::Refusals,
};

/// Different numbers everywhere, so that a figure under a wrong name is found.
fn page(form: TextForm) -> String {
    let totals = Counters {
        connections_opened: 101,
        connections_closed: 102,
        connections_refused: 103,
        messages_in: 104,
        messages_out: 105,
        bytes_in: 106,
        bytes_out: u64::MAX,
        published: 108,
        errors_sent: 109,
        closed_slow: 110,
        closed_idle: 111,
        closed_protocol_error: 112,
        closed_flood: 139,
        closed_memory: 166,
        rate_limited: 113,
        transfers_started: 130,
        transfers_completed: 131,
        transfers_cancelled: 132,
        transfers_refused: 133,
        transfers_timed_out: 134,
        transfers_lost_sender: 135,
        transfers_lost_receiver: 136,
        transfers_broken: 137,
        transfer_bytes: 138,
        channels_restarted: 114,
    };
    let tables = TableFigures(TableFigures::default().0.map(|(table, _)| (table, 126)));
    let snapshot = Snapshot {
        totals,
        connections: 115,
        channels: 116,
        history_bytes: 117,
        cluster: None,
        kept: Kind::ALL.map(|kind| (kind.name(), 170)),
        round_trip: Duration::from_micros(1_500),
        store: StoreFigures {
            reads: 122,
            commits: 123,
            committing: Duration::from_millis(2_500),
            stored_bytes: 124,
            file_bytes: 125,
            tables,
        },
        refusals: Refusals::default().read().map(|(reason, _)| (reason, 160)),
        log: LogFigures { stdout_dropped: 161, errors_dropped: 162 },
        certificate_seconds: Some(163 * 86_400),
        group: Some(GroupFigures {
            connections: 140,
            users: 141,
            stored: 142,
            undelivered: 143,
            failed_auth: 144,
            refused: 145,
            redis_up: 1,
            redis_waiting: 146,
            redis_published: 147,
            redis_received: 148,
            redis_malformed: 149,
            storing: Duration::from_millis(150_500),
            frames: ["a", "b", "c", "d", "e", "f", "g"].map(|kind| (kind, 151)),
            errors: ["a", "b", "c", "d", "e", "f", "g", "h"].map(|code| (code, 152)),
        }),
    };
    let process = ProcessFacts {
        resident_bytes: 118,
        threads: 119,
        cpu: Duration::from_millis(120_250),
        processors: 2,
        open_descriptors: 164,
        allowed_descriptors: 165,
    };
    render(form, &snapshot, &process, Duration::from_millis(121_500))
}

/// Reads a page as `promtool check metrics` and the OpenMetrics parser of Prometheus do: panics on
/// whatever they refuse or complain about. Gives value by name and labels.
fn parse(form: TextForm, page: &str) -> HashMap<String, f64> {
    let body = match form {
        TextForm::OpenMetrics => page.strip_suffix("# EOF\n").expect("ends with # EOF"),
        TextForm::Prometheus => page,
    };
    assert!(body.ends_with('\n') && !body.contains("EOF") && !body.contains('\r'));

    let mut seen_families = HashSet::new();
    let mut values = HashMap::new();
    let mut lines = body.lines().peekable();
    while let Some(line) = lines.next() {
        let (family, help) = metadata("HELP", line);
        assert!(seen_families.insert(family.clone()), "{family} comes twice");
        assert!(!help.is_empty() && !help.contains(['\\', '"']), "{family}: help needs escapes");
        let (name, kind) = metadata("TYPE", lines.next().unwrap());
        assert_eq!(name, family, "TYPE follows HELP of the same name");
        let is_counter = match kind.as_str() {
            "counter" => true,
            "gauge" => false,
            other => panic!("unexpected type {other}"),
        };
        let sample_name = match form {
            TextForm::OpenMetrics => {
                let (name, unit) = metadata("UNIT", lines.next().unwrap());
                assert_eq!(name, family);
                assert!(family.ends_with(&format!("_{unit}")), "{family} does not end in its unit");
                assert!(!family.ends_with("_total"), "{family}: _total belongs to the sample only");
                format!("{family}{}", if is_counter { "_total" } else { "" })
            }
            TextForm::Prometheus => {
                assert_eq!(family.ends_with("_total"), is_counter, "{family}");
                family
            }
        };
        let mut samples = 0;
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').expect("a space before the value");
            check_series(series, &sample_name);
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0);
            assert!(values.insert(series.to_owned(), value).is_none(), "{series} comes twice");
            samples += 1;
        }
        assert!(samples > 0, "{sample_name} has no value");
    }
    values
}

/// `# KIND name text`
fn metadata(kind: &str, line: &str) -> (String, String) {
    let rest = line.strip_prefix(&format!("# {kind} "));
    let (name, text) = rest.unwrap_or_else(|| panic!("no {kind}: {line}")).split_once(' ').unwrap();
    assert!(is_name(name), "bad name {name}");
    (name.to_owned(), text.to_owned())
}

fn check_series(series: &str, sample_name: &str) {
    let Some((name, labels)) = series.split_once('{') else {
        return assert_eq!(series, sample_name);
    };
    assert_eq!(name, sample_name);
    for label in labels.strip_suffix('}').unwrap().split(',') {
        let (key, value) = label.split_once('=').unwrap();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap();
        assert!(is_name(key) && !key.starts_with("__") && is_name(value), "{series}");
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn both_forms_are_valid_and_say_the_same() {
    let open_metrics = parse(TextForm::OpenMetrics, &page(TextForm::OpenMetrics));
    let prometheus = parse(TextForm::Prometheus, &page(TextForm::Prometheus));
    assert_eq!(open_metrics, prometheus);
    assert!(open_metrics.keys().all(|series| series.starts_with("letshare_")));
}

#[test]
fn each_figure_stands_under_its_name() {
    let values = parse(TextForm::Prometheus, &page(TextForm::Prometheus));
    let expected = [
        ("letshare_opened_connections_total", 101.0),
        ("letshare_closed_connections_total", 102.0),
        ("letshare_refused_connections_total", 103.0),
        ("letshare_received_messages_total", 104.0),
        ("letshare_sent_messages_total", 105.0),
        ("letshare_received_bytes_total", 106.0),
        ("letshare_sent_bytes_total", u64::MAX as f64),
        ("letshare_published_messages_total", 108.0),
        ("letshare_told_errors_total", 109.0),
        (r#"letshare_cut_connections_total{reason="slow_reader"}"#, 110.0),
        (r#"letshare_cut_connections_total{reason="silent"}"#, 111.0),
        (r#"letshare_cut_connections_total{reason="protocol_error"}"#, 112.0),
        (r#"letshare_cut_connections_total{reason="flood"}"#, 139.0),
        (r#"letshare_cut_connections_total{reason="memory"}"#, 166.0),
        ("letshare_rate_limited_frames_total", 113.0),
        ("letshare_started_transfers_total", 130.0),
        ("letshare_refused_transfers_total", 133.0),
        ("letshare_transfer_bytes_total", 138.0),
        (r#"letshare_ended_transfers_total{reason="completed"}"#, 131.0),
        (r#"letshare_ended_transfers_total{reason="cancelled"}"#, 132.0),
        (r#"letshare_ended_transfers_total{reason="timed_out"}"#, 134.0),
        (r#"letshare_ended_transfers_total{reason="lost_sender"}"#, 135.0),
        (r#"letshare_ended_transfers_total{reason="lost_receiver"}"#, 136.0),
        (r#"letshare_ended_transfers_total{reason="broken"}"#, 137.0),
        ("letshare_restarted_channels_total", 114.0),
        ("letshare_open_connections", 115.0),
        ("letshare_active_channels", 116.0),
        ("letshare_worker_round_trip_seconds", 0.0015),
        ("letshare_history_bytes", 117.0),
        (r#"letshare_kept_bytes{kind="outbox"}"#, 170.0),
        (r#"letshare_kept_bytes{kind="connection"}"#, 170.0),
        ("letshare_store_reads_total", 122.0),
        ("letshare_store_commits_total", 123.0),
        ("letshare_store_commit_seconds_total", 2.5),
        ("letshare_stored_bytes", 124.0),
        ("letshare_store_file_bytes", 125.0),
        (r#"letshare_store_bytes{table="po_letters"}"#, 126.0),
        ("letshare_process_resident_memory_bytes", 118.0),
        ("letshare_process_threads", 119.0),
        ("letshare_process_cpu_seconds_total", 120.25),
        ("letshare_uptime_seconds", 121.5),
        ("letshare_group_open_connections", 140.0),
        ("letshare_group_online_users", 141.0),
        ("letshare_group_stored_messages_total", 142.0),
        ("letshare_group_undelivered_messages", 143.0),
        ("letshare_group_failed_attempts_total", 144.0),
        ("letshare_group_barred_requests_total", 145.0),
        // findings P19.
        ("letshare_open_descriptors", 164.0),
        ("letshare_allowed_descriptors", 165.0),
        ("letshare_certificate_days", 163.0),
        (r#"letshare_dropped_log_lines_total{reason="stdout"}"#, 161.0),
        (r#"letshare_dropped_log_lines_total{reason="errors_log"}"#, 162.0),
        (r#"letshare_refusals_requests_total{reason="token"}"#, 160.0),
        (r#"letshare_refusals_requests_total{reason="origin"}"#, 160.0),
        ("letshare_group_redis_up", 1.0),
        ("letshare_group_redis_waiting_entries", 146.0),
        ("letshare_group_redis_published_entries_total", 147.0),
        ("letshare_group_redis_received_entries_total", 148.0),
        ("letshare_group_redis_malformed_entries_total", 149.0),
        ("letshare_group_storing_seconds_total", 150.5),
        (r#"letshare_group_received_frames_total{reason="g"}"#, 151.0),
        (r#"letshare_group_told_errors_total{reason="h"}"#, 152.0),
        // The names of today for four of them.
        ("letshare_sent_errors_total", 109.0),
        ("letshare_group_refused_requests_total", 145.0),
        (r#"letshare_refused_requests_total{reason="origin"}"#, 160.0),
        (r#"letshare_group_sent_errors_total{reason="h"}"#, 152.0),
    ];
    for (series, value) in expected {
        assert_eq!(values.get(series), Some(&value), "{series}");
    }
    // Six more reasons of refusals, six more types of group frames, seven more codes, all kinds of what is kept but two, all
    // tables but one; under new names once more seven reasons and seven codes.
    let kinds_and_tables = Kind::ALL.len() + TableFigures::default().0.len() - 3;
    assert_eq!(values.len(), expected.len() + 33 + kinds_and_tables);
}

#[test]
fn the_first_lines_read_as_the_formats_say() {
    let open_metrics = page(TextForm::OpenMetrics);
    let received: Vec<_> = open_metrics.lines().filter(|line| line.contains("received_bytes")).collect();
    assert_eq!(
        received,
        [
            "# HELP letshare_received_bytes Payload bytes that clients sent",
            "# TYPE letshare_received_bytes counter",
            "# UNIT letshare_received_bytes bytes",
            "letshare_received_bytes_total 106",
        ]
    );
    let prometheus = page(TextForm::Prometheus);
    let received: Vec<_> = prometheus.lines().filter(|line| line.contains("received_bytes")).collect();
    assert_eq!(
        received,
        [
            "# HELP letshare_received_bytes_total Payload bytes that clients sent",
            "# TYPE letshare_received_bytes_total counter",
            "letshare_received_bytes_total 106",
        ]
    );
}
