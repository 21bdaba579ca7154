//! README's table of what works is made from the list below, and each row that works names tests that are there.

use std::sync::LazyLock;

use regex::Regex;

use super::{File, files};

/// What works, and the tests that show it: a Rust test by its path, others by their file.
const WORKS: [(&str, &[&str]); 57] = [
    (
        "LetShare rooms: joining, discovering, WebRTC signals, text",
        &["letshare_rooms::membership::membership_counts_from_the_first_subscribe", "tests/browser/rooms.test.mjs"],
    ),
    (
        "private signals reach only their receiver (a switch gives the older behaviour)",
        &[
            "letshare_rooms::delivery::a_signal_reaches_whom_it_names_and_nobody_else",
            "letshare_rooms::delivery::the_wildcard_switch_gives_everything_to_signal_all",
        ],
    ),
    (
        "both token kinds, Origin check",
        &[
            "letshare_handshake::tokens::the_mode_chooses_the_kinds_of_token",
            "letshare_http::the_origin_decides",
            "tests/browser/doors.test.mjs",
        ],
    ),
    (
        "LetShare's file relay through the server, when no data channel can be opened",
        &["letshare_relay::files::fifty_two_megabytes_arrive_whole", "tests/browser/relay.test.mjs"],
    ),
    (
        "a console at `/console`, with a chat and a WebRTC call to try",
        &["tests/browser/console.test.mjs", "tests/browser/operator.test.mjs"],
    ),
    (
        "an admin API at `/admin/api`, described by OpenAPI: connections, ending and blocking them, channels, figures, nodes",
        &[
            "admin::openapi::the_document_and_the_routes_are_one",
            "admin::connections::a_client_that_is_blocked_stays_out_as_far_as_tokens_can_be_revoked",
            "admin::door::foreign_pages_and_hosts_are_refused",
        ],
    ),
    (
        "the same on the command line: `letshare-server admin`",
        &["admin::commands::tables_for_people_and_json_for_programs"],
    ),
    ("PRO activation", &["letshare_pro::who_knows_the_code_gets_a_token", "tests/browser/relay.test.mjs"]),
    (
        "LetShare rooms and Ably channels of one name are one channel",
        &["ably_realtime::letshare::they_see_each_others_messages", "tests/sdk/letshare.test.mjs"],
    ),
    (
        "Ably SDKs over WebSocket, JSON and MessagePack: Node, Chromium, Python",
        &[
            "ably_realtime::formats::both_formats_say_the_same",
            "tests/sdk/messages.test.mjs",
            "tests/sdk/chromium.test.mjs",
            "tests/sdk/test_python.py",
        ],
    ),
    (
        "Ably: comet, for clients that no WebSocket gets through to",
        &["ably_comet::conversation::comet_and_websocket_meet_on_a_channel", "tests/sdk/comet.test.mjs"],
    ),
    (
        "Ably: streams of server-sent events, and of JSON lines",
        &["ably_events::form::golden_events", "tests/browser/events.test.mjs"],
    ),
    ("Ably: publishing by REST", &["ably_rest::publish::one_message_and_several"]),
    ("Ably: publishing once, however often it is sent", &["ably_rest::publish::a_repeated_id_is_published_once"]),
    ("Ably: echo off", &["ably_realtime::publishers::echo", "tests/sdk/messages.test.mjs"]),
    ("Ably: ephemeral messages", &["ably_realtime::publish::ephemeral_messages_leave_no_trace"]),
    (
        "Ably: history, also up to an attach",
        &["ably_rest::history::the_order_is_that_of_the_log", "tests/sdk/history.test.mjs"],
    ),
    ("Ably: rewind", &["ably_realtime::rewind::the_last_messages_in_their_order_then_what_is_new"]),
    (
        "Ably: messages as differences to those before them (delta)",
        &["ably_realtime::delta::a_message_says_what_it_goes_on_from", "tests/sdk/delta.test.mjs"],
    ),
    (
        "Ably: subscriptions filtered by an expression",
        &["ably_realtime::filtered::only_what_is_chosen_arrives_as_it_was_published", "tests/sdk/messages.test.mjs"],
    ),
    (
        "Ably: resume and recover",
        &["ably_realtime::resume::t18_t26a_the_same_connection_by_another_key", "tests/sdk/resume.test.mjs"],
    ),
    (
        "Ably: presence",
        &[
            "ably_realtime::presence::t43_what_members_do_is_told_with_id_and_time",
            "ably_rest::presence::members_page_by_page",
            "tests/sdk/presence.test.mjs",
        ],
    ),
    (
        "Ably: updates, deletes and appends of messages, their versions",
        &[
            "ably_realtime::mutable::an_append_comes_as_a_fragment_or_whole",
            "ably_rest::mutable::versions_page_by_page",
            "persistence::mutable::messages_are_what_they_were_before_the_server_ended",
            "tests/sdk/mutable.test.mjs",
        ],
    ),
    (
        "Ably: annotations of messages and their summaries",
        &[
            "ably_realtime::annotations::an_annotation_is_delivered_and_summed_up",
            "ably_rest::annotations::annotations_page_by_page",
            "persistence::annotations::a_restart_forgets_no_annotation",
            "tests/sdk/annotations.test.mjs",
        ],
    ),
    (
        "Ably: LiveObjects: maps and counters that clients change together, also by HTTP",
        &[
            "ably_realtime::objects::operations_are_acknowledged_heard_and_kept",
            "ably_rest::objects::objects_are_changed_and_shown_by_id_and_by_path",
            "persistence::objects::a_restart_forgets_no_object",
            "tests/sdk/objects.test.mjs",
        ],
    ),
    ("Ably: occupancy", &["ably_realtime::occupancy::occupancy_is_told_at_first_and_on_change"]),
    (
        "Ably: status and list of channels",
        &["ably_rest::channels::the_status_of_a_channel", "ably_rest::channels::the_channels_of_the_app"],
    ),
    (
        "Ably: batch publish and batch presence",
        &["ably_rest::batch::each_channel_has_its_own_outcome", "tests/sdk/messages.test.mjs"],
    ),
    (
        "Ably: metachannels",
        &[
            "ably_realtime::metachannels::channels_open_and_close",
            "cluster::meta::connections_of_all_nodes_are_told_once",
            "tests/sdk/metachannels.test.mjs",
        ],
    ),
    ("Ably: chat rooms, spaces", &["ably_rest::chat::a_room_is_a_channel", "tests/sdk/chat.test.mjs"]),
    ("Ably: statistics", &["ably_rest::stats::what_clients_do_is_counted", "tests/sdk/history.test.mjs"]),
    (
        "Ably: keys, token requests, JWTs, renewal while connected",
        &[
            "ably_rest::token::a_signed_request_becomes_a_token",
            "ably_realtime::reauth::t2_t24_auth_is_answered_by_connected",
            "tests/sdk/auth.test.mjs",
        ],
    ),
    (
        "Ably: capability",
        &["ably_rest::publish::who_may_publish", "ably_realtime::reauth::a_downgrade_narrows_the_modes"],
    ),
    (
        "Ably: revocation of tokens",
        &[
            "ably_rest::revocation::revoked_tokens_end_at_once_and_others_live_on",
            "persistence::restart::revocations_survive",
        ],
    ),
    (
        "Ably: apps made by `POST /apps`, for test suites",
        &["ably_rest::apps::an_app_is_told_with_its_keys_and_its_place"],
    ),
    (
        "messages on disk before they are acknowledged, for persisted channels",
        &[
            "persistence::order::nothing_is_told_before_the_sync_that_covers_it",
            "persistence::crash::a_kill_loses_nothing_that_was_acknowledged",
        ],
    ),
    (
        "resume across a restart; channels that are not persisted keep two minutes in memory and hand them over when the server stops in order",
        &["persistence::restart::a_client_comes_back_to_exactly_what_it_missed_or_is_told"],
    ),
    (
        "limits on what a client sends, and on readers that stop",
        &[
            "edge_limits::requests::the_rate_of_one_connection",
            "hostile::readers::a_reader_that_stops_costs_its_outbox_and_the_49_others_nothing",
        ],
    ),
    ("TLS", &["edge_limits::tls::tls_and_plain_clients_meet"]),
    ("stopping in order", &["edge_limits::drain::clients_are_told_1001_and_the_server_ends"]),
    ("metrics, also for Prometheus", &["letshare_http::metrics_for_prometheus"]),
    (
        "the older token relay with its HTTP push API: `MODE=relay`, port 3000, its paths, `config.json` and variables",
        &["relay::sockets::a_push_reaches_its_user_as_documented", "relay::ports::the_first_start_of_the_drop_in"],
    ),
    (
        "the older mailbox server: `MODE=postoffice`, port 7502, its paths and settings files",
        &[
            "postoffice::letters::a_letter_arrives_as_it_was_written",
            "postoffice::survival::a_start_with_the_settings_file_of_the_older_server",
        ],
    ),
    (
        "the older chat server: `MODE=chat`, port 8009, its paths, `config.yaml` and variables",
        &[
            "chat::commands::a_message_reaches_the_other_user",
            "chat::settings::a_start_with_the_settings_file_of_the_older_server",
        ],
    ),
    (
        "the older group chat server: `MODE=group`, port 8889, its paths, `etc/websocket.yaml` and variables, several instances on one Redis",
        &["group::delivery::a_message_reaches_every_member", "group::instances::each_message_once_on_either"],
    ),
    (
        "the groups, members and messages that older chat and group servers have kept: `letshare-server import`, from MongoDB, CSV and JSON lines",
        &[
            "chat::brought::chats_are_there_with_their_members_and_a_second_run_adds_nothing",
            "chat::mongo::chats_come_from_a_database_and_go_to_one",
            "group::brought::groups_are_there_with_their_members_and_a_second_run_adds_nothing",
        ],
    ),
    (
        "several servers on one Redis: one order of messages, each once; history, rewind and resume at any of them",
        &[
            "cluster::nodes::what_is_published_at_any_node_is_delivered_at_all_in_one_order",
            "cluster::outages::a_link_that_is_cut_again_and_again_loses_and_doubles_nothing",
            "cluster::figures::silence::nothing_is_lost_and_nothing_breaks_whatever_is_killed",
            "cluster::figures::rolling::a_rolling_restart_is_seen_by_nobody",
        ],
    ),
    (
        "the same: presence, occupancy and the limit of a LetShare room count all of them; a server that dies takes its members with it within 18 s",
        &[
            "cluster::members::members_of_a_dead_node_leave_and_those_of_one_that_slept_come_back",
            "cluster::seats::a_room_of_fifty_is_one_room_at_three_nodes",
        ],
    ),
    (
        "the same: updates, deletes and appends of messages, annotations and their summaries, at whichever of them",
        &["cluster::changes::appends_at_two_nodes_come_to_one_text"],
    ),
    ("the same: LiveObjects", &["cluster::objects::nodes_agree_on_what_is_done_at_the_same_time"]),
    (
        "the same: users of the chat, its rooms and groups; files between users of a LetShare room",
        &["cluster::chats::users_of_two_nodes_talk", "cluster::files::a_file_goes_from_node_to_node_byte_for_byte"],
    ),
    (
        "the same: the group protocol: one order of messages, one store of groups, messages, markers and notifications",
        &["group::instances::nodes_of_a_cluster_have_one_order", "group::nodes::nodes_have_one_store"],
    ),
    (
        "the same on a Redis Cluster: its masters share the channels; slots that move, a replica that stands in, a master that is lost",
        &[
            "cluster::slots::channels_of_all_masters_are_the_same_at_all_nodes",
            "cluster::slots::a_slot_that_moves_loses_and_doubles_nothing",
            "cluster::slots::a_replica_takes_the_place_of_its_master",
            "cluster::slots::the_channels_of_a_master_that_is_gone_are_refused_alone",
        ],
    ),
    (
        "several servers on one Redis: connections, token requests, revocations, apps, lists of channels and statistics are those of all",
        &[
            "cluster::beside::a_connection_is_at_one_node",
            "cluster::beside::a_token_that_was_revoked_is_good_at_no_node",
            "cluster::beside::channels_and_statistics_are_those_of_all_nodes",
        ],
    ),
    (
        "several servers on one Redis: pushes and delayed pushes of the relay, mailboxes and letters of the post office are those of all, each once",
        &[
            "cluster::mail::what_a_user_has_missed_is_handed_over_once_at_whichever_node",
            "cluster::mail::what_a_node_had_claimed_that_is_gone_is_sent_once_by_another",
            "cluster::mail::letters_of_all_nodes_come_in_the_order_of_each_sender_once",
        ],
    ),
    (
        "the same: idle channels cost next to nothing, `/ready` tells what is wrong with Redis, servers are restarted one after the other",
        &[
            "cluster::idle::what_is_published_at_a_node_without_the_channel_opens_nothing_there",
            "cluster::setup::a_node_whose_redis_is_not_set_up_as_it_has_to_be_is_not_ready",
            "cluster::restart::clients_of_a_server_that_ends_go_on_at_another_one",
        ],
    ),
    (
        "the same: what Redis cannot be asked for is refused in time, and nothing that was refused appears later",
        &[
            "cluster::away::with_redis_gone_everything_is_answered_or_refused_and_nothing_appears_later",
            "cluster::faults::what_redis_takes_not_is_refused_and_never_appears",
        ],
    ),
];

/// What does not work yet, and what the path of a test would say that shows it.
const MISSING: [(&str, &[&str]); 1] = [("Ably: push notifications", &["ably_rest::push"])];

const BEGIN: &str = "<!-- What works: made by tests/docs/features.rs -->\n";
const END: &str = "<!-- End of what works -->\n";

/// `#[tokio::test] async fn name(`, with other attributes between them.
static TEST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"#\[(?:tokio::|actix_rt::|actix_web::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)\(")
        .unwrap()
});

/// findings A12: README says of no feature that it is missing while it works.
#[test]
fn what_works_has_tests_and_what_is_missing_has_none() {
    let files = files();
    let tests: Vec<String> = files.iter().flat_map(tests_in).collect();
    let shown = WORKS.iter().flat_map(|(what, tests)| tests.iter().map(move |test| (what, *test)));
    for (what, test) in shown {
        assert!(tests.iter().any(|one| one == test), "{what:?} is shown by {test}, which is not there");
    }
    for (what, words) in MISSING {
        let found = tests.iter().find(|test| words.iter().any(|word| test.contains(word)));
        assert_eq!(found, None, "{what:?} is said to be missing, and has a test");
    }
}

/// The page of the cluster says of each fault and each promise which test shows it.
#[test]
fn the_design_of_the_cluster_names_tests_that_are_there() {
    let tests: Vec<String> = files().iter().flat_map(tests_in).collect();
    let page = std::fs::read_to_string("docs/design/cluster.md").unwrap();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let named = Regex::new(r"`([a-z_]+(?:::[a-z_]+)+)`").unwrap();
    let named: Vec<&str> =
        rows.flat_map(|row| named.captures_iter(row)).map(|name| name.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let is_it = |test: &String| {
            let below = test.strip_prefix(name).or_else(|| test.strip_prefix("cluster::")?.strip_prefix(name));
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        assert!(tests.iter().any(is_it), "{name} is not there");
    }
}

#[test]
fn readme_has_the_table() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let (_, rest) = readme.split_once(BEGIN).unwrap();
    let (found, _) = rest.split_once(END).unwrap();
    let wanted = table();
    assert!(found == wanted, "between its two markers README must have:\n\n{wanted}");
}

fn table() -> String {
    let mut table = "\n| | | shown by |\n|---|---|---|\n".to_owned();
    for (what, tests) in WORKS {
        let mut places: Vec<String> = Vec::new();
        for test in tests {
            let file = test.rsplit_once("::").map_or(*test, |(file, _)| file);
            let place = format!("`{file}`");
            if !places.contains(&place) {
                places.push(place);
            }
        }
        table += &format!("| {what} | yes | {} |\n", places.join(", "));
    }
    for (what, _) in MISSING {
        table += &format!("| {what} | not yet | |\n");
    }
    table + "\n"
}

/// The tests of a file by their paths; a script of tests is one.
fn tests_in(file: &File) -> Vec<String> {
    let Some(path) = file.path.strip_suffix(".rs") else {
        let is_script = file.is_test() && (file.path.ends_with(".test.mjs") || file.path.contains("/test_"));
        return if is_script { vec![file.path.clone()] } else { Vec::new() };
    };
    let path = path.trim_start_matches("tests/").trim_start_matches("src/").replace('/', "::");
    TEST.captures_iter(&file.text).map(|test| format!("{path}::{}", &test[1])).collect()
}
